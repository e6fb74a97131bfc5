"""Two or more ways of doing the same work, timed in alternation, and a line of the table of it."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# One way to do the work. It is given an empty folder, and returns what the others must agree with.
Side = Callable[[Path], Any]

# How a ratio reads: against an alternative we are faster, against a floor we take longer.
Reads = Literal["faster", "cost"]


class SkippedError(Exception):
    """A benchmark that cannot run here, with the reason in one line."""


@dataclass(frozen=True)
class Row:
    """One comparison: what was done, by whom, and the seconds (or megabytes) of each round."""

    what: str
    ours: str
    other: str
    seconds: tuple[float, ...]
    other_seconds: tuple[float, ...]
    reads: Reads = "faster"
    target: str = ""
    note: str = ""
    unit: Literal["s", "MB"] = "s"

    @property
    def ratio(self) -> float:
        """Ratio of the medians: how often ours goes into the other, or the other into ours."""
        return self._of(statistics.median(self.seconds), statistics.median(self.other_seconds))

    @property
    def spread(self) -> tuple[float, float]:
        """Least and greatest ratio of a single round."""
        each = [self._of(a, b) for a, b in zip(self.seconds, self.other_seconds, strict=True)]
        return min(each), max(each)

    def _of(self, ours: float, other: float) -> float:
        return other / ours if self.reads == "faster" else ours / other


@dataclass(frozen=True)
class Race:
    """The seconds of each side's rounds, and what the comparison of their work found."""

    seconds: Mapping[str, Sequence[float]]
    agreement: str

    def row(
        self,
        what: str,
        ours: str,
        other: str,
        *,
        reads: Reads = "faster",
        target: str = "",
        note: str | None = None,
    ) -> Row:
        """The line that compares two of the sides; its note is what the agreement found."""
        times = tuple(self.seconds[ours]), tuple(self.seconds[other])
        note = self.agreement if note is None else note
        return Row(what, ours, other, *times, reads=reads, target=target, note=note)


def race(sides: Mapping[str, Side], agree: Callable[..., str], rounds: int) -> Race:
    """Run every side once, check with ``agree`` that they did the same, then time ``rounds`` rounds.

    ``agree`` gets the sides' results in order while their folders are still there, raises
    AssertionError if they differ, and returns a few words for the table. In a round every side runs
    once; the order turns round by round, so that neither drift nor caches favour one of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for i, side in enumerate(sides.values()):
            place = Path(folder) / str(i)
            place.mkdir()
            results.append(side(place))
        agreement = agree(*results)
        del results
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for _ in range(rounds):
        for name in order:
            seconds[name].append(_seconds(sides[name]))
        order.reverse()
    return Race(seconds, agreement)


def _seconds(side: Side) -> float:
    with tempfile.TemporaryDirectory() as folder:
        gc.collect()
        start = time.perf_counter()
        result = side(Path(folder))
        seconds = time.perf_counter() - start
        # Freeing what a side made is not part of its work.
        del result
    return seconds
