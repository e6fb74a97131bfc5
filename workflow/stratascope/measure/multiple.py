"""Many comparisons at once: p-values adjusted so that a level of 0.05 means what it says.

Thirty layers tested at 0.05 give one or two findings where nothing is. Holm bounds the chance of
even one false finding, Benjamini-Hochberg the expected share of false ones among the findings.
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
