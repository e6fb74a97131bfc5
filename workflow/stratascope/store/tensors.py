"""Safetensors files written row by row, so that memory never grows with the number of steps.

The format (https://github.com/huggingface/safetensors): eight bytes with the header's length
(little-endian), a JSON header padded with spaces to a multiple of eight bytes, then the tensors
one after the other without gaps. The header comes first, so the file is laid out for the most
tokens a run can have, as a sparse file; a run that ended early is compacted once, in place.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# What a scenario calls a precision, what safetensors calls it, and how many bytes a number takes.
DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
ITEM_BYTES = {"F16": 2, "BF16": 2, "F32": 4}

# Compacting a file that ended early holds this many bytes at a time.
CHUNK_BYTES = 8 << 20


class TensorSpec(NamedTuple):
    """One tensor of a file: its dtype, its largest shape, and which axes count tokens.

    Token axes are ``(0,)`` for (tokens, width) and ``(1, 2)`` for (heads, tokens, tokens).
    """

    dtype: str
    shape: tuple[int, ...]
    token_axes: tuple[int, ...] = (0,)

    def with_tokens(self, tokens: int) -> TensorSpec:
        """The same tensor for ``tokens`` tokens."""
        axes = self.token_axes
        shape = tuple(tokens if a in axes else size for a, size in enumerate(self.shape))
        return self._replace(shape=shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor's data."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


def _layout(specs: Mapping[str, TensorSpec]) -> tuple[bytes, dict[str, int], int]:
    """The header, each tensor's offset in the file, and the file's size."""
    # Widest items first, as the official library does, keeps every tensor aligned to its items.
    order = sorted(specs, key=lambda name: (-ITEM_BYTES[specs[name].dtype], name))
    header: dict[str, object] = {}
    starts: dict[str, int] = {}
    end = 0
    for name in order:
        spec = specs[name]
        starts[name] = end
        end += spec.nbytes
        header[name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [starts[name], end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    data = 8 + len(text)
    offsets = {name: data + start for name, start in starts.items()}
    return len(text).to_bytes(8, "little") + text, offsets, data + end


def bytes_of(specs: Mapping[str, TensorSpec]) -> int:
    """Bytes of the file that holds ``specs``, known before anything is written."""
    return _layout(specs)[2]


def _write(descriptor: int, data: NDArray[np.generic], offset: int) -> None:
    """Write all of a contiguous array at ``offset``; a single pwrite may stop short."""
    view = np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
    while len(view):
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


class TensorFile:
    """A safetensors file that is written by rows, one row a token, up to the shapes of ``specs``.

    Use it as a context manager: leaving it through an exception removes the file.
    """

    def __init__(self, path: Path, specs: Mapping[str, TensorSpec]) -> None:
        self.path = path
        self.specs = dict(specs)
        self.rows = dict.fromkeys(self.specs, 0)
        header, self._offsets, size = _layout(self.specs)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        self._open = True
        os.ftruncate(self._descriptor, size)
        _write(self._descriptor, np.frombuffer(header, np.uint8), 0)

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.path.unlink(missing_ok=True)
        self._close()

    def append(self, name: str, rows: NDArray[np.generic]) -> None:
        """Write the next rows of tensor ``name``.

        ``rows`` is (rows, width), or for a tensor with two token axes (heads, rows, columns); those
        columns are the last ones of the context, and everything outside them stays zero. bfloat16
        comes as its bits in uint16, since NumPy has no such type.

        Raises:
            ValueError: rows that do not fit the tensor's spec.
        """
        spec = self.specs[name]
        item = ITEM_BYTES[spec.dtype]
        start = self.rows[name]
        square = len(spec.token_axes) == 2
        count = rows.shape[1] if square else rows.shape[0]
        fixed = rows.shape[0] if square else rows.shape[1]
        if (
            rows.ndim != len(spec.shape)
            or rows.dtype.itemsize != item
            or fixed != spec.shape[0 if square else 1]
            or start + count > spec.shape[spec.token_axes[0]]
        ):
            raise ValueError(f"{name}: {rows.dtype}{rows.shape} after row {start} of {spec.shape}")
        if square:
            self._append_square(name, rows, start)
        else:
            _write(self._descriptor, rows, self._offsets[name] + start * fixed * item)
        self.rows[name] = start + count

    def write(self, name: str, start: int, rows: NDArray[np.generic]) -> None:
        """Write rows of the (rows, width) tensor ``name`` at row ``start``, each row once.

        Raises:
            ValueError: rows that do not fit the tensor's spec.
        """
        spec = self.specs[name]
        item = ITEM_BYTES[spec.dtype]
        total, width = spec.shape
        fits = rows.ndim == 2 and rows.shape[1] == width and rows.dtype.itemsize == item
        if not fits or not 0 <= start <= total - len(rows):
            raise ValueError(f"{name}: {rows.dtype}{rows.shape} at row {start} of {spec.shape}")
        _write(self._descriptor, rows, self._offsets[name] + start * width * item)
        self.rows[name] += len(rows)

    def _append_square(self, name: str, rows: NDArray[np.generic], start: int) -> None:
        heads, count, columns = rows.shape
        stride = self.specs[name].shape[2]
        context = start + count
        if columns > context:
            raise ValueError(f"{name}: {columns} columns in a context of {context} tokens")
        item = rows.dtype.itemsize
        # One write a head: its rows lie one after the other, each as long as the longest context.
        block = np.zeros((count, stride), rows.dtype)
        used = (count - 1) * stride + context
        for head in range(heads):
            block[:, context - columns : context] = rows[head]
            at = self._offsets[name] + (head * stride + start) * stride * item
            _write(self._descriptor, block.reshape(-1)[:used], at)

    def finish(self, tokens: int) -> None:
        """Close the file, holding exactly ``tokens`` tokens, with its bytes on the disk.

        Raises:
            ValueError: a tensor whose written rows are not ``tokens``.
        """
        short = sorted(name for name, rows in self.rows.items() if rows != tokens)
        if short:
            name = short[0]
            raise ValueError(f"{name}: {self.rows[name]} of {tokens} rows were written")
        final = {name: spec.with_tokens(tokens) for name, spec in self.specs.items()}
        if final != self.specs:
            self._compact(final)
        os.fsync(self._descriptor)
        self._close()

    def _compact(self, final: dict[str, TensorSpec]) -> None:
        """Move what was written together, a bounded chunk at a time, and cut the rest off.

        Everything moves towards the file's beginning, in the order of the file, so nothing is
        overwritten before it has been read, and no second copy takes room on the disk.
        """
        header, offsets, size = _layout(final)
        _write(self._descriptor, np.frombuffer(header, np.uint8), 0)
        for name in sorted(final, key=offsets.__getitem__):
            at = offsets[name]
            for chunk in self._chunks(name, final[name]):
                _write(self._descriptor, chunk, at)
                at += chunk.nbytes
        os.ftruncate(self._descriptor, size)

    def _chunks(self, name: str, final: TensorSpec) -> Iterator[NDArray[np.generic]]:
        """The part of tensor ``name`` that ``final`` keeps, in order, in chunks of whole rows."""
        spec = self.specs[name]
        item = np.dtype(f"u{ITEM_BYTES[spec.dtype]}")
        blocks = spec.shape[0] if len(spec.shape) == 3 else 1
        height, width = spec.shape[-2:]
        kept_height, kept_width = final.shape[-2:]
        step = max(1, CHUNK_BYTES // max(1, width * item.itemsize))
        for block in range(blocks):
            for row in range(0, kept_height, step):
                count = min(step, kept_height - row)
                at = self._offsets[name] + (block * height + row) * width * item.itemsize
                data = os.pread(self._descriptor, count * width * item.itemsize, at)
                yield np.frombuffer(data, item).reshape(count, width)[:, :kept_width]

    def _close(self) -> None:
        if self._open:
            os.close(self._descriptor)
            self._open = False
