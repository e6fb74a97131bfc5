"""How good predictions are: accuracy, macro-F1, AUROC, Brier score, calibration error, R squared.

Each measure takes `Predictions` of n rows and weights ``(b, n)``, how often each row counts, and
returns ``(b,)``: equal weights give the measure itself, a bootstrap's weights its resamples. A
resample in which it is not defined gives NaN. ``MEASURES`` is the table to extend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from stratascope.measure.bootstrap import symmetric_interval
from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.probes.labels import Kind, Target
from stratascope.measure.proportion import wilson

# Equal bins of the probability of the predicted class, from 0 to 1 (Guo et al., 2017).
BINS = 10


@dataclass(frozen=True)
class Predictions:
    """What probes say of n rows.

    ``scores`` ``(n, k)`` rank the k classes; they are log-probabilities if ``probabilities``, and
    for ridge, with k = 1, the numbers predicted. ``folds`` ``(n,)`` says which probe they are from:
    scores of different probes are not ranked against one another.
    """

    target: Target
    scores: FloatArray
    folds: IntArray
    probabilities: bool = True

    @cached_property
    def predicted(self) -> IntArray:
        """The class of the largest score; of equal ones the first."""
        return np.asarray(self.scores.argmax(axis=1))

    @cached_property
    def right(self) -> FloatArray:
        """1 where the predicted class is the label, else 0."""
        return np.asarray(self.predicted == self.target.codes, dtype=np.float64)

    @cached_property
    def confidence(self) -> FloatArray:
        """The probability of the predicted class."""
        return np.asarray(np.exp(self.scores.max(axis=1)))


@dataclass(frozen=True)
class Measure:
    """A measure of predictions: what computes it, for which probes, its range and direction.

    ``share`` is a share of rows; ``of_probabilities`` needs scores that are probabilities, and has
    intervals for the probes as they were fitted; other measures have wider ones, which count on
    other training sets. ``widened_as`` names the measure whose factor that is, if not its own.
    """

    compute: Callable[[Predictions, FloatArray], FloatArray]
    kind: Kind
    low: float
    high: float
    higher_is_better: bool = True
    of_probabilities: bool = False
    share: bool = False
    widened_as: str | None = None

    @property
    def widens(self) -> bool:
        """Whether its bootstrap shows by what factor intervals have to be wider."""
        return not self.of_probabilities and self.widened_as is None


@dataclass(frozen=True)
class Bin:
    """Rows whose confidence is above ``low`` and at most ``high``; of 0 rows both means are NaN."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def accuracy(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """Share of rows whose predicted class is their label, in [0, 1]."""
    return _ratio(weights @ predictions.right, weights.sum(axis=1))


def macro_f1(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """Mean over classes of ``2 tp / (2 tp + fp + fn)``, in [0, 1].

    A class that is neither a label nor predicted has none and is left out.
    """
    labels = _one_hot(predictions.target.codes, predictions.target)
    predicted = _one_hot(predictions.predicted, predictions.target)
    total = weights @ (labels + predicted)
    with np.errstate(invalid="ignore"):
        each = 2 * (weights @ (labels * predicted)) / total
    return _ratio(np.where(total > 0, each, 0.0).sum(axis=1), (total > 0).sum(axis=1))


def auroc(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """Share of pairs, one of a class and one not, that the class's score ranks right, in [0, 1].

    Equal scores count half. Only rows that the same probe scored make a pair: probes of different
    folds have their own intercepts, and ranking across them lowers the measure (Forman & Scholz,
    2010). For K > 2 classes the mean over classes against the rest. NaN where a class or its rest
    is missing.
    """
    classes = (
        range(1, 2) if predictions.scores.shape[1] == 2 else range(predictions.scores.shape[1])
    )
    return np.asarray(np.mean([_auroc(predictions, weights, k) for k in classes], axis=0))


def brier(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """Mean squared difference of probabilities from what was the case (Brier, 1950).

    For two classes of the second's probability, in [0, 1]; for more summed over classes, in
    [0, 2].
    """
    wrong = np.exp(predictions.scores) - _one_hot(predictions.target.codes, predictions.target)
    square = np.square(wrong).sum(axis=1)
    halved = square / 2 if wrong.shape[1] == 2 else square
    return _ratio(weights @ halved, weights.sum(axis=1))


def calibration_error(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """Expected calibration error: mean distance of confidence from accuracy, in [0, 1].

    Confidence is the probability of the predicted class; rows are put in 10 equal bins of it, and
    the distance of each bin's mean confidence from its accuracy is weighed by its rows (Guo et
    al., 2017). It is biased upwards where bins hold few rows.
    """
    gap = (predictions.right - predictions.confidence)[:, None] * _in_bins(predictions)
    return _ratio(np.abs(weights @ gap).sum(axis=1), weights.sum(axis=1))


def r_squared(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """1 minus the squared error over the squared deviation from the mean label, at most 1.

    Below 0 where the mean of all labels would have been the better prediction. NaN where the
    labels do not differ.
    """
    y = predictions.target.values
    centred = y - y.mean()
    total = weights.sum(axis=1)
    spread = weights @ np.square(centred) - np.square(weights @ centred) / total
    error = weights @ np.square(y - predictions.scores[:, 0])
    known = spread > 1e-12 * total * np.square(centred).mean()
    return np.asarray(np.where(known, 1 - error / np.where(known, spread, 1.0), np.nan))


_LOSS: dict[str, Any] = {"higher_is_better": False, "of_probabilities": True}

MEASURES: dict[str, Measure] = {
    "accuracy": Measure(accuracy, "logistic", 0.0, 1.0, share=True),
    # On shuffled labels a probe may give up and predict one class only, or not; the mean over classes
    # jumps between the two, which says nothing about how rows depend on one another.
    "macro_f1": Measure(macro_f1, "logistic", 0.0, 1.0, widened_as="accuracy"),
    "auroc": Measure(auroc, "logistic", 0.0, 1.0),
    "brier": Measure(brier, "logistic", 0.0, 2.0, **_LOSS),
    "calibration_error": Measure(
        calibration_error, "logistic", 0.0, 1.0, higher_is_better=False, of_probabilities=True
    ),
    "r2": Measure(r_squared, "ridge", -np.inf, 1.0),
}


def measures_of(kind: Kind) -> dict[str, Measure]:
    """The measures of a kind of probe, by name."""
    return {name: measure for name, measure in MEASURES.items() if measure.kind == kind}


def value_of(measure: Measure, predictions: Predictions) -> float:
    """The measure of predictions, each row counted once; NaN if it takes probabilities."""
    if measure.of_probabilities and not predictions.probabilities:
        return np.nan
    return float(measure.compute(predictions, np.ones((1, len(predictions.target))))[0])


def ends_of(
    measure: Measure, estimate: float, draws: FloatArray, groups: int, widening: float = 1.0
) -> tuple[float, float]:
    """The ends of a measure's 95 % interval from its bootstrap resamples ``draws`` ``(B,)``.

    If all rows are right, or none, so they are in every resample: then a share has Wilson's
    interval for ``groups`` independent trials. NaN with fewer than 2 groups.
    """
    if groups < 2:
        return np.nan, np.nan
    if measure.share and estimate in (0.0, 1.0):
        return wilson(groups if estimate == 1.0 else 0, groups)
    return symmetric_interval(estimate, draws, widening, (measure.low, measure.high))


def calibration(predictions: Predictions) -> tuple[Bin, ...]:
    """The bins of `calibration_error`, from low confidence to high."""
    inside = _in_bins(predictions)
    n = inside.sum(axis=0)
    confidence = _ratio(predictions.confidence @ inside, n)
    right = _ratio(predictions.right @ inside, n)
    edges = np.arange(BINS + 1) / BINS
    return tuple(
        Bin(float(edges[i]), float(edges[i + 1]), int(n[i]), float(confidence[i]), float(right[i]))
        for i in range(BINS)
    )


def _auroc(predictions: Predictions, weights: FloatArray, k: int) -> FloatArray:
    score, folds = predictions.scores[:, k], predictions.folds
    positive = (predictions.target.codes == k).astype(np.float64)
    order = np.lexsort((score, folds))
    new_fold = np.diff(folds[order], prepend=-1) != 0
    first = np.flatnonzero(new_fold | (np.diff(score[order], prepend=np.nan) != 0))
    up = np.add.reduceat(weights[:, order] * positive[order], first, axis=1)
    down = np.add.reduceat(weights[:, order] * (1 - positive[order]), first, axis=1)
    # How much of the rest lies below each block of equal scores, from the first of its fold on.
    below = np.cumsum(down, axis=1) - down
    starts = np.flatnonzero(new_fold[first])
    fold_of = np.cumsum(new_fold[first]) - 1
    below -= below[:, starts[fold_of]]
    pairs = np.add.reduceat(up, starts, axis=1) * np.add.reduceat(down, starts, axis=1)
    return _ratio((up * (below + down / 2)).sum(axis=1), pairs.sum(axis=1))


def _one_hot(codes: IntArray, target: Target) -> FloatArray:
    return np.asarray(codes[:, None] == np.arange(len(target.classes)), dtype=np.float64)


def _in_bins(predictions: Predictions) -> FloatArray:
    number = np.clip(np.ceil(predictions.confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return np.asarray(number[:, None] == np.arange(BINS), dtype=np.float64)


def _ratio(sums: FloatArray, counts: FloatArray) -> FloatArray:
    known = counts > 0
    return np.asarray(np.where(known, sums / np.where(known, counts, 1.0), np.nan))
