"""What neurons tell of labels: AUROC, correlation, and how sure that is, many neurons at a time.

Everything is a product of a matrix of ranks with a few vectors, so that shuffled labels cost no more
than a product each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.special import ndtr
from scipy.stats import rankdata

from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.probes.labels import Target
from stratascope.measure.probes.nulls import shuffled_labels


@dataclass(frozen=True)
class Property:
    """One label of n texts, which of them belong together, and the label shuffled.

    ``groups`` (n,) number the groups from 0 on. ``shuffled`` (b, n) as `shuffled_labels` leaves them.
    """

    name: str
    target: Target
    groups: IntArray
    shuffled: FloatArray

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """What is held against the rest: each class, of two the second; nothing of a quantity."""
        names = tuple(map(str, self.target.classes))
        return names[1:] if len(names) == 2 else names or ("",)

    def contrasts(self, values: FloatArray) -> FloatArray:
        """Labels (..., n) as vectors (classes, ..., n): 1 in the class, else 0; of a quantity ranks."""
        if self.target.kind == "ridge":
            return np.asarray(rankdata(values, axis=-1)[None])
        codes = range(len(self.target.classes))
        first = 1 if len(codes) == 2 else 0
        return np.stack([(values == code).astype(np.float64) for code in codes[first:]])


def property_of(
    name: str, target: Target, groups: IntArray | None, permutations: int, seed: int
) -> Property:
    """A property with ``permutations`` shuffles of its labels that respect ``groups``.

    Groups whose texts share one label exchange it among one another; within any other group the texts
    exchange theirs. Without groups each text is one.
    """
    numbered = np.arange(len(target)) if groups is None else np.asarray(groups)
    no_folds = np.zeros(len(target), dtype=np.int64)
    shuffled = shuffled_labels(target, numbered, no_folds, permutations, seed)
    return Property(name, target, numbered, shuffled)


class Selective(NamedTuple):
    """What a property's classes have to do with N neurons: (classes, N).

    ``auroc``: the chance that a text of the class has the larger value than one that is not, ties
    half; NaN of a quantity. ``correlation``: of the values with the class (point-biserial) or the
    quantity. ``z``: how many standard deviations the rank sum lies from what shuffled labels give;
    ``p`` two-sided, by the normal distribution. NaN of a neuron that is the same in all texts.
    ``largest`` (b,): the largest |z| of any neuron and class in each shuffle.
    """

    auroc: FloatArray
    correlation: FloatArray
    z: FloatArray
    p: FloatArray
    largest: FloatArray


def selective(values: FloatArray, prop: Property) -> Selective:
    """How neurons with ``values`` (n, N) depend on a property.

    Without groups z is that of the Mann-Whitney test with correction for ties, of a quantity
    Spearman's. With groups its mean and variance are those of the shuffles that respect them, which
    are known in closed form.
    """
    ranks = rankdata(values, axis=0)
    ranks -= (len(values) + 1) / 2
    y = prop.contrasts(prop.target.values)
    known = np.ptp(values, axis=0) > 0
    mean, deviation = _null(prop, y, ranks)
    ok = known & (deviation > 1e-9 * np.abs(ranks).max(initial=1.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(ok, (y @ ranks - mean) / deviation, np.nan)
        largest = _largest(prop, ranks, mean, np.where(ok, deviation, np.inf))
    return Selective(
        _auroc(prop, y, ranks),
        np.where(known, _correlation(values, prop, y), np.nan),
        z,
        2 * ndtr(-np.abs(z)),
        largest,
    )


def p_of_largest(z: FloatArray, largest: FloatArray) -> FloatArray:
    """The share of shuffles (the data counted) in which any neuron is as far out as each of ``z``.

    It bounds the chance of a single false finding (Westfall & Young 1993); NaN without shuffles.
    """
    if not len(largest):
        return np.full(np.shape(z), np.nan)
    ordered = np.sort(largest)
    # The shuffles are computed in float32.
    as_far = len(ordered) - np.searchsorted(ordered, np.abs(z) * (1 - 1e-5), side="left")
    return np.asarray(np.where(np.isnan(z), np.nan, (1 + as_far) / (1 + len(ordered))))


def _null(prop: Property, y: FloatArray, ranks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of ``y @ ranks`` over all shuffles: (classes, N) each.

    The sum over items of label times score, labels permuted, has variance
    ss(labels) * ss(scores) / (items - 1), ss the sum of squares around the mean. Items are the groups
    with one label, each with its ranks' sum; and the texts of every other group, group by group.
    """
    n, groups = len(ranks), int(prop.groups.max()) + 1
    membership = csr_array((np.ones(n), (prop.groups, np.arange(n))), shape=(groups, n))
    sizes = np.bincount(prop.groups, minlength=groups)
    sums = membership @ ranks
    labels = (membership @ y.T).T / sizes
    first = np.unique(prop.groups, return_index=True)[1]
    differs = prop.target.values != prop.target.values[first][prop.groups]
    shared = np.bincount(prop.groups, weights=differs, minlength=groups) == 0
    mean = np.zeros((len(y), ranks.shape[1]))
    variance = np.zeros_like(mean)
    movers = int(shared.sum())
    if movers:
        own, scores = labels[:, shared], sums[shared]
        average = own.mean(axis=1)
        mean += average[:, None] * scores.sum(axis=0)
        if movers > 1:
            spread = np.square(own - average[:, None]).sum(axis=1)
            variance += np.outer(spread, _squares(scores)) / (movers - 1)
    inside = ~shared
    if inside.any():
        mean += labels[:, inside] @ sums[inside]
        spread = ((membership @ np.square(y).T).T - sizes * labels**2)[:, inside]
        scores = (membership @ np.square(ranks) - sums**2 / sizes[:, None])[inside]
        variance += (spread / (sizes[inside] - 1)) @ scores
    return mean, np.sqrt(variance)


