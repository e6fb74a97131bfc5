"""Statistics as functions of how often each cluster counts, for the bootstrap of clusters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stratascope.measure.bootstrap import interval_of
from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.proportion import wilson

SHARE = (0.0, 1.0)
# Weights ``(b, clusters) -> (b,)``, NaN where the statistic is not defined.
Statistic = Callable[[FloatArray], FloatArray]


def weighted_ratio(
    above: FloatArray, below: FloatArray, clusters: IntArray, total: int
) -> Statistic:
    """The sum of ``above`` ``(n,)`` over the sum of ``below`` ``(n,)``, such as a mean or a slope.

    ``clusters`` ``(n,)`` number the rows' clusters from 0 to ``total`` - 1. NaN where ``below`` sums to 0.
    """
    sums, sizes = np.bincount(clusters, above, total), np.bincount(clusters, below, total)

    def statistic(weights: FloatArray) -> FloatArray:
        size = weights @ sizes
        return np.asarray(np.where(size > 0, weights @ sums / np.where(size > 0, size, 1), np.nan))

    return statistic


def cluster_ends(
    estimate: float,
    draws: FloatArray,
    clusters: int,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float]:
    """The ends of the 95 % interval of a statistic, from resamples ``draws`` of few clusters.

    The bootstrap's, wider by ``sqrt(C / (C - 1))``: it takes the spread of C clusters about their own
    mean for that about the true one. A share of 0 or 1 is so in every resample; it has Wilson's
    interval for C independent trials. NaN with fewer than 2 clusters.
    """
    if clusters < 2:
        return np.nan, np.nan
    if bounds == SHARE and estimate in SHARE:
        return wilson(clusters if estimate == 1.0 else 0, clusters)
    return interval_of(estimate, draws, float(np.sqrt(clusters / (clusters - 1))), bounds)
