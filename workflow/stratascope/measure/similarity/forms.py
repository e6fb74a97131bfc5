"""How a measure is computed in steps, so that what two measures or two pairs share is done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from stratascope.measure.metrics import BoolArray, FloatArray
from stratascope.measure.similarity.features import Layer, pair_of
from stratascope.measure.similarity.pairs import Relation, Selection

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Centring:
    """What is taken off a relation: ``v_ij - r_i - r_j + w``.

    ``terms`` gives r ``(n,)`` and w from the sums over the other texts and the diagonal, both
    ``(n,)``; ``diagonal`` says whether pairs of a text with itself count.
    """

    terms: Callable[[FloatArray, FloatArray], tuple[FloatArray, float]]
    diagonal: bool


@dataclass(frozen=True)
class Form:
    """The steps of a measure with values from ``low`` to ``high``.

    ``prepare`` does once for a layer what needs its features. The result has ``part(selection)``,
    the same for some of the texts. ``finish`` makes of it what a pair needs of either side.
    ``compare(a, b, wanted, order, threads)`` gives the values of all layers of one side against all
    of the other, where ``wanted`` (a, b); ``order`` permutes the texts of b. ``memory(n, d)`` is
    how many bytes are held for a layer. A form that ``streams`` is an inner product of centred
    relations, which need not be held.
    """

    prepare: Callable[[Layer], Any]
    finish: Callable[[Any], Any]
    compare: Callable[
        [Sequence[Any], Sequence[Any], BoolArray, Selection | None, Workers], FloatArray
    ]
    memory: Callable[[int, int], int]
    low: float = -1.0
    high: float = 1.0
    streams: tuple[Relation, Centring] | None = None

    def values(
        self,
        a: Sequence[Any],
        b: Sequence[Any],
        wanted: BoolArray,
        order: Selection | None,
        workers: Workers,
    ) -> FloatArray:
        """``compare`` within the measure's range: rounding does not leave it."""
        return np.clip(self.compare(a, b, wanted, order, workers), self.low, self.high)


@dataclass(frozen=True)
class Workers:
    """Threads that share a list of tasks, each computed as if it were alone."""

    pool: ThreadPoolExecutor | None = None
    threads: int = 1

    def each(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """``function`` of every item, in the order of the items."""
        if self.pool is None or len(items) < 2:
            return map(function, items)
        return self.pool.map(function, items)


@contextmanager
def workers(threads: int) -> Iterator[Workers]:
    """Threads of our own around BLAS on one thread: their number cannot change a bit of a result."""
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        yield Workers(pool if threads > 1 else None, threads)


def value_of(form: Form, x: npt.ArrayLike, y: npt.ArrayLike, minimum: int) -> float:
    """A measure on X (n, d1) and Y (n, d2). Raises StratascopeError for what it is not defined on."""
    layers = pair_of(x, y, minimum)
    a, b = ([form.finish(form.prepare(layer))] for layer in layers)
    return float(form.values(a, b, np.ones((1, 1), np.bool_), None, Workers())[0, 0])
