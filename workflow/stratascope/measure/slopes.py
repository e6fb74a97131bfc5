"""Does a similarity fall as a conversation goes on? Slopes within groups of messages.

Conversations and labels differ in how similar they are to begin with, so each group of messages
has a level of its own and only what changes within it counts (a regression with fixed effects).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from stratascope.measure.bootstrap import numbered
from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.recognition import Statistic


def within(x: FloatArray, groups: Sequence[Hashable]) -> FloatArray:
    """``x`` ``(n,)`` minus the mean of its group."""
    codes = numbered(groups)
    sums, counts = np.bincount(codes, x), np.bincount(codes)
    return np.asarray(x - (sums / np.maximum(counts, 1))[codes])


def slopes(deviations: FloatArray, y: FloatArray) -> FloatArray:
    """Least-squares slopes of ``y`` ``(b, n)`` with a level for each group: ``(b,)``, y's unit by x's.

    ``deviations`` come from `within`. NaN where x does not vary in any group.
    """
    size = float(deviations @ deviations)
    return np.asarray(y @ deviations / size) if size > 0 else np.full(len(y), np.nan)


def weighted_slope(
    deviations: FloatArray, y: FloatArray, clusters: IntArray, total: int
) -> Statistic:
    """The slope as a function of how often each cluster counts, ``(b, total) -> (b,)``.

    ``clusters`` ``(n,)`` number clusters of whole groups from 0 to ``total`` - 1.
    """
    products = np.bincount(clusters, deviations * y, total)
    squares = np.bincount(clusters, np.square(deviations), total)

    def statistic(weights: FloatArray) -> FloatArray:
        size = weights @ squares
        return np.asarray(np.where(size > 0, weights @ products / np.where(size > 0, size, 1), np.nan))

    return statistic
