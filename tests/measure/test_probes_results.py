"""A probe from labels to its table row: what it finds, what it is compared with, the same every time."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from threadpoolctl import threadpool_limits

from stratascope.errors import StratascopeError
from stratascope.measure.bootstrap import resample_counts
from stratascope.measure.probes import (
    Settings,
    design,
    probe,
    probe_layers,
    token_counts,
    weights_of_layers,
)
from stratascope.measure.probes.baselines import difference_of_means, majority
from stratascope.measure.probes.crossval import out_of_fold
from stratascope.measure.probes.probe import against_null
from stratascope.measure.probes.scores import MEASURES, Predictions, value_of


def planted(
    n: int = 120, d: int = 12, strength: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3)
    features = rng.standard_normal((n, d))
    features[:, :3] += strength * np.eye(3)[labels]
    return features, labels


def test_a_planted_signal_is_found_and_noise_is_not() -> None:
    """Classes that features separate are decodable above every baseline; others are not."""
    features, labels = planted(strength=3)
    types = np.random.default_rng(1).integers(0, 30, 120)
    plan = design(labels, types=types, resamples=300)
    found = probe(features, plan).measures
    for name in ("accuracy", "macro_f1", "auroc"):
        best = found[name]
        assert best.p == pytest.approx(1 / 101)
        assert best.lower > max(best.majority, best.shuffled_95, best.control)
        assert best.lower < best.estimate < best.upper
        assert best.selectivity == pytest.approx(best.estimate - best.control)
        assert 0 < best.selectivity_lower < best.selectivity < best.selectivity_upper
    assert found["brier"].p == pytest.approx(1 / 101)
    assert found["brier"].upper < found["brier"].shuffled_95 < found["brier"].shuffled_mean
    nothing = probe(np.random.default_rng(2).standard_normal((120, 12)), plan).measures
    assert all(nothing[name].p > 0.05 for name in ("accuracy", "macro_f1", "auroc", "brier"))


def test_a_control_task_that_can_be_learned_is_not_selective() -> None:
    """Features that only say the type reach on random labels of types what they reach on labels."""
    rng = np.random.default_rng(0)
    types = rng.permutation(np.arange(200) % 10)
    features = np.eye(10)[types] + 0.1 * rng.standard_normal((200, 10))
    labels = (types < 5).astype(int)
    plan = design(labels, types=types, permutations=30, resamples=200)
    found = probe(features, plan).measures["accuracy"]
    assert found.estimate == 1.0
    assert found.control > 0.95
    assert found.selectivity < 0.05


def test_groups_keep_a_probe_from_recognising_them() -> None:
    """Where rows of a group are alike, folds that tear groups apart find what is not there."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 4)
    labels = rng.permutation(np.arange(30) % 2)[groups]
    features = rng.standard_normal((30, 40))[groups] + 0.1 * rng.standard_normal((120, 40))
    torn = probe(features, design(labels, permutations=0, resamples=100)).measures["accuracy"]
    whole = probe(features, design(labels, groups=groups, resamples=100)).measures["accuracy"]
    assert torn.estimate > 0.9
    assert whole.p > 0.05
    assert (torn.n, torn.groups, whole.n, whole.groups) == (120, 120, 120, 30)


def test_an_interval_is_the_clusters_bootstrap_times_the_widening() -> None:
    """Its half-width is 1.96 standard deviations of accuracy over resampled groups, times `widening`."""
    features, labels = planted(strength=1)
    groups = np.arange(120) // 3
    plan = design(labels, groups=groups.tolist(), permutations=60, resamples=500, seed=4)
    result = probe(features, plan)
    right = result.predictions.scores.argmax(axis=1) == labels
    draws = [
        np.concatenate([right[groups == g] for g in np.repeat(np.arange(40), counts)]).mean()
        for counts in plan.counts.astype(int)
    ]
    found = result.measures["accuracy"]
    assert found.upper - found.estimate == pytest.approx(
        found.widening * 1.959964 * np.std(draws), rel=1e-5
    )
    assert found.widening >= 1.0
    assert (
        probe(features, design(labels, permutations=0, resamples=50)).measures["accuracy"].widening
        == 1.0
    )


