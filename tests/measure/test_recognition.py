from __future__ import annotations

import statistics

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from stratascope.measure.recognition import accuracy, auroc, weighted_accuracy, weighted_auroc


@pytest.fixture
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with ties ``(40, 5)``, labels of which one does not occur, and 6 clusters."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 40)
    scores = np.round(rng.normal(size=(40, 5)) + 0.8 * (codes[:, None] == np.arange(5)), 1)
    return scores, codes, rng.integers(0, 6, 40)


def area(scores: np.ndarray, codes: np.ndarray) -> float:
    return statistics.fmean(
        roc_auc_score(codes == label, scores[:, label]) for label in np.unique(codes)
    )


def test_auroc_is_the_mean_over_labels(made: tuple[np.ndarray, ...]) -> None:
    """As scikit-learn has it, one label against the rest, for each labelling by itself."""
    scores, codes, _ = made
    labellings = np.stack([codes, np.roll(codes, 3), (codes + 1) % 4])
    expected = [area(scores, labelling) for labelling in labellings]
    np.testing.assert_allclose(auroc(scores, labellings), expected)


def test_a_reference_that_all_resemble_gains_nothing(made: tuple[np.ndarray, ...]) -> None:
    """Adding to a reference's similarities, or stretching them, leaves the AUROC; not the accuracy."""
    scores, codes, _ = made
    moved = scores * np.array([1, 2, 3, 1, 1]) + np.array([9, 0, 0, 0, 0])
    np.testing.assert_allclose(auroc(moved, codes[None]), auroc(scores, codes[None]))
    assert accuracy(moved, codes[None])[0] == pytest.approx(1 / 4)


def test_accuracy_is_balanced(made: tuple[np.ndarray, ...]) -> None:
    """As scikit-learn has it, for each labelling."""
    scores, codes, _ = made
    nearest = scores.argmax(axis=1)
    for labelling in (codes, np.roll(codes, 3)):
        expected = balanced_accuracy_score(labelling, nearest)
        assert accuracy(scores, labelling[None])[0] == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_weights_count_whole_clusters(made: tuple[np.ndarray, ...]) -> None:
    """A cluster of weight 3 is as if its messages were there three times, one of weight 0 as if not."""
    scores, codes, clusters = made
    for weights in ([1, 1, 1, 1, 1, 1], [0, 3, 1, 0, 2, 0]):
        rows = np.repeat(np.arange(40), np.array(weights)[clusters])
        w = np.array([weights], dtype=np.float64)
        several = weighted_auroc(scores, codes, clusters, 6)(w)[0]
        assert several == pytest.approx(area(scores[rows], codes[rows]))
        right = weighted_accuracy(scores, codes, clusters, 6)(w)[0]
        assert right == pytest.approx(
            balanced_accuracy_score(codes[rows], scores[rows].argmax(axis=1))
        )


def test_messages_with_other_references_do_not_count_there(
    made: tuple[np.ndarray, ...],
) -> None:
    """A gap takes a message out of that reference's pairs only; without any score it does not count."""
    scores, codes, clusters = made
    holes = scores.copy()
    holes[codes == 2, 1] = np.nan
    holes[:5] = np.nan
    rest = np.arange(40) >= 5
    expected = statistics.fmean(
        roc_auc_score(codes[some] == label, holes[some, label])
        for label in np.unique(codes)
        if (some := rest & ~np.isnan(holes[:, label])).any()
    )
    assert auroc(holes, codes[None])[0] == pytest.approx(expected)
    ones = np.ones((1, 6))
    assert weighted_auroc(holes, codes, clusters, 6)(ones)[0] == pytest.approx(expected)
    shown = np.where(np.isnan(holes), -9, holes)[rest]
    right = balanced_accuracy_score(codes[rest], shown.argmax(axis=1))
    assert accuracy(holes, codes[None])[0] == pytest.approx(right)
    assert weighted_accuracy(holes, codes, clusters, 6)(ones)[0] == pytest.approx(right)


def test_one_label_alone_has_no_auroc() -> None:
    """Without another label there is no pair: NaN, not a number that looks like chance."""
    scores = np.random.default_rng(1).normal(size=(6, 3))
    codes = np.zeros(6, dtype=np.int64)
    assert np.isnan(auroc(scores, codes[None])[0])
    assert np.isnan(weighted_auroc(scores, codes, codes, 1)(np.ones((1, 1)))[0])
