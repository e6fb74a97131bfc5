"""Comparisons that hold what they compare: measures that do not stream, nulls, intervals.

A layer is prepared once. A permutation of the texts, or a part of them, is then picked out of what
was prepared, for all measures that share it and all pairs of layers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.measure.bootstrap import numbered
from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.similarity.features import UndefinedError
from stratascope.measure.similarity.forms import Form, Workers
from stratascope.measure.similarity.pairs import Selection
from stratascope.measure.similarity.sides import Found, Sides, does_not_fit


@dataclass(frozen=True)
class Draws:
    """How many permutations and half-samples; ``codes`` (n,) number each text's group."""

    permutations: int
    halves: int
    codes: IntArray
    seed: int

    @classmethod
    def of(
        cls, n: int, permutations: int, halves: int, groups: Sequence[Hashable] | None, seed: int
    ) -> Draws:
        """The draws over ``n`` texts. Raises StratascopeError for groups of other texts."""
        codes = numbered(range(n) if groups is None else groups)
        if len(codes) != n:
            raise StratascopeError(f"{len(codes)} groups for {n} texts: one a text is needed")
        return cls(permutations, halves, codes, seed)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(self.codes.max()) + 1

    def permutation(self, number: int) -> Selection:
        """All texts in a random order."""
        rng = np.random.default_rng([self.seed, 0, number])
        return Selection(len(self.codes), rng.permutation(len(self.codes)))

    def half(self, number: int) -> Selection:
        """The texts of a random half of the groups."""
        rng = np.random.default_rng([self.seed, 1, number])
        chosen = rng.permutation(self.groups)[: self.groups // 2]
        return Selection(len(self.codes), np.flatnonzero(np.isin(self.codes, chosen)))

    @property
    def widening(self) -> float:
        """By how much half-samples spread less, or more, than the whole would among others."""
        kept = self.groups // 2
        return float(np.sqrt(kept / (self.groups - kept)))


@dataclass
class Drawn(Found):
    """One measure's values, and those of its draws ``(draws, a, b)``."""

    permuted: FloatArray = field(default_factory=lambda: np.empty(0))
    halved: FloatArray = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class _Kept:
    """Layers as they are held, by place: prepared, if need be, and finished for each measure."""

    prepared: dict[int, Any]
    finished: dict[str, dict[int, Any]]


def held(
    sides: Sides, forms: Mapping[str, Form], draws: Draws, memory: int, workers: Workers
) -> dict[str, Drawn]:
    """Values and draws of measures that share what is prepared.

    Layers are held in groups, as many at a time as fit in ``memory`` bytes. Raises
    StratascopeError where not even one of each side fits.
    """
    shape = sides.wanted.shape
    found = {
        name: Drawn(
            np.full(shape, np.nan),
            {},
            np.full((draws.permutations, *shape), np.nan),
            np.full((draws.halves, *shape), np.nan),
        )
        for name in forms
    }
    size = _layers_at_once(sides, forms, draws, memory, workers)
    for a in _chunks(shape[0], size):
        places_a = [sides.of_a[i] for i in a]
        keep_a = _keep(places_a, sides, forms, found, draws.halves > 0, workers)
        for b in _chunks(shape[1], size):
            places_b = [sides.of_b[j] for j in b]
            keep_b = keep_a
            if places_b != places_a:
                keep_b = _keep(places_b, sides, forms, found, draws.halves > 0, workers)
            _Block(sides, forms, found, a, b, workers).fill(keep_a, keep_b, draws)
    return found


def _layers_at_once(
    sides: Sides, forms: Mapping[str, Form], draws: Draws, memory: int, workers: Workers
) -> int:
    """How many layers of each side are held together."""
    (form, *_) = forms.values()
    unit = form.memory(sides.n, sides.width)
    # Finished for each measure; prepared, and the same for half of the texts.
    layer = unit * (len(forms) + (1.75 if draws.halves else 0.0))
    making = 4 * unit * min(workers.threads, len(sides.used))
    if making + layer * len(sides.used) <= memory:
        return len(sides.layers)
    size = int((memory - making) / (2 * layer))
    if size < 1:
        raise does_not_fit(
            f"holding two layers of {sides.n} texts", int(making + 2 * layer), memory
        )
    return size


def _chunks(count: int, size: int) -> Iterator[list[int]]:
    for start in range(0, count, size):
        yield list(range(start, min(start + size, count)))


def _attempt(function: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return function(argument)
    except UndefinedError as error:
        return error


def _keep(
    places: Sequence[int],
    sides: Sides,
    forms: Mapping[str, Form],
    found: Mapping[str, Drawn],
    parts: bool,
    workers: Workers,
) -> _Kept:
    """Prepare and finish the layers at ``places``; what is undefined is left out, with its reason.

    What was prepared is kept if ``parts`` are to be taken of it.
    """
    (form, *_) = forms.values()
    used = [place for place in dict.fromkeys(places) if place in set(sides.used)]
    prepared: dict[int, Any] = {}
    finished: dict[str, dict[int, Any]] = {name: {} for name in forms}

    def make(place: int) -> tuple[Any, dict[str, Any]]:
        ready = _attempt(form.prepare, sides.layers[place])
        if isinstance(ready, UndefinedError):
            return ready, dict.fromkeys(forms, ready)
        return ready, {name: _attempt(each.finish, ready) for name, each in forms.items()}

    for place, (ready, done) in zip(used, workers.each(make, used), strict=True):
        if parts:
            prepared[place] = ready
        for name, each in done.items():
            if isinstance(each, UndefinedError):
                found[name].undefined[place] = str(each)
            else:
                finished[name][place] = each
    return _Kept(prepared, finished)


@dataclass(frozen=True)
class _Block:
    """Some layers of a against some of b: rows ``a`` and columns ``b`` of the matrices."""

    sides: Sides
    forms: Mapping[str, Form]
    found: Mapping[str, Drawn]
    a: Sequence[int]
    b: Sequence[int]
    workers: Workers

    def fill(self, keep_a: _Kept, keep_b: _Kept, draws: Draws) -> None:
        """Write their values and draws."""
        for name in self.forms:
            self._write(self.found[name].values, name, keep_a, keep_b, None)
        for number in range(draws.permutations):
            order = draws.permutation(number)
            for name in self.forms:
                self._write(self.found[name].permuted[number], name, keep_a, keep_b, order)
        for number in range(draws.halves):
            half = draws.half(number)
            part_a = self._part(keep_a, half)
            part_b = part_a if keep_b is keep_a else self._part(keep_b, half)
            for name in self.forms:
                self._write(self.found[name].halved[number], name, part_a, part_b, None)

    def _part(self, kept: _Kept, half: Selection) -> _Kept:
        """The same layers, of half of the texts."""

        def make(place: int) -> dict[str, Any]:
            part = _attempt(lambda ready: ready.part(half), kept.prepared[place])
            if isinstance(part, UndefinedError):
                return dict.fromkeys(self.forms, part)
            return {name: _attempt(form.finish, part) for name, form in self.forms.items()}

        places = [p for p, ready in kept.prepared.items() if not isinstance(ready, UndefinedError)]
        finished: dict[str, dict[int, Any]] = {name: {} for name in self.forms}
        for place, done in zip(places, self.workers.each(make, places), strict=True):
            for name, each in done.items():
                if not isinstance(each, UndefinedError):
                    finished[name][place] = each
        return _Kept({}, finished)

    def _write(
        self, out: FloatArray, name: str, a: _Kept, b: _Kept, order: Selection | None
    ) -> None:
        """Write the values of what is defined into ``out`` (a, b)."""
        left, right = a.finished[name], b.finished[name]
        rows = [i for i in self.a if self.sides.of_a[i] in left]
        columns = [j for j in self.b if self.sides.of_b[j] in right]
        if not rows or not columns:
            return
        wanted = self.sides.wanted[np.ix_(rows, columns)]
        values = self.forms[name].values(
            [left[self.sides.of_a[i]] for i in rows],
            [right[self.sides.of_b[j]] for j in columns],
            wanted,
            order,
            self.workers,
        )
        out[np.ix_(rows, columns)] = np.where(wanted, values, np.nan)
