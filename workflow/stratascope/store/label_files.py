"""Labels that lie in a file of their own: a row a text, in the order of the features."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet

from stratascope.errors import StratascopeError
from stratascope.store.arrayfiles import arrays_in

Fields = dict[str, list[Any]]


def read_fields(path: Path) -> Fields:
    """The columns of a CSV, JSONL or parquet file, or the arrays (n,) of an NPZ or NPY file, by name.

    Columns of a CSV file that hold nothing but numbers are numbers; an empty cell, and a key that a
    line of JSONL lacks, is None. Raises StratascopeError if the file cannot be read, naming the line.
    """
    reader = READERS.get(path.suffix)
    if reader is None:
        raise StratascopeError(f"{path}: labels are read from {', '.join(READERS)} files")
    try:
        return reader(path)
    except OSError as error:
        raise StratascopeError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise StratascopeError(f"{path}: not text in UTF-8: {error.reason}") from error


def _csv(path: Path) -> Fields:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        lines = [dict(row) for row in rows]
        names = rows.fieldnames or []
    for number, line in enumerate(lines, start=1):
        if None in line or None in line.values():
            raise StratascopeError(f"{path}: row {number} has not {len(names)} cells as its header")
    return {name: _numbers([line[name] for line in lines]) for name in names}


def _numbers(cells: list[str]) -> list[Any]:
    """Cells as whole numbers, else as numbers, else as they are; empty ones as None."""
    for convert in (int, float, str):
        try:
            return [convert(cell) if cell else None for cell in cells]
        except ValueError:
            continue
    raise AssertionError("text is always text")


def _jsonl(path: Path) -> Fields:
    lines: list[dict[str, Any]] = []
    texts = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise StratascopeError(f"{path}: line {number} is not JSON: {error.msg}") from error
        if not isinstance(line, dict):
            raise StratascopeError(f"{path}: line {number} is not an object with fields")
        lines.append(line)
    names = dict.fromkeys(name for line in lines for name in line)
    return {name: [line.get(name) for line in lines] for name in names}


def _parquet(path: Path) -> Fields:
    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise StratascopeError(f"{path}: not a parquet file, or damaged: {error}") from error
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _arrays(path: Path) -> Fields:
    return {
        name: array[slice(None)].tolist()
        for name, array in arrays_in(path).items()
        if len(array.shape) == 1
    }


READERS: dict[str, Callable[[Path], Fields]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
    ".npz": _arrays,
    ".npy": _arrays,
}
