"""Rows that lie in memory, and a random part of any rows."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stratascope.store.datasets.rows import BadRow, Row, Source


@dataclass(frozen=True)
class MemorySource:
    """Rows given as they are, say by a notebook."""

    rows: Sequence[Row | BadRow]

    def count(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def read(self, start: int, stop: int) -> Iterator[Row | BadRow]:
        """Rows ``start`` to ``stop`` (not included)."""
        return iter(self.rows[start:stop])


@dataclass(frozen=True)
class _Sampled:
    """Chosen rows of a source; ``chosen`` are their numbers, ascending."""

    source: Source
    chosen: Sequence[int]

    def count(self) -> int:
        return len(self.chosen)

    def read(self, start: int, stop: int) -> Iterator[Row | BadRow]:
        part = self.chosen[start:stop]
        if not part:
            return
        # One pass over what lies between: cheap in every format, also where jumping is not.
        first = part[0]
        wanted = iter(part)
        following = next(wanted)
        for number, row in enumerate(self.source.read(first, part[-1] + 1), start=first):
            if number == following:
                yield row
                following = next(wanted, -1)


def sampled(source: Source, max_samples: int | None, seed: int) -> Source:
    """``max_samples`` rows chosen at random without replacement, in the order of the input.

    Bad rows are chosen like others. The choice depends on ``seed`` and the number of rows alone:
    Floyd's algorithm (Bentley and Floyd, 1987) on the one sequence that Python promises never to
    change, ``random.random``. If there are no more rows than that, the source itself.
    """
    if max_samples is None or max_samples >= (count := source.count()):
        return source
    draw = random.Random(seed).random  # noqa: S311 (a sample, not a secret)
    chosen: set[int] = set()
    for last in range(count - max_samples, count):
        number = int(draw() * (last + 1))
        chosen.add(last if number in chosen else number)
    return _Sampled(source, array("q", sorted(chosen)))
