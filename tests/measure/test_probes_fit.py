"""Probes are those of plain scikit-learn pipelines, however they are computed."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegressionCV, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stratascope.measure.probes import Settings, crossval
from stratascope.measure.probes.crossval import ALPHAS, CS, fit_weights, out_of_fold
from stratascope.measure.probes.folds import fold_numbers
from stratascope.measure.probes.labels import Target, target_of

Matrix = np.ndarray


def wide(rng: np.random.Generator) -> Matrix:
    """More features than rows."""
    return rng.standard_normal((50, 60))


def tall(rng: np.random.Generator) -> Matrix:
    """More rows than features, far from 0."""
    return 3 * rng.standard_normal((80, 7)) + 1e3


def ill_conditioned(rng: np.random.Generator) -> Matrix:
    """Correlations that leave directions with a millionth of the spread of others."""
    turn, _ = np.linalg.qr(rng.standard_normal((15, 15)))
    return rng.standard_normal((60, 15)) * np.logspace(0, -6, 15) @ turn + rng.standard_normal(15)


def rank_deficient(rng: np.random.Generator) -> Matrix:
    """Rank 3 in 20 dimensions, two rows the same, and a constant dimension."""
    features = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 20))
    features[1], features[:, 4] = features[0], 7.0
    return features


SHAPES = [wide, tall, ill_conditioned, rank_deficient]
shapes = pytest.mark.parametrize("make", SHAPES)
ways = pytest.mark.parametrize("reduced", [True, False])


def classes_for(features: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    signal = scaled @ rng.standard_normal(features.shape[1])
    noisy = signal / signal.std() + rng.standard_normal(len(features))
    return np.digitize(noisy, np.quantile(noisy, np.arange(1, count) / count))


def drawn(
    make: Callable[[np.random.Generator], Matrix], count: int
) -> tuple[Matrix, Target, Matrix]:
    rng = np.random.default_rng(count)
    features = make(rng)
    target = target_of(classes_for(features, count, rng))
    return features, target, fold_numbers(target, np.arange(len(features)), 5, 0)


def inner(folds: Matrix) -> list[tuple[Matrix, Matrix]]:
    return [(np.flatnonzero(folds != j), np.flatnonzero(folds == j)) for j in np.unique(folds)]


def plain_logistic(folds: Matrix) -> object:
    search = LogisticRegressionCV(
        Cs=CS, cv=inner(folds), scoring="neg_log_loss", solver="newton-cholesky", tol=1e-12,
        max_iter=2000, use_legacy_attributes=False,
    )  # fmt: skip
    return make_pipeline(StandardScaler(), search)


def plain_ridge(features: Matrix, labels: Matrix, folds: Matrix) -> object:
    """The penalty is chosen for features standardised by the training set, then fitted."""
    scaler = StandardScaler().fit(features)
    search = GridSearchCV(
        Ridge(solver="svd"), {"alpha": ALPHAS}, scoring="neg_mean_squared_error", cv=inner(folds)
    )
    search.fit(scaler.transform(features), labels)
    return make_pipeline(scaler, search.best_estimator_)


@ways
@shapes
@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_logistic_probes_are_the_plain_pipelines(
    make: Callable[[np.random.Generator], Matrix],
    count: int,
    reduced: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Probabilities and chosen C are those of a StandardScaler and LogisticRegressionCV for each fold."""
    monkeypatch.setattr(crossval, "_pays", lambda *_: reduced)
    features, target, folds = drawn(make, count)
    ours = out_of_fold(features, target, target.values[None], folds)
    for fold in range(5):
        inside = folds != fold
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = plain_logistic(folds[inside]).fit(features[inside], target.codes[inside])
        assert 1 / ours.penalty[0, fold] == pytest.approx(plain[-1].C_)
        np.testing.assert_allclose(
            np.exp(ours.scores[0, ~inside]), plain.predict_proba(features[~inside]), atol=1e-6
        )


@shapes
def test_ridge_probes_are_the_plain_pipelines(
    make: Callable[[np.random.Generator], Matrix],
) -> None:
    """Predictions and chosen alpha are those of a StandardScaler and a grid search for each fold."""
    rng = np.random.default_rng(5)
    features = make(rng)
    labels = classes_for(features, 40, rng) + rng.standard_normal(len(features))
    target = target_of(labels)
    folds = fold_numbers(target, np.arange(len(features)), 5, 0)
    ours = out_of_fold(features, target, labels[None], folds)
    for fold in range(5):
        inside = folds != fold
        plain = plain_ridge(features[inside], labels[inside], folds[inside])
        assert ours.penalty[0, fold] == plain[-1].alpha
        np.testing.assert_allclose(
            ours.scores[0, ~inside, 0], plain.predict(features[~inside]), atol=1e-6 * labels.std()
        )


