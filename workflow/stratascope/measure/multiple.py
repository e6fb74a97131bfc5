"""Many comparisons at once: p-values adjusted so that a level of 0.05 means what it says.

Thirty layers tested at 0.05 give one or two findings where nothing is. Holm bounds the chance of
even one false finding, Benjamini-Hochberg the expected share of false ones among the findings, and
`max_statistic` the first again, with less loss where all were tested on the same shuffles.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import FloatArray


def holm(p: npt.ArrayLike) -> FloatArray:
    """Holm's step-down adjustment of p-values ``(m,) -> (m,)``, in [0, 1] and in the order given.

    Rejecting where the adjusted value is at most alpha keeps the probability of any false
    rejection at most alpha, however the tests depend on one another (Holm 1979, Scandinavian
    Journal of Statistics 6). NaN is a comparison that was not made: it stays NaN and does not
    count. Raises StratascopeError for a value outside [0, 1].
    """
    return _adjusted(p, _step_down)


def benjamini_hochberg(p: npt.ArrayLike) -> FloatArray:
    """Benjamini and Hochberg's step-up adjustment ``(m,) -> (m,)``, in [0, 1], in the order given.

    Rejecting where the adjusted value is at most alpha keeps the expected share of false
    rejections among all rejections at most alpha for independent or positively dependent tests
    (1995, Journal of the Royal Statistical Society B 57). NaN and errors as in `holm`.
    """
    return _adjusted(p, _step_up)


def _step_down(ordered: FloatArray) -> FloatArray:
    remaining = np.arange(len(ordered), 0, -1)
    return np.asarray(np.maximum.accumulate(ordered * remaining))


def _step_up(ordered: FloatArray) -> FloatArray:
    scaled = ordered * len(ordered) / np.arange(1, len(ordered) + 1)
    return np.asarray(np.minimum.accumulate(scaled[::-1])[::-1])


def _adjusted(p: npt.ArrayLike, rule: Callable[[FloatArray], FloatArray]) -> FloatArray:
    values = np.asarray(p, dtype=np.float64)
    made = np.flatnonzero(~np.isnan(values))
    if values.ndim != 1 or ((values[made] < 0) | (values[made] > 1)).any():
        raise StratascopeError(
            f"p-values to adjust must be one list of numbers from 0 to 1, got {values.tolist()}"
        )
    order = made[np.argsort(values[made], kind="stable")]
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(rule(values[order]), 1.0)
    return adjusted


def max_statistic(
    values: npt.ArrayLike, null: npt.ArrayLike, higher_is_better: bool = True
) -> FloatArray:
    """p-values of m comparisons, adjusted by the best of all in each shuffle: ``(m,)`` in (0, 1].

    ``values`` ``(m,)`` are one measure of m layers, ``null`` ``(m, N)`` the same of the same N shuffles
    of the labels: column b holds one shuffle, seen by all layers. A layer's p-value is the share of
    shuffles in which any layer is at least as good as it is, this one counted (Westfall & Young,
    Resampling-Based Multiple Testing, 1993, the single-step maxT). It bounds the chance of any false
    rejection, as Holm's does; but layers that rise and fall together do not count as so many, and
    1 / (N + 1) can be reached however many there are. NaN is a comparison that was not made.
    Raises StratascopeError if the shapes do not fit.
    """
    found, shuffles = np.asarray(values, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if found.ndim != 1 or shuffles.ndim != 2 or len(shuffles) != len(found):
        raise StratascopeError(
            f"a null needs a row of shuffles for each value, got {found.shape} and {shuffles.shape}"
        )
    made = ~np.isnan(found)
    adjusted = np.full(len(found), np.nan)
    if shuffles.shape[1] == 0 or not made.any():
        return adjusted
    sign = 1.0 if higher_is_better else -1.0
    best = sign * best_of_all(shuffles[made], higher_is_better)
    # Equal values may differ by rounding, and count as equal.
    as_good = (best >= sign * found[made, None] - 1e-12).sum(axis=1)
    adjusted[made] = (1 + as_good) / (1 + shuffles.shape[1])
    return adjusted


def best_of_all(null: FloatArray, higher_is_better: bool = True) -> FloatArray:
    """The best of m layers in each of N shuffles: ``(m, N) -> (N,)``; NaN where no layer has one."""
    worst = -np.inf if higher_is_better else np.inf
    known = np.where(np.isnan(null), worst, null)
    best = known.max(axis=0) if higher_is_better else known.min(axis=0)
    return np.where(np.isinf(best), np.nan, best)