def test_the_null_repeats_the_whole_procedure() -> None:
    """Mean, 95 % and p of the null are those of probes of the shuffled labels, one at a time."""
    features, labels = planted(strength=0.8)
    plan = design(labels, permutations=8, resamples=50)
    found = probe(features, plan).measures["auroc"]
    null = []
    for values in plan.shuffled:
        own = out_of_fold(features, plan.target, values[None], plan.folds)
        shuffled = Predictions(plan.target.with_values(values), own.scores[0], plan.folds)
        null.append(value_of(MEASURES["auroc"], shuffled))
    assert found.shuffled_mean == pytest.approx(np.mean(null), abs=1e-6)
    assert found.shuffled_95 == pytest.approx(np.quantile(null, 0.95), abs=1e-6)
    assert found.p == (1 + np.sum(np.array(null) >= found.estimate)) / 9


def test_p_counts_equal_values_and_this_one() -> None:
    """p is never 0, ties count as equally good, and for a loss lower is better."""
    null = np.array([0.5, 0.6, 0.7, 0.7])
    assert against_null(MEASURES["accuracy"], 0.7, null)[2] == 3 / 5
    assert against_null(MEASURES["accuracy"], 0.9, null)[2] == 1 / 5
    assert against_null(MEASURES["brier"], 0.5 + 1e-15, null)[2] == 2 / 5
    assert np.isnan(against_null(MEASURES["accuracy"], 0.7, np.empty(0))).all()


def test_baselines_are_scikit_learns() -> None:
    """Majority and difference of means predict what DummyClassifier and NearestCentroid do."""
    features, labels = planted(strength=1)
    labels = np.where(labels == 2, 0, labels)
    plan = design(labels, permutations=0)
    most, means = (
        majority(plan.target, plan.folds),
        difference_of_means(features + 1e6, plan.target, plan.folds),
    )
    for fold in range(5):
        inside, out = plan.folds != fold, plan.folds == fold
        prior = DummyClassifier(strategy="prior").fit(features[inside], labels[inside])
        np.testing.assert_allclose(np.exp(most.scores[out]), prior.predict_proba(features[out]))
        nearest = NearestCentroid().fit(features[inside], labels[inside])
        np.testing.assert_array_equal(means.predicted[out], nearest.predict(features[out]))
        theta = np.subtract(*(features[inside & (labels == c)].mean(axis=0) for c in (1, 0)))
        gap = means.scores[out, 1] - means.scores[out, 0]
        assert np.corrcoef(gap, features[out] @ theta)[0, 1] == pytest.approx(1, abs=1e-9)
    ridge = design(features[:, 0], permutations=0)
    mean = DummyRegressor().fit(features[ridge.folds != 0], features[ridge.folds != 0, 0])
    assert majority(ridge.target, ridge.folds).scores[ridge.folds == 0, 0] == pytest.approx(
        mean.predict(features[:1])[0]
    )


def test_a_bag_of_tokens_learns_nothing_from_texts_held_out() -> None:
    """Its predictions are those of a vocabulary and a regression made from the training texts alone."""
    rng = np.random.default_rng(0)
    words = np.array(["yes", "no", "red", "blue", "Green", "7", "so"])
    texts = [" ".join(rng.choice(words, 4)) + rng.choice(["?", ".", " !!"]) for _ in range(90)]
    texts[0] += " hapax"
    labels = np.array(["?" in text or "red" in text for text in texts])
    plan = design(labels, permutations=0)
    settings = Settings(cs=(1.0,), standardise=False)
    counts = token_counts(texts)
    found = out_of_fold(counts, plan.target, plan.target.values[None], plan.folds, settings)
    for fold in range(5):
        inside = np.flatnonzero(plan.folds != fold)
        out = np.flatnonzero(plan.folds == fold)
        counter = CountVectorizer(token_pattern=r"\w+|[^\w\s]")
        train = counter.fit_transform([texts[i] for i in inside])
        model = LogisticRegression(C=1.0, tol=1e-12, solver="newton-cholesky")
        model.fit(train.toarray(), labels[inside])
        test = counter.transform([texts[i] for i in out]).toarray()
        np.testing.assert_allclose(
            np.exp(found.scores[0, out]), model.predict_proba(test), atol=1e-6
        )
    assert probe(counts, plan, settings).measures["accuracy"].estimate > 0.9
    ids = [[3, 3, 1], [1], [2, 3]]
    np.testing.assert_array_equal(token_counts(ids), [[1, 0, 2], [1, 0, 0], [0, 1, 1]])
    with pytest.raises(StratascopeError, match="no token"):
        token_counts(["", " "])


