"""Arrays in the files of others: NPZ, NPY and safetensors, read by rows and, where they can be, in place."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.store.tensorread import DTYPES, TensorReader

SUFFIXES = (".npz", ".npy", ".safetensors")


@dataclass(frozen=True)
class StoredArray:
    """An array on disk. ``array[rows]`` reads rows; bfloat16 is widened to float32, exactly."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[slice], np.ndarray]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.read(rows)


def arrays_in(path: Path) -> dict[str, StoredArray]:
    """The arrays of a file by name, in the file's order; a ``.npy`` file has one, named as the file.

    Only headers are read. Raises StratascopeError for another kind of file, or a damaged one.
    """
    if path.suffix not in SUFFIXES:
        raise StratascopeError(f"{path}: not an array file; {', '.join(SUFFIXES)} can be read")
    if path.suffix == ".safetensors":
        reader = TensorReader.open(path)
        return {name: _tensor(reader, name) for name in reader.entries}
    try:
        if path.suffix == ".npy":
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            return {path.stem: StoredArray(mapped.shape, mapped.dtype, mapped.__getitem__)}
        with zipfile.ZipFile(path) as archive:
            return {
                member.filename.removesuffix(".npy"): _member(path, archive, member)
                for member in archive.infolist()
                if member.filename.endswith(".npy")
            }
    except OSError as error:
        raise StratascopeError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, zipfile.BadZipFile) as error:
        raise StratascopeError(f"{path}: not an array file, or damaged: {error}") from error


def _tensor(reader: TensorReader, name: str) -> StoredArray:
    stored = reader.entries[name]["dtype"]
    dtype = np.dtype(np.float32) if stored == "BF16" else DTYPES.get(stored)
    if dtype is None:
        raise StratascopeError(f"{reader.path}: {name}: cannot read the type {stored}")

    def read(rows: slice) -> np.ndarray:
        return reader.float32(name, rows) if stored == "BF16" else reader.raw(name)[rows]

    return StoredArray(reader.shape(name), dtype, read)


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> StoredArray:
    """An array of an NPZ file: in place if it is stored as it is, else read whole when asked for."""
    with archive.open(member) as stream:
        shape, fortran, dtype = _header(stream)
        header = stream.tell()
    if member.compress_type != zipfile.ZIP_STORED or dtype.hasobject or fortran or 0 in shape:
        return StoredArray(shape, dtype, _Whole(path, member.filename.removesuffix(".npy")).read)
    with path.open("rb") as file:
        # The local header: 30 bytes, then a name and extras of lengths that only it knows.
        file.seek(member.header_offset + 26)
        lengths = file.read(4)
    start = member.header_offset + 30 + sum(np.frombuffer(lengths, "<u2").tolist()) + header
    mapped = np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape or (1,))
    return StoredArray(shape, dtype, mapped.__getitem__)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns lie together, and type, from the beginning of an NPY file."""
    version = np.lib.format.read_magic(stream)
    reads = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in reads:
        raise ValueError(f"NPY format {version}")
    shape, fortran, dtype = reads[version](stream)
    return shape, fortran, dtype


class _Whole:
    """A compressed array: read on first use, then kept."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.array: np.ndarray | None = None

    def read(self, rows: slice) -> np.ndarray:
        if self.array is None:
            try:
                with np.load(self.path, allow_pickle=False) as archive:
                    self.array = archive[self.name]
            except (ValueError, OSError, zipfile.BadZipFile) as error:
                raise StratascopeError(f"{self.path}: {self.name}: damaged: {error}") from error
        return np.asarray(self.array[rows])
