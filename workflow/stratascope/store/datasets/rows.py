"""A text of a dataset, or why it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from stratascope.study.schema import Message

if TYPE_CHECKING:  # planning hashes datasets, and does without the time that importing NumPy takes
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Row:
    """One text: exactly one of ``text``, ``messages`` and ``ids`` is given.

    ``line`` counts from 1: the line of a text file, else the number of the row. ``span`` is
    (start, end), end not included: of a text in characters, of ids in tokens; of messages the marked
    part itself. ``fields`` are the labels and groups
    carried along, by their own names: strings, numbers, booleans.
    """

    line: int
    text: str | None = None
    messages: tuple[Message, ...] | None = None
    ids: NDArray[np.int64] | None = None
    span: tuple[int, int] | str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read, and why."""

    line: int
    reason: str


class Source(Protocol):
    """Where rows come from; the same range always gives the same rows."""

    def count(self) -> int:
        """How many rows there are, bad ones included."""

    def read(self, start: int, stop: int) -> Iterator[Row | BadRow]:
        """Rows ``start`` to ``stop`` (not included), in order, one for each row of the input."""
