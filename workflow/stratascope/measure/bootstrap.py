"""Cluster bootstrap of any statistic of weighted rows.

A resample draws whole clusters with replacement. It is kept as weights: how often each cluster,
and so each of its rows, was drawn. A statistic that takes weights computes many resamples with one
matrix product, and nothing is copied. `interval` has the means that need nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from stratascope.measure.metrics import FloatArray, IntArray

LEVEL = 0.95
# The weights of so many rows are held at a time.
CHUNK = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its 95 % interval, over ``n`` rows from ``groups`` clusters.

    With fewer than 2 clusters both ends are NaN.
    """

    estimate: float
    lower: float
    upper: float
    n: int
    groups: int


def numbered(clusters: Sequence[Hashable]) -> IntArray:
    """Clusters as numbers from 0, in the order in which they first occur."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in clusters], dtype=np.int64)


def resample_counts(units: int, resamples: int, seed: int) -> FloatArray:
    """How often each unit is in each resample: ``(resamples, units)``, rows sum to ``units``."""
    if units == 0:
        return np.zeros((resamples, 0))
    draws = np.random.default_rng(seed).integers(0, units, (resamples, units))
    draws += np.arange(resamples)[:, None] * units
    counts = np.bincount(draws.ravel(), minlength=resamples * units)
    return counts.reshape(resamples, units).astype(np.float64)


def resampled(
    statistic: Callable[[FloatArray], FloatArray], codes: IntArray, counts: FloatArray
) -> FloatArray:
    """``statistic`` of every resample: ``(resamples, *shape)``.

    ``codes`` ``(n,)`` number each row's cluster and ``counts`` ``(resamples, clusters)`` come from
    `resample_counts`. ``statistic`` takes weights ``(b, n)`` and returns ``(b, *shape)``; it may
    return NaN for a resample in which it is not defined.
    """
    step = max(1, CHUNK // max(1, len(codes)))
    parts = [
        statistic(counts[start : start + step, codes]) for start in range(0, len(counts), step)
    ]
    return np.concatenate(parts)


def interval_of(
    estimate: float,
    draws: FloatArray,
    widening: float = 1.0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float]:
    """The ends of the 95 % interval of ``estimate`` from its resamples ``draws`` ``(resamples,)``.

    Percentiles of the resamples about their own mean, times ``widening`` (a factor of standard
    deviations), about the estimate, and cut at ``bounds``. About their own mean, since the
    resamples of a biased statistic (such as a calibration error) do not lie about the estimate.
    NaN resamples are left out; without any other both ends are NaN.
    """
    known = draws[~np.isnan(draws)]
    if len(known) == 0 or np.isnan(estimate):
        return np.nan, np.nan
    tail = (1 - LEVEL) / 2
    ends = estimate + widening * (np.quantile(known, [tail, 1 - tail]) - known.mean())
    lower, upper = np.clip(ends, *bounds)
    return float(lower), float(upper)


def symmetric_interval(
    estimate: float,
    draws: FloatArray,
    widening: float = 1.0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float]:
    """As `interval_of`, but 1.96 standard deviations of the resamples to each side.

    For statistics whose resamples are skewed to the side away from the truth: an R squared that
    came out too low has resamples with a long lower tail, and percentiles that stop short above.
    """
    known = draws[~np.isnan(draws)]
    if len(known) == 0 or np.isnan(estimate):
        return np.nan, np.nan
    reach = widening * NormalDist().inv_cdf((1 + LEVEL) / 2) * float(known.std())
    lower, upper = np.clip([estimate - reach, estimate + reach], *bounds)
    return float(lower), float(upper)
