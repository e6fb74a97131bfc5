"""Reading rows of a safetensors file as float32, memory-mapped and without torch.

The official NumPy reader has no bfloat16; this one widens it, exactly. Format: an 8-byte
little-endian header length, a JSON header, then the data (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stratascope.errors import StratascopeError

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # widened on reading
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


@dataclass(frozen=True)
class TensorReader:
    """The tensors of one file: ``entries[name]`` has ``dtype``, ``shape`` and ``data_offsets``."""

    path: Path
    entries: dict[str, dict[str, Any]]
    start: int

    @classmethod
    def open(cls, path: Path) -> TensorReader:
        """Read the header. Raises ``StratascopeError`` if the file is missing, cut or not one."""
        try:
            size = path.stat().st_size
            with path.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                header = json.loads(stream.read(length)) if 2 <= length <= size - 8 else None
        except OSError as error:
            raise StratascopeError(f"{path}: cannot be read: {error.strerror}") from error
        except ValueError:
            header = None
        if not isinstance(header, dict):
            raise StratascopeError(f"{path}: not a safetensors file, or damaged; capture it again")
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if size != 8 + length + end:
            raise StratascopeError(
                f"{path}: damaged: {size} bytes instead of {8 + length + end}; capture it again"
            )
        return cls(path, header, 8 + length)

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(self.entries[name]["shape"])

    def raw(self, name: str) -> np.ndarray:
        """The tensor memory-mapped as stored; bfloat16 as its 16 bits."""
        entry = self.entries[name]
        shape = self.shape(name)
        dtype = DTYPES.get(entry["dtype"])
        if dtype is None:
            raise StratascopeError(f"{self.path}: {name}: cannot read the type {entry['dtype']}")
        if 0 in shape:
            return np.zeros(shape, dtype)
        offset = self.start + entry["data_offsets"][0]
        return np.memmap(self.path, dtype=dtype, mode="r", offset=offset, shape=shape)

    def float32(
        self, name: str, rows: int | slice | Sequence[int] | np.ndarray | None = None
    ) -> np.ndarray:
        """Rows (or all) of a tensor as a new float32 array; only these rows are read."""
        picked = self.raw(name)[slice(None) if rows is None else rows]
        if self.entries[name]["dtype"] == "BF16":
            return (np.asarray(picked).astype("<u4") << 16).view("<f4")
        return np.array(picked, dtype=np.float32)
