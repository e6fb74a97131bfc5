"""Reading range after range in one pass, where beginning in the middle is dear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class Cursor(Generic[T]):
    """Items of a sequence that is opened at a place and then walked.

    A read that begins at or after the end of the last one walks on from there; any other opens the
    sequence anew with ``open_at``, which gives the items from a number on.
    """

    def __init__(self, open_at: Callable[[int], Iterator[T]]) -> None:
        self._open_at = open_at
        self._waiting: tuple[int, Iterator[T]] | None = None

    def read(self, start: int, stop: int) -> Iterator[T]:
        """Items ``start`` to ``stop`` (not included), or fewer where the sequence ends."""
        # Taken while it is in use, so that two reads at once never share an iterator.
        waiting, self._waiting = self._waiting, None
        at, items = waiting if waiting and waiting[0] <= start else (start, self._open_at(start))
        yield from islice(items, start - at, stop - at)
        self._waiting = max(start, stop), items
