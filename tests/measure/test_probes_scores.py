"""Measures of predictions against scikit-learn's, and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from stratascope.measure.probes.labels import Target
from stratascope.measure.probes.scores import (
    MEASURES,
    Predictions,
    calibration,
    ends_of,
    value_of,
)


def predictions(classes: int, seed: int = 0, n: int = 90, folds: int = 3) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    # Rounded, so that scores tie.
    logits = np.round(rng.standard_normal((n, classes)) + 1.5 * np.eye(classes)[labels], 1)
    scores = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    target = Target("logistic", labels.astype(float), tuple(range(classes)))
    return Predictions(target, scores, np.arange(n) % folds)


def regression(seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.normal(3, 2, 50)
    guess = labels[:, None] + rng.standard_normal((50, 1))
    return Predictions(Target("ridge", labels), guess, np.arange(50) % 5)


def one_fold_auroc(given: Predictions) -> float:
    probabilities = np.exp(given.scores)
    if probabilities.shape[1] == 2:
        return float(metrics.roc_auc_score(given.target.codes, probabilities[:, 1]))
    return float(
        metrics.roc_auc_score(given.target.codes, probabilities, multi_class="ovr", average="macro")
    )


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_measures_are_those_of_scikit_learn(classes: int) -> None:
    """Accuracy, macro-F1, AUROC within one fold, and the Brier score equal scikit-learn's."""
    given = predictions(classes, folds=1)
    codes, probabilities = given.target.codes, np.exp(given.scores)
    guess = probabilities.argmax(axis=1)
    brier = metrics.brier_score_loss(codes, probabilities[:, 1] if classes == 2 else probabilities)
    expected = {
        "accuracy": metrics.accuracy_score(codes, guess),
        "macro_f1": metrics.f1_score(codes, guess, average="macro"),
        "auroc": one_fold_auroc(given),
        "brier": brier,
    }
    for name, value in expected.items():
        assert value_of(MEASURES[name], given) == pytest.approx(value, abs=1e-12), name


def test_r_squared_is_that_of_scikit_learn() -> None:
    """R squared of predictions far from 0 equals scikit-learn's."""
    given = regression()
    expected = metrics.r2_score(given.target.values, given.scores[:, 0])
    assert value_of(MEASURES["r2"], given) == pytest.approx(expected, abs=1e-12)


def test_auroc_is_over_pairs_of_one_fold() -> None:
    """It counts the pairs of rows in one fold that the score ranks right, equal scores half."""
    given = predictions(2)
    right = pairs = 0.0
    for i in np.flatnonzero(given.target.codes == 1):
        for j in np.flatnonzero(given.target.codes == 0):
            if given.folds[i] == given.folds[j]:
                gap = given.scores[i, 1] - given.scores[j, 1]
                right += 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0
                pairs += 1
    assert value_of(MEASURES["auroc"], given) == pytest.approx(right / pairs, abs=1e-12)


def test_calibration_error_is_that_of_its_bins() -> None:
    """The error is the bins' distance of confidence from accuracy, weighed by their rows."""
    given = predictions(3)
    confidence = np.exp(given.scores).max(axis=1)
    correct = given.scores.argmax(axis=1) == given.target.codes
    error = 0.0
    for i, found in enumerate(calibration(given)):
        inside = (confidence > i / 10) & (confidence <= (i + 1) / 10)
        assert (found.low, found.high, found.n) == (i / 10, (i + 1) / 10, inside.sum())
        if inside.any():
            assert found.confidence == pytest.approx(confidence[inside].mean())
            assert found.accuracy == pytest.approx(correct[inside].mean())
            error += abs(found.confidence - found.accuracy) * found.n / len(correct)
        else:
            assert np.isnan([found.confidence, found.accuracy]).all()
    assert error > 0.01
    assert value_of(MEASURES["calibration_error"], given) == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("name", MEASURES)
def test_weights_count_rows(name: str) -> None:
    """A row of weight w is as w rows, and one of weight 0 as none, for many weightings at once."""
    given = regression() if MEASURES[name].kind == "ridge" else predictions(3)
    weights = np.random.default_rng(1).integers(0, 4, (6, len(given.target)))
    found = MEASURES[name].compute(given, weights.astype(float))
    for value, counts in zip(found, weights, strict=True):
        rows = np.repeat(np.arange(len(counts)), counts)
        copied = Predictions(
            given.target.with_values(given.target.values[rows]),
            given.scores[rows],
            given.folds[rows],
        )
        assert value == pytest.approx(value_of(MEASURES[name], copied), abs=1e-12)


@pytest.mark.parametrize("name", MEASURES)
def test_perfect_predictions_are_the_best_value(name: str) -> None:
    """Right and certain predictions have the end of the range that is declared as the best."""
    measure = MEASURES[name]
    given = regression() if measure.kind == "ridge" else predictions(3)
    if measure.kind == "ridge":
        best = Predictions(given.target, given.target.values[:, None], given.folds)
    else:
        certain = np.where(np.eye(3)[given.target.codes] > 0, 0.0, -1e9)
        best = Predictions(given.target, certain, given.folds)
    end = measure.high if measure.higher_is_better else measure.low
    assert value_of(measure, best) == pytest.approx(end, abs=1e-12)
    worse = value_of(measure, given)
    assert (worse < end) == measure.higher_is_better


@pytest.mark.filterwarnings("error")
def test_what_is_not_defined_is_nan() -> None:
    """A resample without a class has no AUROC; without rows, or with equal labels, no R squared."""
    given = predictions(2)
    only = (given.target.codes == 0).astype(float)[None]
    assert np.isnan(MEASURES["auroc"].compute(given, only)[0])
    assert MEASURES["accuracy"].compute(given, only)[0] <= 1
    ridge = regression()
    single = np.eye(len(ridge.target))[:1]
    assert np.isnan(MEASURES["r2"].compute(ridge, single)[0])
    ranks = Predictions(given.target, given.scores, given.folds, probabilities=False)
    assert np.isnan(value_of(MEASURES["brier"], ranks))
    assert value_of(MEASURES["auroc"], ranks) == value_of(MEASURES["auroc"], given)


def test_ends_where_the_bootstrap_has_none() -> None:
    """All right: Wilson's interval for the groups, not an empty one; one group has no interval."""
    ones = np.ones(100)
    accuracy = MEASURES["accuracy"]
    lower, upper = ends_of(accuracy, 1.0, ones, 20)
    assert upper == 1.0
    assert lower == pytest.approx(20 / (20 + 1.959964**2), abs=1e-6)
    assert np.isnan(ends_of(accuracy, 0.5, ones, 1)).all()
    assert ends_of(MEASURES["auroc"], 0.9, np.array([0.7, 1.1]), 20) == (
        pytest.approx(0.9 - 1.959964 * 0.2),
        1.0,
    )