def _squares(scores: FloatArray) -> FloatArray:
    return np.asarray(np.square(scores - scores.mean(axis=0)).sum(axis=0))


def _largest(
    prop: Property, ranks: FloatArray, mean: FloatArray, deviation: FloatArray
) -> FloatArray:
    """(b,): the largest |z| of any neuron and class in each shuffle."""
    if not len(prop.shuffled):
        return np.zeros(0)
    small = ranks.astype(np.float32)
    found = np.zeros(len(prop.shuffled))
    shuffled = prop.contrasts(prop.shuffled).astype(np.float32)
    for labels, middle, spread in zip(shuffled, mean, deviation, strict=True):
        z = np.abs((labels @ small - middle.astype(np.float32)) / spread.astype(np.float32))
        found = np.maximum(found, z.max(axis=1, initial=0))
    return found


def _auroc(prop: Property, y: FloatArray, ranks: FloatArray) -> FloatArray:
    if prop.target.kind == "ridge":
        return np.full((1, ranks.shape[1]), np.nan)
    inside = y.sum(axis=1, keepdims=True)
    return np.asarray((y @ ranks) / (inside * (len(ranks) - inside)) + 0.5)


def _correlation(values: FloatArray, prop: Property, y: FloatArray) -> FloatArray:
    labels = prop.target.values[None] if prop.target.kind == "ridge" else y
    centred = values - values.mean(axis=0)
    against = labels - labels.mean(axis=1, keepdims=True)
    size = np.outer(np.linalg.norm(against, axis=1), np.linalg.norm(centred, axis=0))
    product = against @ centred
    return np.asarray(np.divide(product, size, out=np.full_like(product, np.nan), where=size > 0))


# Values are cut into so many parts of equal size, a quantity's labels into so many.
VALUE_BINS, LABEL_BINS = 8, 4


def mutual_information(values: FloatArray, target: Target) -> FloatArray:
    """(N,) in bits: of neurons' values (n, N), in 8 bins of equal size, with a label.

    Less its bias (Miller 1955): (bins - 1)(classes - 1) / 2n nats, the bins those that hold any; so
    around 0 where there is nothing, and below as often as above. Equal values share a bin.
    """
    n = len(values)
    bins = np.minimum((rankdata(values, axis=0) - 0.5) / n * VALUE_BINS, VALUE_BINS - 1).astype(int)
    codes = target.codes
    if target.kind == "ridge":
        ranks = (rankdata(target.values) - 0.5) / n * LABEL_BINS
        codes = np.minimum(ranks, LABEL_BINS - 1).astype(np.int64)
    labels = (codes[:, None] == np.unique(codes)).astype(np.float64)
    joint = np.stack(
        [(bins == number).T.astype(np.float64) @ labels for number in range(VALUE_BINS)]
    )
    joint /= n
    expected = joint.sum(axis=0) * joint.sum(axis=2, keepdims=True)
    ratio = np.divide(joint, expected, out=np.ones_like(joint), where=joint > 0)
    nats = (joint * np.log(ratio)).sum(axis=(0, 2))
    used = (joint.sum(axis=2) > 0).sum(axis=0)
    return np.asarray((nats - (used - 1) * (labels.shape[1] - 1) / (2 * n)) / np.log(2))


def neighbours(
    values: npt.ArrayLike, count: int, at_once: int = 1024
) -> tuple[IntArray, FloatArray]:
    """The neurons that rise and fall with each of N: their numbers and correlations, (N, count).

    By Pearson's correlation over texts of ``values`` (n, N), the largest first. A neuron that is the
    same in all texts is nobody's neighbour: its own are -1 with NaN.
    """
    values = np.asarray(values, dtype=np.float32)
    centred = values - values.mean(axis=0, dtype=np.float64).astype(np.float32)
    size = np.linalg.norm(centred, axis=0)
    varies = np.ptp(values, axis=0) > 0
    unit = np.where(varies, centred / np.where(size > 0, size, 1), 0).astype(np.float32)
    width = unit.shape[1]
    count = min(count, width - 1)
    numbers = np.full((width, count), -1, dtype=np.int64)
    found = np.full((width, count), np.nan)
    for start in range(0, width, at_once):
        part = np.arange(start, min(start + at_once, width))
        r = unit[:, part].T @ unit
        r[:, ~varies] = -np.inf
        r[np.arange(len(part)), part] = -np.inf
        best = np.argsort(-r, axis=1, kind="stable")[:, :count]
        value = np.take_along_axis(r, best, axis=1)
        there = np.isfinite(value) & varies[part, None]
        numbers[part] = np.where(there, best, -1)
        found[part] = np.where(there, value, np.nan)
    return numbers, found


def best_of(z: Sequence[FloatArray]) -> tuple[IntArray, FloatArray]:
    """Of all properties' ``z`` (classes, N), stacked: the row with the largest |z|, and that z, (N,).

    -1 and NaN of a neuron without any.
    """
    stacked = np.concatenate(list(z))
    size = np.where(np.isnan(stacked), -1, np.abs(stacked))
    row = size.argmax(axis=0)
    value = np.take_along_axis(stacked, row[None], axis=0)[0]
    return np.where(np.isnan(value), -1, row), value
