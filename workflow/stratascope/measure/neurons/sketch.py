"""Quantiles out of counts in buckets whose width is a share of what they hold.

Counts of parts are added, so the result is the same however the data were cut (as in DDSketch,
Masson et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stratascope.measure.metrics import FloatArray, IntArray


def quantiles(
    counts: IntArray,
    bounds: FloatArray,
    shares: Sequence[float],
    low: FloatArray,
    high: FloatArray,
) -> FloatArray:
    """(shares, N) of ``counts`` (buckets, N): the value that a share of values does not exceed.

    ``bounds`` (2, buckets) are what each bucket holds, in ascending order; ``low`` and ``high`` (N,) the
    smallest and largest value. The true quantile, the value at rank ceil(share * n), lies in the same
    bucket: of one from a to b the result, 2ab / (a + b), is off by at most (b - a) / (b + a) of it.
    """
    total = counts.sum(axis=0)
    running = np.cumsum(counts, axis=0)
    found = []
    for share in shares:
        rank = np.maximum(1, np.ceil(share * total))
        bucket = (running < rank).sum(axis=0)
        a = np.maximum(bounds[0][bucket].astype(np.float64), low)
        b = np.minimum(bounds[1][bucket].astype(np.float64), high)
        one_sign = a * b > 0
        middle = np.where(one_sign, 2 * a * b / np.where(one_sign, a + b, 1), (a + b) / 2)
        found.append(middle)
    return np.array(found)


def positive_share(counts: IntArray, bounds: FloatArray) -> FloatArray:
    """(N,): the share of values above 0, exact."""
    above = counts[(bounds[0] >= 0) & (bounds[1] > 0)].sum(axis=0)
    return np.asarray(above / counts.sum(axis=0))


def zero_share(counts: IntArray, bounds: FloatArray) -> FloatArray:
    """(N,): the share of values that are 0, exact."""
    zero = counts[(bounds[0] == 0) & (bounds[1] == 0)].sum(axis=0)
    return np.asarray(zero / counts.sum(axis=0))
