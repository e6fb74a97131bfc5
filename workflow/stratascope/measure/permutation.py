"""Nulls for messages that depend on one another: relabelled conversations, flipped signs.

Messages of one conversation share most of their text. So nothing here moves a message by itself:
what is rearranged are the names of the labels in a whole conversation, or the sign of a whole
conversation's difference. Every set of draws begins with the data as they are, which belong to the
null like any other draw (Phipson & Smyth, Statistical Applications in Genetics and Molecular
Biology 9, 2010).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from stratascope.measure.metrics import FloatArray, IntArray

# Of draws, the data included: p-values are no smaller than one of these.
DRAWS = 2000
# Up to so many clusters every pattern of signs is taken, and p-values are exact.
ALL_SIGNS = 11
# Standardised statistics that differ by less are equal but for rounding.
_TIE = 1e-9


@dataclass(frozen=True)
class Tested:
    """What draws say of T statistics: the null's mean, p, and p corrected for all T: each ``(T,)``.

    NaN where the statistic of the data is not defined.
    """

    null: FloatArray
    p: FloatArray
    corrected: FloatArray

    def part(self, start: int, shape: tuple[int, ...]) -> Tested:
        """Those of the T that begin at ``start``, as arrays of a shape."""
        some = slice(start, start + prod(shape))
        return Tested(
            self.null[some].reshape(shape),
            self.p[some].reshape(shape),
            self.corrected[some].reshape(shape),
        )


def relabellings(
    told: Sequence[Sequence[int]],
    strata: Sequence[Hashable],
    classes: int,
    seed: int,
    draws: int = DRAWS,
) -> IntArray:
    """What each label becomes in each cluster: ``(draws, clusters, classes)``; draw 0 changes nothing.

    ``told[c]`` are the labels that occur in cluster ``c`` (a conversation). A cluster with several
    exchanges their names among one another at random: messages that shared a label still share one,
    and what was said in succession is still told in succession. Clusters with one label exchange
    it with the others of their stratum that have one. So each cluster keeps which messages belong
    together and the whole keeps its classes, whatever a model does with messages that follow one
    another. Under the null hypothesis the names are arbitrary, and every draw is as likely as the
    data (restricted permutations: Anderson & ter Braak, Journal of Statistical Computation and
    Simulation 73, 2003). An order of labels that is the same in every conversation is a confounder
    that no relabelling within conversations removes.
    """
    rng = np.random.default_rng(seed)
    maps = np.tile(np.arange(classes), (draws, len(told), 1))
    alone: dict[Hashable, list[int]] = {}
    for c, labels in enumerate(told):
        values = np.unique(np.asarray(labels, dtype=np.int64))
        if len(values) > 1:
            block = rng.permuted(np.tile(values, (draws - 1, 1)), axis=1)
            maps[1:, c, values] = block
        elif len(values) == 1:
            alone.setdefault(strata[c], []).append(c)
    for clusters in alone.values():
        values = np.array([told[c][0] for c in clusters])
        block = rng.permuted(np.tile(values, (draws - 1, 1)), axis=1)
        maps[1:, clusters, values] = block
    return maps


def least_p(maps: IntArray) -> float:
    """The smallest p-value that these relabellings can give: how often nothing changes, in (0, 1]."""
    same = (maps == maps[0]).all(axis=(1, 2))
    return float(same.mean())


def sign_flips(clusters: int, seed: int, draws: int = DRAWS) -> FloatArray:
    """Signs of whole clusters: ``(draws, clusters)`` of 1 and -1; the first row is all 1.

    All 2^clusters patterns where that is not many more than ``draws``, otherwise random ones.
    """
    if clusters <= ALL_SIGNS:
        return np.array(list(product((1.0, -1.0), repeat=clusters))).reshape(-1, clusters)
    flips = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, clusters))
    flips[0] = 1.0
    return flips


def flipped(sums: FloatArray, flips: FloatArray) -> FloatArray:
    """Standardised totals under flipped signs: ``(clusters, T), (draws, clusters) -> (draws, T)``.

    ``flips @ sums / sqrt(sum of squares)``: under the null hypothesis that each cluster's sum is
    as likely positive as negative, with variance 1 over all patterns. NaN is a cluster without an
    observation. A statistic of fewer than 2 clusters is NaN, one of zeros alone is 0.
    """
    known = ~np.isnan(sums)
    filled = np.where(known, sums, 0.0)
    size = np.sqrt(np.square(filled).sum(axis=0))
    totals = flips @ filled / np.where(size > 0, size, 1.0)
    return np.where(known.sum(axis=0) >= 2, totals, np.nan)


def against(statistics: FloatArray, *, two_sided: bool) -> Tested:
    """Test each column of ``statistics`` ``(draws, T)``, whose first row is of the data.

    Each statistic is standardised by the mean and standard deviation of its draws. ``p`` is the
    share of draws at least as large as the data (in absolute value if ``two_sided``). ``corrected``
    is the share of draws whose largest statistic of all T is that large: rejecting where it is at
    most alpha keeps the probability of any false rejection at most alpha, and takes into account how
    the statistics depend on one another (the maximum statistic: Westfall & Young, Resampling-Based
    Multiple Testing, 1993). A draw without a value counts as large.
    """
    known = ~np.isnan(statistics)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, statistics, 0.0)
    mean = filled.sum(axis=0) / count
    deviation = np.where(known, statistics - mean, 0.0)
    spread = np.sqrt(np.square(deviation).sum(axis=0) / count)
    z = deviation / np.where(spread > _TIE, spread, 1.0)
    z = np.where(spread > _TIE, np.abs(z) if two_sided else z, 0.0)
    z = np.where(known, z, np.inf)
    made = known[0]
    p = (z >= z[0] - _TIE).mean(axis=0)
    largest = z[:, made].max(axis=1, initial=-np.inf)
    corrected = (largest[:, None] >= z[0][None] - _TIE).mean(axis=0)
    return Tested(*(np.where(made, values, np.nan) for values in (mean, p, corrected)))
