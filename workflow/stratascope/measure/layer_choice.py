"""Is a best layer really the best, or one of several that are as good?

Neighbouring layers see nearly the same states, so one of them always looks best. What counts is how
often resampled conversations choose the same layer, and how far it stands out from its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stratascope.measure.bootstrap import LEVEL
from stratascope.measure.metrics import FloatArray

_TIE = 1e-12


@dataclass(frozen=True)
class Choice:
    """The place of the best of L layers, and how the choice falls in resamples.

    ``shares`` ``(L,)`` sum to 1: how many resamples choose each layer (one with several best layers
    chooses each in part). The middle 95 % of choices are from place ``lower`` to place ``upper``.
    """

    place: int
    shares: FloatArray
    lower: int
    upper: int


def choose(values: FloatArray, resamples: FloatArray) -> Choice | None:
    """The largest of ``values`` ``(L,)``, of equal ones the first, and of ``resamples`` ``(b, L)``.

    NaN is a layer without a value; None where all are, in the data or in every resample.
    """
    known = resamples[~np.isnan(resamples).all(axis=1)]
    if np.isnan(values).all() or len(known) == 0:
        return None
    place = int(np.nanargmax(values))
    best = known >= np.nanmax(known, axis=1)[:, None] - _TIE
    shares = (best / best.sum(axis=1)[:, None]).mean(axis=0)
    below, tail = np.cumsum(shares), (1 - LEVEL) / 2
    lower, upper = np.searchsorted(below, [tail + _TIE, 1 - tail - _TIE]).tolist()
    return Choice(place, shares, lower, upper)


def leads(values: FloatArray) -> FloatArray:
    """Each layer's value minus the mean of its neighbours' ``(..., L) -> (..., L)``.

    The first and the last layer have one neighbour. NaN for a single layer. Linear in ``values``.
    """
    if values.shape[-1] < 2:
        return np.full(values.shape, np.nan)
    ends = values[..., 1:2], values[..., -2:-1]
    before = np.concatenate([ends[0], values[..., :-1]], axis=-1)
    after = np.concatenate([values[..., 1:], ends[1]], axis=-1)
    return np.asarray(values - (before + after) / 2)


def pseudo_values(whole: FloatArray, without: FloatArray) -> FloatArray:
    """What each of C clusters contributes to a statistic: ``(...), (C, ...) -> (C, ...)``.

    ``C whole - (C - 1) without``, where row c of ``without`` is the statistic of the other clusters
    (Tukey's jackknife; Efron & Tibshirani, 1993, ch. 11). Of a mean over clusters of equal size
    it is the cluster's own mean.
    """
    count = len(without)
    return np.asarray(count * whole - (count - 1) * without)
