"""Text files read from the middle: where every so many rows begin is found in one first pass."""

from __future__ import annotations

import codecs
import contextlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from stratascope.errors import StratascopeError
from stratascope.store.datasets.rows import BadRow, Row
from stratascope.study.dataset import Dataset

# Rows between two remembered places: 16 bytes for each, so 32 MB for a thousand million rows.
EVERY = 512


class Record(NamedTuple):
    """A row as it stands in the file: where it begins, in bytes and lines, and what is there."""

    offset: int
    line: int
    value: Any


class _Index(NamedTuple):
    rows: int
    offsets: array[int]
    lines: array[int]


class TextSource(ABC):
    """Rows of one text file. A format says how records are told apart and what one means."""

    def __init__(self, dataset: Dataset, path: Path) -> None:
        self.dataset = dataset
        self.path = path
        self.first = _text_start(path, dataset.data), 1  # byte and line where the rows begin

    @abstractmethod
    def scan(self, offset: int, line: int) -> Iterator[Record]:
        """The records from the one that begins at this byte, which is on this line, to the last."""

    @abstractmethod
    def row(self, record: Record) -> Row | BadRow:
        """What a record means."""

    def first_pass(self) -> Iterator[Record]:
        """All records, as they are gone through once before any is read."""
        return self.scan(*self.first)

    def count(self) -> int:
        """How many rows there are, bad ones included."""
        return self._index.rows

    def read(self, start: int, stop: int) -> Iterator[Row | BadRow]:
        """Rows ``start`` to ``stop`` (not included); at most ``EVERY`` rows before are passed over."""
        index = self._index
        if start >= index.rows:
            return
        place = start // EVERY
        records = self.scan(index.offsets[place], index.lines[place])
        yield from map(self.row, islice(records, start - place * EVERY, stop - place * EVERY))

    @cached_property
    def _index(self) -> _Index:
        offsets, lines = array("q"), array("q")
        count = 0
        for count, record in enumerate(self.first_pass(), start=1):
            if count % EVERY == 1:
                offsets.append(record.offset)
                lines.append(record.line)
        return _Index(count, offsets, lines)


@contextlib.contextmanager
def opened(path: Path, shown: str) -> Iterator[BinaryIO]:
    """The file for reading, or a ``StratascopeError`` that names it."""
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise StratascopeError(f"{shown}: cannot be read: {error.strerror}") from error


def _text_start(path: Path, shown: str) -> int:
    """Where the text begins: after the byte order mark that some programs put in front of UTF-8."""
    with opened(path, shown) as stream:
        head = stream.read(4)
    if not head:
        raise StratascopeError(f"{shown}: an empty file; it must hold at least one row")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise StratascopeError(f"{shown}: is UTF-16; save it as UTF-8")
    return len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
