"""How well snapshots of known labels are told apart by their similarity to the references.

Scores ``(n, k)`` are the similarities of n messages to k references, NaN where a message has no
such reference; codes say which of the k labels each message tells. `auroc` asks whether the
messages that tell a label are more similar to its reference than the other messages are: a
reference that every message resembles gains nothing by it. `accuracy` asks whether a message's
nearest reference is the one it tells.
"""

from __future__ import annotations

import numpy as np

from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.weighted import Statistic


def auroc(scores: FloatArray, codes: IntArray) -> FloatArray:
    """Mean over labels of the area under the ROC curve: ``(n, k), (b, n) -> (b,)``, in [0, 1].

    For each label the share of pairs, a message that tells it and one that tells another, in which
    the first is more similar to the label's reference; equal similarities count half, 0.5 is
    chance (Hand & Till, Machine Learning 45, 2001, one against the rest). Each row of ``codes`` is
    a labelling, such as a relabelling drawn for a null. A label that no message tells, or all, is
    left out; NaN if none is left. Unchanged by any increasing function of a reference's scores.
    """
    known = ~np.isnan(scores)
    ranks = np.stack([_ranks(column) for column in scores.T], axis=1)
    rows = np.arange(len(scores))
    counts = _by_label(codes, known[rows, codes].astype(np.float64), scores.shape[1])
    sums = _by_label(codes, ranks[rows, codes], scores.shape[1])
    pairs = counts * (known.sum(axis=0) - counts)
    return _mean(sums - counts * (counts + 1) / 2, pairs)


def accuracy(scores: FloatArray, codes: IntArray) -> FloatArray:
    """Balanced accuracy of the most similar reference: ``(n, k), (b, n) -> (b,)``, in [0, 1].

    For each label the share of its messages whose most similar reference (of equal ones the first)
    is the label's, mean over the labels that occur. A nearest reference that does not depend on
    the message gives 1 / (number of labels) at most. Messages without any similarity are left out.
    """
    known = np.asarray(~np.isnan(scores).all(axis=1))
    nearest = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)
    right = ((codes == nearest) & known).astype(np.float64)
    counts = _by_label(
        codes, np.broadcast_to(known.astype(np.float64), codes.shape), scores.shape[1]
    )
    return _mean(_by_label(codes, right, scores.shape[1]), counts)


def weighted_auroc(
    scores: FloatArray, codes: IntArray, clusters: IntArray, total: int
) -> Statistic:
    """`auroc` of one labelling ``(n,)`` as a function of how often each cluster counts.

    ``clusters`` ``(n,)`` number the messages' clusters from 0 to ``total`` - 1. NaN where no label has
    a pair.
    """
    inside = _one_hot(clusters, total)
    wins, pairs = [], []
    for label in np.unique(codes):
        column = scores[:, label]
        own = (codes == label) & ~np.isnan(column)
        rest = (codes != label) & ~np.isnan(column)
        better = np.sign(column[own][:, None] - column[rest][None]) / 2 + 0.5
        wins.append(inside[own].T @ better @ inside[rest])
        pairs.append(np.outer(inside[own].sum(axis=0), inside[rest].sum(axis=0)))
    return lambda weights: _mean(*(_quadratic(weights, some) for some in (wins, pairs)))


def weighted_accuracy(
    scores: FloatArray, codes: IntArray, clusters: IntArray, total: int
) -> Statistic:
    """`accuracy` of one labelling as a function of how often each cluster counts, as above."""
    known = np.asarray(~np.isnan(scores).all(axis=1))
    nearest = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)
    labels = _one_hot(codes, scores.shape[1]) * known[:, None]
    inside = _one_hot(clusters, total)
    right, counts = inside.T @ (labels * (nearest == codes)[:, None]), inside.T @ labels
    return lambda weights: _mean(weights @ right, weights @ counts)


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks ``(n,)`` from 1, equal values sharing their mean rank; 0 for NaN."""
    ordered = np.sort(values[~np.isnan(values)])
    below = np.searchsorted(ordered, values, "left")
    upto = np.searchsorted(ordered, values, "right")
    return np.where(np.isnan(values), 0.0, (below + upto + 1) / 2)


def _by_label(codes: IntArray, values: FloatArray, classes: int) -> FloatArray:
    """Sums of ``values`` ``(b, n)`` over the messages of each label: ``(b, classes)``."""
    places = codes + np.arange(len(codes))[:, None] * classes
    sums = np.bincount(places.ravel(), values.ravel(), len(codes) * classes)
    return np.asarray(sums.reshape(len(codes), classes), dtype=np.float64)


def _quadratic(weights: FloatArray, matrices: list[FloatArray]) -> FloatArray:
    return np.stack([((weights @ matrix) * weights).sum(axis=1) for matrix in matrices], axis=1)


def _one_hot(codes: IntArray, classes: int) -> FloatArray:
    return np.asarray(codes[:, None] == np.arange(classes), dtype=np.float64)


def _mean(sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Mean over the last axis of ``sums / counts`` where there are counts."""
    there = counts > 0
    ratios = np.where(there, sums / np.where(there, counts, 1.0), 0.0)
    number = there.sum(axis=-1)
    return np.asarray(np.where(number > 0, ratios.sum(axis=-1) / np.maximum(number, 1), np.nan))
