"""Probes fitted here and judged there."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stratascope.errors import StratascopeError
from stratascope.measure.probes import design, probe, transfer
from stratascope.measure.probes.crossval import CS


def drawn(n: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    features = rng.standard_normal((n, 8)) + shift
    features[:, 0] += 1.5 * labels
    return features, labels


def test_other_texts_are_judged_by_a_probe_of_all() -> None:
    """Without groups in common it is one plain pipeline fitted here and scored there."""
    features, labels = drawn(80, 0)
    other, truth = drawn(50, 1, shift=0.2)
    found = transfer(features, labels, other, truth, resamples=200)
    folds = design(labels, permutations=0).folds
    splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(5)]
    plain = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=CS, cv=splits, scoring="neg_log_loss", solver="newton-cholesky", tol=1e-12,
            use_legacy_attributes=False,
        ),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.fit(features, labels)
    expected = plain.predict_proba(other)
    np.testing.assert_allclose(np.exp(found.predictions.scores), expected, atol=1e-6)
    assert found.unseen.all()
    assert found.measures["accuracy"].estimate == accuracy_score(truth, expected.argmax(axis=1))
    auroc = found.measures["auroc"]
    assert auroc.estimate == pytest.approx(roc_auc_score(truth, expected[:, 1]))
    assert auroc.lower < auroc.estimate < auroc.upper
    assert (auroc.n, auroc.groups) == (50, 50)
    assert found.majority["accuracy"] == 0.5


def test_the_same_texts_are_judged_out_of_fold() -> None:
    """Onto the same features of the same texts, transfer is the cross-validated probe itself."""
    features, labels = drawn(60, 2)
    groups = [f"text {i // 2}" for i in range(60)]
    plan = design(labels, groups=groups, permutations=0)
    own = probe(features, plan).predictions.scores
    found = transfer(features, labels, features, labels, fit_groups=groups, eval_groups=groups)
    np.testing.assert_allclose(found.predictions.scores, own, atol=1e-6)
    assert not found.unseen.any()
    assert found.measures["accuracy"].groups == 30


def test_a_group_that_was_fitted_never_judges_itself() -> None:
    """Noise that is learned by heart is at chance, though every row was fitted; new rows use all of it."""
    rng = np.random.default_rng(3)
    features, labels = rng.standard_normal((120, 200)), rng.permutation(np.arange(120) % 2)
    names = list(range(120))
    seen = transfer(features, labels, features, labels, fit_groups=names, eval_groups=names)
    assert 0.3 < seen.measures["accuracy"].estimate < 0.7
    blind = transfer(features, labels, features, labels)
    assert blind.measures["accuracy"].estimate > 0.8
    mixed = transfer(
        features, labels, features, labels, fit_groups=names, eval_groups=names[:60] + ["new"] * 60
    )
    assert mixed.unseen.tolist() == [False] * 60 + [True] * 60
    assert (mixed.predictions.right[60:].mean(), mixed.measures["accuracy"].groups) == (
        pytest.approx(0.9, abs=0.1),
        61,
    )


def test_quantities_and_fewer_classes() -> None:
    """Ridge has R squared of the other labels; a class that is not judged is no error."""
    features, _ = drawn(70, 4)
    quantity = features[:, 0] + 0.1
    other, _ = drawn(40, 5)
    found = transfer(features, quantity, other, other[:, 0] * 2)
    assert found.measures["r2"].estimate == pytest.approx(
        r2_score(other[:, 0] * 2, found.predictions.scores[:, 0])
    )
    three = np.arange(70) % 3
    only = transfer(features, three, other, np.zeros(40, dtype=int))
    assert 0 <= only.measures["accuracy"].estimate <= 1
    assert np.isnan(only.measures["auroc"].estimate)


def test_what_cannot_be_transferred_is_told() -> None:
    """Another width, or a class that was not fitted, is an error that says so."""
    features, labels = drawn(40, 6)
    with pytest.raises(StratascopeError, match="width 8 cannot be applied to width 7"):
        transfer(features, labels, features[:, 1:], labels)
    with pytest.raises(StratascopeError, match="class 2 was not fitted"):
        transfer(features, labels, features, labels + 1)
