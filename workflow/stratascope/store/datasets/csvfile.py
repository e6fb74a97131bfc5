"""Tables as text: comma, semicolon, tab or bar separated, with a header line (RFC 4180)."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from stratascope.errors import StratascopeError
from stratascope.store.datasets.record import (
    NOT_UTF8,
    UnreadableError,
    check_fields,
    to_row,
    wanted_fields,
)
from stratascope.store.datasets.rows import BadRow, Row
from stratascope.store.datasets.textfile import Record, TextSource, opened
from stratascope.study.dataset import Dataset

DELIMITERS = ",;\t|"
# For a file of one column, whose texts may hold any of the above: ASCII's unit separator.
ONE_COLUMN = "\x1f"
# A quote that is never closed would else take the rest of the file into memory.
LONGEST_FIELD = 2**24

QUOTED = re.compile(r'"(?:[^"]|"")*"?')
SPAN = re.compile(r"\s*\[\s*\d+\s*,\s*\d+\s*\]\s*")
# No leading zeros and not many digits: such are names, and must stay apart.
INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,17})")
NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|NaN")
# How a column of labels is read, from the narrowest kind to the one that fits everything.
KINDS = ((int, INTEGER), (float, NUMBER), (str, re.compile(r"(?s).*")))
# What Python's reader calls mistakes, in words that help.
MISTAKES = {
    "expected after": "text follows a closing quote; a quote inside a quoted field stands twice",
    "unexpected end": "a quote that is never closed",
    "field larger": "a quote that is never closed",
    "new-line": "a carriage return outside quotes",
}


def open_csv(dataset: Dataset, paths: list[Path]) -> CsvSource:
    """The rows below the header line; blank lines are none.

    The delimiter is the one of ``, ; tab |`` that stands most often in the header, of those with
    which the header holds the fields asked for. Quoted fields may hold delimiters, line breaks and
    doubled quotes. Labels and groups are read as integers or decimal numbers if a whole column is.

    Raises:
        StratascopeError: a file without rows, or a field that the header lacks or has twice.
    """
    return CsvSource(dataset, paths[0])


class CsvSource(TextSource):
    """The rows of one CSV file."""

    def __init__(self, dataset: Dataset, path: Path) -> None:
        super().__init__(dataset, path)
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
        wanted = wanted_fields(dataset)
        self.delimiter, self.header = self._find_header(wanted)
        check_fields(dataset, self.header)
        for name in wanted:
            if self.header.count(name) > 1:
                raise StratascopeError(f"{dataset.data}: the header has the field `{name}` twice")
        self._columns = {name: self.header.index(name) for name in wanted}
        self._kinds = dict.fromkeys((*dataset.labels, *dataset.groups), 0)
        rows = self.scan(*self.first)
        next(rows)
        below = next(rows, None)
        if below is None:
            raise StratascopeError(f"{dataset.data}: holds no rows below its header")
        self.first = below.offset, below.line

    def _find_header(self, wanted: Iterable[str]) -> tuple[str, list[str]]:
        with opened(self.path, self.dataset.data) as stream:
            stream.seek(self.first[0])
            line = QUOTED.sub("", stream.readline(LONGEST_FIELD).decode("utf-8", "replace"))
        found = sorted((d for d in DELIMITERS if d in line), key=lambda d: -line.count(d))
        headers: dict[str, list[str]] = {}
        for self.delimiter in found or [ONE_COLUMN]:
            record = next(self.scan(*self.first), None)
            if record is not None and isinstance(record.value, list):
                headers[self.delimiter] = [name.strip() for name in record.value]
        if not headers:
            raise StratascopeError(f"{self.dataset.data}: no header with the fields' names on top")
        fitting = [d for d, header in headers.items() if set(wanted) <= set(header)]
        delimiter = (fitting or list(headers))[0]
        return delimiter, headers[delimiter]

    def scan(self, offset: int, line: int) -> Iterator[Record]:
        """Records as lists of fields; one that is no CSV costs its first line and nothing more."""
        with opened(self.path, self.dataset.data) as stream:
            lines = _Lines(stream, offset, line)
            reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
            while True:
                offset, line, lines.valid = lines.offset, lines.line, True
                value: list[str] | UnreadableError
                try:
                    value = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    lines.go_to(offset, line)
                    next(lines)
                    told = [text for part, text in MISTAKES.items() if part in str(error)]
                    value = UnreadableError(f"not CSV: {told[0] if told else error}")
                if not lines.valid:
                    value = UnreadableError(NOT_UTF8)
                if value != []:
                    yield Record(offset, line, value)

    def first_pass(self) -> Iterator[Record]:
        """All records; each widens the kinds of the labels' columns until its values fit."""
        for record in self.scan(*self.first):
            for name in self._kinds if self._whole(record) else ():
                value = record.value[self._columns[name]].strip()
                while value and not KINDS[self._kinds[name]][1].fullmatch(value):
                    self._kinds[name] += 1
            yield record

    def row(self, record: Record) -> Row | BadRow:
        """The row of a record with as many fields as the header."""
        if isinstance(record.value, UnreadableError):
            return BadRow(record.line, str(record.value))
        if not self._whole(record):
            count = len(record.value)
            return BadRow(
                record.line,
                f"{count} field{'' if count == 1 else 's'}, but the header has {len(self.header)}",
            )
        fields: dict[str, object] = {n: record.value[i] for n, i in self._columns.items()}
        for name, kind in self._kinds.items():
            value = record.value[self._columns[name]]
            if value.strip():
                fields[name] = KINDS[kind][0](value)
        span = self.dataset.span
        if span and SPAN.fullmatch(record.value[self._columns[span]]):
            fields[span] = json.loads(record.value[self._columns[span]])
        return to_row(self.dataset, record.line, fields)

    def _whole(self, record: Record) -> bool:
        return isinstance(record.value, list) and len(record.value) == len(self.header)


class _Lines:
    """Lines of a file as text, with the place where the next begins."""

    def __init__(self, stream: BinaryIO, offset: int, line: int) -> None:
        self._stream = stream
        self.valid = True  # until a line that is not UTF-8
        self.go_to(offset, line)

    def go_to(self, offset: int, line: int) -> None:
        self._stream.seek(offset)
        self.offset, self.line = offset, line

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        raw = self._stream.readline()
        if not raw:
            raise StopIteration
        self.offset += len(raw)
        self.line += 1
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.valid = False
            return raw.decode("utf-8", "replace")