def test_same_bytes_for_any_number_of_threads_and_workers() -> None:
    """One worker or three, one thread inside a product or two: the same bytes, and so again."""
    layers = {f"layer_{i}": planted(strength=i, seed=i)[0] for i in range(3)}
    labels = planted()[1]
    results = []
    for workers, threads in ((1, 1), (3, 2), (3, 2)):
        with threadpool_limits(limits=threads):
            plan = design(labels, permutations=6, resamples=50, seed=1)
            found = probe_layers(layers, plan, workers=workers)
            kept = weights_of_layers(layers, plan, workers=workers)
        results.append(
            [
                (astuple(m), r.predictions.scores.tobytes())
                for r in found.values()
                for m in r.measures.values()
            ]
            + [one.weights.tobytes() for one in kept.values()]
        )
    assert repr(results[0]) == repr(results[1]) == repr(results[2])
    other = probe(layers["layer_1"], design(labels, permutations=6, resamples=50, seed=2))
    assert repr(astuple(other.measures["accuracy"])) not in repr(results[0])


def test_layers_load_when_their_turn_comes() -> None:
    """A layer may be a function; no more layers are held at once than there are workers."""
    features, labels = planted()
    held, most = [0], [0]

    class Layer:
        def __init__(self) -> None:
            held[0] += 1
            most[0] = max(most[0], held[0])

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return features

        def __del__(self) -> None:
            held[0] -= 1

    plan = design(labels, permutations=0, resamples=10)
    found = probe_layers(dict.fromkeys(range(6), Layer), plan, workers=2)
    assert list(found) == list(range(6))
    assert most[0] <= 2


def test_features_without_information_give_the_frequencies() -> None:
    """All constant, or of two rows the same: nothing breaks, and the probe says what the labels say."""
    _, labels = planted(n=60)
    plan = design(labels, permutations=20, resamples=50)
    constant = probe(np.full((60, 5), 2.5), plan)
    np.testing.assert_allclose(np.exp(constant.predictions.scores), 1 / 3)
    assert constant.measures["accuracy"].p == 1.0
    assert constant.measures["auroc"].estimate == 0.5
    ridge = design(np.arange(60) / 7, permutations=20, resamples=50)
    flat = probe(np.zeros((60, 2)), ridge).measures["r2"]
    assert flat.estimate == pytest.approx(flat.majority)


BAD_FEATURES = {
    "layer 7: row 2, dimension 1 is not finite": np.where(
        np.arange(24).reshape(12, 2) == 5, np.nan, 1
    ),
    "layer 7: 5 rows for 12 labels": np.zeros((5, 3)),
    "layer 7: a probe needs a matrix": np.zeros(12),
}


@pytest.mark.parametrize("message", BAD_FEATURES)
def test_bad_features_are_told(message: str) -> None:
    """Features that are no finite matrix of the labelled rows are named with their place."""
    plan = design(np.arange(12) % 2, folds=3, permutations=0)
    with pytest.raises(StratascopeError, match=message):
        probe(BAD_FEATURES[message], plan, what="layer 7")


def test_huge_numbers_do_not_overflow() -> None:
    """Features near the largest float32 are standardised as any others."""
    features, labels = planted(strength=2)
    plan = design(labels, permutations=0, resamples=50)
    small = probe(features, plan).predictions.scores
    large = probe((features * 1e37).astype(np.float32), plan).predictions.scores
    np.testing.assert_allclose(small, large, atol=1e-4)


def test_resamples_draw_groups() -> None:
    """Each resample draws as many groups as there are, with replacement."""
    counts = resample_counts(7, 2000, 3)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(7), abs=0.1)
    assert counts.var() == pytest.approx(1 - 1 / 7, abs=0.05)