@shapes
@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.slow), 0])
def test_kept_weights_are_the_plain_pipelines(
    make: Callable[[np.random.Generator], Matrix], count: int
) -> None:
    """A probe fitted on everything, standardisation undone, says of new states what scikit-learn's says."""
    rng = np.random.default_rng(9)
    features = make(rng)
    labels = classes_for(features, count or 30, rng)
    target = target_of(labels, "logistic" if count else "ridge")
    folds = fold_numbers(target, np.arange(len(labels)), 5, 0)
    kept = fit_weights(features, target, folds)
    new = features[rng.permutation(len(features))[:9]] * rng.uniform(0.5, 1.5, (9, 1))
    said = kept.apply(new)
    assert said.shape == (9, 3 if count == 3 else 1)
    if not count:
        expected = plain_ridge(features, labels, folds).predict(new)[:, None]
        np.testing.assert_allclose(said, expected, atol=1e-6 * np.abs(expected).max())
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = plain_logistic(folds).fit(features, labels)
    if count == 2:
        said = np.concatenate([-said / 2, said / 2], axis=1)
    probabilities = np.exp(said) / np.exp(said).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, plain.predict_proba(new), atol=1e-6)


@ways
def test_label_vectors_do_not_see_one_another(
    reduced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many label vectors at once, in batches of a few, give what each gives alone."""
    monkeypatch.setattr(crossval, "_pays", lambda *_: reduced)
    features, target, folds = drawn(wide, 3)
    rng = np.random.default_rng(0)
    values = np.array([target.values, *(rng.permutation(target.values) for _ in range(4))])
    monkeypatch.setattr("stratascope.measure.probes.nested.BATCH", 3000)
    together = out_of_fold(features, target, values, folds)
    monkeypatch.undo()
    monkeypatch.setattr(crossval, "_pays", lambda *_: not reduced)
    for place, labels in enumerate(values):
        alone = out_of_fold(features, target, labels[None], folds)
        np.testing.assert_allclose(together.scores[place], alone.scores[0], atol=1e-6)
        np.testing.assert_allclose(together.penalty[place], alone.penalty[0])


def test_standardisation_knows_the_training_set_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the held-out rows are does not change what is learned without them."""
    features, target, folds = drawn(tall, 2)
    other = features.copy()
    other[folds == 0] *= 100
    for reduced in (True, False):
        monkeypatch.setattr(crossval, "_pays", lambda *_, way=reduced: way)
        first, second = (
            out_of_fold(each, target, target.values[None], folds) for each in (features, other)
        )
        assert first.penalty[0, 0] == pytest.approx(second.penalty[0, 0])
        kept = fit_weights(
            features[folds != 0],
            Target("logistic", target.values[folds != 0], target.classes),
            folds[folds != 0] - 1,
        )
        logits = kept.apply(other[folds == 0])
        expected = np.concatenate([-np.logaddexp(0, logits), -np.logaddexp(0, -logits)], axis=1)
        np.testing.assert_allclose(second.scores[0, folds == 0], expected, rtol=1e-5, atol=1e-6)


@ways
def test_a_dimension_constant_in_training_has_no_say(
    reduced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dimension that only varies in the rows held out is as if it were not there."""
    monkeypatch.setattr(crossval, "_pays", lambda *_: reduced)
    features, target, folds = drawn(tall, 2)
    extra = np.where(folds == 2, np.random.default_rng(0).normal(0, 1e4, len(folds)), 3.0)
    with_it = out_of_fold(np.column_stack([features, extra]), target, target.values[None], folds)
    without = out_of_fold(features, target, target.values[None], folds)
    rows = folds == 2
    np.testing.assert_allclose(with_it.scores[0, rows], without.scores[0, rows], atol=1e-6)


def test_without_scaling_features_are_only_centred() -> None:
    """``standardise=False`` is scikit-learn's regression on the features as they are."""
    features, target, folds = drawn(tall, 2)
    counts = np.round(np.abs(features - 1e3))
    settings = Settings(cs=(1e-2, 1e-1, 1e0), standardise=False)
    ours = out_of_fold(counts, target, target.values[None], folds, settings)
    inside = folds != 1
    plain = LogisticRegressionCV(
        Cs=settings.cs, cv=inner(folds[inside]), scoring="neg_log_loss", solver="newton-cholesky",
        tol=1e-12, use_legacy_attributes=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.fit(counts[inside], target.codes[inside])
    np.testing.assert_allclose(
        np.exp(ours.scores[0, ~inside]), plain.predict_proba(counts[~inside]), atol=1e-6
    )


def test_separable_classes_have_a_solution() -> None:
    """Two clouds far apart: the weakest penalty is chosen, and every prediction is right and finite."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    features = rng.standard_normal((60, 40)) + 10 * labels[:, None]
    target = target_of(labels)
    folds = fold_numbers(target, np.arange(60), 5, 0)
    found = out_of_fold(features, target, target.values[None], folds)
    np.testing.assert_allclose(1 / found.penalty, CS[-1])
    assert (found.scores[0].argmax(axis=1) == labels).all()
    assert np.isfinite(found.scores).all()
