"""The two sides of a comparison, what came out of it, and what does not fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import BoolArray, FloatArray
from stratascope.measure.similarity.features import Layer


@dataclass(frozen=True)
class Sides:
    """The layers of both sides in one list, and which pairs are wanted ``(a, b)``.

    ``of_a`` and ``of_b`` say where each side's layers stand: at the same places where a side is
    compared with itself.
    """

    layers: Sequence[Layer]
    of_a: Sequence[int]
    of_b: Sequence[int]
    wanted: BoolArray

    @property
    def n(self) -> int:
        """How many texts."""
        return self.layers[0].n

    @property
    def used(self) -> list[int]:
        """The places of layers that are in a wanted pair."""
        a = np.asarray(self.of_a)[self.wanted.any(axis=1)]
        b = np.asarray(self.of_b)[self.wanted.any(axis=0)]
        return sorted({*a.tolist(), *b.tolist()})

    @property
    def width(self) -> int:
        """The most features that a used layer has."""
        return max(self.layers[place].width for place in self.used)

    def pairs(self, places: Iterable[int]) -> list[tuple[int, int]]:
        """Wanted pairs among ``places``, the lower first; and each place with itself."""
        among = set(places)
        both = [(self.of_a[i], self.of_b[j]) for i, j in np.argwhere(self.wanted)]
        wanted = {(min(pair), max(pair)) for pair in both if among.issuperset(pair)}
        return sorted(wanted | {(place, place) for place in among})

    def matrix(self, values: FloatArray) -> FloatArray:
        """``values`` (layers, layers) as (a, b), NaN where not wanted."""
        found: FloatArray = np.where(self.wanted, values[np.ix_(self.of_a, self.of_b)], np.nan)
        return found


@dataclass
class Found:
    """One measure's values ``(a, b)``, and why a layer has none, by its place."""

    values: FloatArray
    undefined: dict[int, str] = field(default_factory=dict)


def does_not_fit(what: str, needed: int, memory: int) -> StratascopeError:
    """The error for what is held whole and is larger than allowed."""
    return StratascopeError(
        f"{what} takes {needed / 2**30:.2g} GiB and {memory / 2**30:.2g} GiB are allowed: "
        "allow more memory, or compare fewer texts"
    )
