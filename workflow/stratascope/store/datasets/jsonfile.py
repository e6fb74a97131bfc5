"""JSON: an object a line, or one list of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from stratascope.errors import StratascopeError
from stratascope.store.datasets.record import NOT_UTF8, UnreadableError, check_fields, to_row
from stratascope.store.datasets.rows import BadRow, Row
from stratascope.store.datasets.textfile import Record, TextSource, opened
from stratascope.study.dataset import Dataset

# In so many first rows a field that was asked for must occur once; else its name is wrong.
LOOKED_AT = 100
CHUNK = 2**20
LARGEST_ELEMENT = 2**26
WHITE = " \t\r\n"


def open_json(dataset: Dataset, paths: list[Path]) -> TextSource:
    """The objects of a JSON Lines file, or those of a ``.json`` file that holds one list.

    Raises:
        StratascopeError: a file without rows, or a field that none of the first rows has.
    """
    (path,) = paths
    source: _JsonSource = JsonLines(dataset, path)
    if path.suffix.lower() == ".json":
        with opened(path, dataset.data) as stream:
            stream.seek(source.first[0])
            head = stream.read(CHUNK).lstrip()
        if head.startswith(b"["):
            source = JsonList(dataset, path)
    _check(source)
    return source


class _JsonSource(TextSource):
    def row(self, record: Record) -> Row | BadRow:
        try:
            return to_row(self.dataset, record.line, parse(record.value))
        except UnreadableError as error:
            return BadRow(record.line, str(error))


class JsonLines(_JsonSource):
    """A JSON object a line; blank lines are none."""

    def scan(self, offset: int, line: int) -> Iterator[Record]:
        """Lines that hold anything, as bytes."""
        with opened(self.path, self.dataset.data) as stream:
            stream.seek(offset)
            for number, raw in enumerate(stream, start=line):
                if not raw.isspace():
                    yield Record(offset, number, raw)
                offset += len(raw)


class JsonList(_JsonSource):
    """The objects of one JSON list, which need not fit into memory. ``line`` counts the objects."""

    def scan(self, offset: int, line: int) -> Iterator[Record]:
        """The list's elements as bytes."""
        with opened(self.path, self.dataset.data) as stream:
            stream.seek(offset)
            window = _Window(stream, offset, self.dataset.data)
            if (offset, line) == self.first:
                window.take("[")
                if window.peek() == "]":
                    return
            while True:
                window.peek()
                place = window.offset
                yield Record(place, line, window.element())
                line += 1
                if window.take(",]") == "]":
                    break
            if window.peek():
                raise window.error("something follows the list")


class _Window:
    """A moving piece of a JSON text, a character a byte, so that places are bytes."""

    def __init__(self, stream: BinaryIO, offset: int, shown: str) -> None:
        self._stream, self._begin, self._shown = stream, offset, shown
        self._text, self._at = "", 0
        self._decode = json.JSONDecoder().raw_decode

    @property
    def offset(self) -> int:
        """The byte of the file that comes next."""
        return self._begin + self._at

    def error(self, what: str) -> StratascopeError:
        """A mistake at this place in the file."""
        return StratascopeError(
            f"{self._shown}: not a list of JSON objects: {what} (byte {self.offset}); "
            "or write an object a line, as JSON Lines"
        )

    def _more(self) -> bool:
        data = self._stream.read(max(CHUNK, len(self._text) - self._at))
        self._begin += self._at
        self._text, self._at = self._text[self._at :] + data.decode("latin-1"), 0
        return bool(data)

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in WHITE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, wanted: str) -> str:
        """Go past the next character, which must be one of these."""
        found = self.peek()
        if not found or found not in wanted:
            raise self.error(f"expected {' or '.join(wanted)}, found {found or 'the end'}")
        self._at += 1
        return found

    def element(self) -> bytes:
        """Go past the next value; its bytes."""
        while True:
            try:
                _, end = self._decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                wrong = getattr(error, "msg", "nested too deeply")
                end = None
            # A number at the very end may go on; a value that fails may not be here whole.
            whole = end is not None and end < len(self._text)
            if whole or (len(self._text) - self._at > LARGEST_ELEMENT) or not self._more():
                break
        if end is None:
            raise self.error(wrong)
        raw = self._text[self._at : end].encode("latin-1")
        self._at = end
        return raw


def parse(raw: bytes) -> dict[str, object]:
    """One JSON object. Raises ``UnreadableError``."""
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{NOT_UTF8} (byte {error.start + 1} of the row)") from error
    except json.JSONDecodeError as error:
        raise UnreadableError(f"not JSON: {error.msg} (character {error.pos + 1})") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError("not JSON that can be read") from error
    if not isinstance(value, dict):
        raise UnreadableError("not a JSON object")
    return value


def _check(source: _JsonSource) -> None:
    known: set[str] = set()
    seen = 0
    for record in islice(source.scan(*source.first), LOOKED_AT):
        seen += 1
        try:
            known |= parse(record.value).keys()
        except UnreadableError:
            continue
    if not seen:
        raise StratascopeError(f"{source.dataset.data}: holds no rows")
    if known:
        check_fields(source.dataset, known)
