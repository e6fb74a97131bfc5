"""How sure a mean is: percentile bootstrap intervals, over many targets at once.

A resample is a row of weights (how often each unit was drawn), so that all resamples of all
targets are one matrix product. Seeds come from names, never from a clock: the same study gives
the same intervals. Percentile intervals are too narrow for a handful of units (Efron &
Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13); ``n`` is there to be read with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from stratascope.measure.bootstrap import LEVEL, numbered, resample_counts
from stratascope.measure.metrics import FloatArray, IntArray

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """Estimates with the lower and upper ends of their 95 % intervals, one for each target.

    ``n`` is the number of units that were resampled; with fewer than 2 both ends are NaN.
    """

    estimate: FloatArray
    lower: FloatArray
    upper: FloatArray
    n: IntArray


def seed_of(*names: object) -> int:
    """A seed that depends on the names and on nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode("utf-8", "backslashreplace"))
    return int.from_bytes(digest.digest()[:8], "big")


def cluster_mean(values: FloatArray, clusters: Sequence[Hashable], seed: int) -> Interval:
    """Mean over rows of ``values`` ``(n, *targets)``; whole clusters of rows are resampled.

    NaN is a missing observation. Every observation counts once, so that a resample's mean is a
    ratio of sums. With each row its own cluster this is the ordinary bootstrap of a mean.
    """
    sums, counts = _cluster_sums(values, numbered(clusters))
    weights = resample_counts(len(sums), RESAMPLES, seed)
    return _interval(
        _ratio(sums.sum(axis=0), counts.sum(axis=0)),
        _ratio(_weigh(weights, sums), _weigh(weights, counts)),
        (counts > 0).sum(axis=0),
    )


def cluster_difference(
    a: FloatArray,
    clusters_a: Sequence[Hashable],
    b: FloatArray,
    clusters_b: Sequence[Hashable],
    seed: int,
) -> Interval:
    """Mean of ``a`` ``(n, *targets)`` minus mean of ``b`` ``(m, *targets)``.

    A cluster may hold rows of both: it is drawn with all its rows. A resample that leaves one
    group empty has no difference and is left out. ``n`` counts the clusters with an observation.
    """
    codes = numbered([*clusters_a, *clusters_b])
    total = int(codes.max(initial=-1)) + 1
    sums_a, counts_a = _cluster_sums(a, codes[: len(a)], total)
    sums_b, counts_b = _cluster_sums(b, codes[len(a) :], total)
    weights = resample_counts(total, RESAMPLES, seed)
    return _interval(
        _ratio(sums_a.sum(axis=0), counts_a.sum(axis=0))
        - _ratio(sums_b.sum(axis=0), counts_b.sum(axis=0)),
        _ratio(_weigh(weights, sums_a), _weigh(weights, counts_a))
        - _ratio(_weigh(weights, sums_b), _weigh(weights, counts_b)),
        ((counts_a > 0) | (counts_b > 0)).sum(axis=0),
    )


def stratified_difference(a: FloatArray, b: FloatArray, seed: int) -> Interval:
    """Mean of ``a`` ``(n, *targets)`` minus mean of ``b``; rows are drawn within each group.

    For the two roles of one conversation, where there is only one cluster. ``n`` is the size of
    the smaller group.
    """
    estimates, resamples, units = [], [], []
    for values, name in ((a, "a"), (b, "b")):
        sums, counts = _cluster_sums(values, np.arange(len(values)))
        weights = resample_counts(len(values), RESAMPLES, seed_of(seed, name))
        estimates.append(_ratio(sums.sum(axis=0), counts.sum(axis=0)))
        resamples.append(_ratio(_weigh(weights, sums), _weigh(weights, counts)))
        units.append((counts > 0).sum(axis=0))
    return _interval(estimates[0] - estimates[1], resamples[0] - resamples[1], np.minimum(*units))


def _cluster_sums(
    values: FloatArray, codes: IntArray, total: int | None = None
) -> tuple[FloatArray, FloatArray]:
    """Sum and number of the observations of each cluster: two arrays ``(clusters, *targets)``."""
    count = int(codes.max(initial=-1)) + 1 if total is None else total
    there = ~np.isnan(values)
    sums, counts = np.zeros((2, count, *values.shape[1:]))
    np.add.at(sums, codes, np.where(there, values, 0.0))
    np.add.at(counts, codes, there)
    return sums, counts


def _weigh(weights: FloatArray, data: FloatArray) -> FloatArray:
    return np.asarray(np.tensordot(weights, data, axes=1), dtype=np.float64)


def _ratio(sums: FloatArray, counts: FloatArray) -> FloatArray:
    ratio = np.full(np.shape(sums), np.nan)
    np.divide(sums, counts, out=ratio, where=counts > 0)
    return ratio


def _interval(estimate: FloatArray, resampled: FloatArray, units: IntArray) -> Interval:
    known = (units >= 2) & ~np.isnan(resampled).all(axis=0)
    tail = (1 - LEVEL) / 2
    lower, upper = np.nanquantile(np.where(known, resampled, 0.0), [tail, 1 - tail], axis=0)
    return Interval(
        np.asarray(estimate),
        np.where(known, lower, np.nan),
        np.where(known, upper, np.nan),
        np.asarray(units),
    )
