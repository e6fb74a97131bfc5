from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stratascope.measure.interval import (
    cluster_difference,
    cluster_mean,
    seed_of,
    stratified_difference,
)


def test_bootstrap_of_a_mean_agrees_with_scipy() -> None:
    """With every row its own cluster this is SciPy's percentile bootstrap."""
    values = np.random.default_rng(0).exponential(size=60)
    ours = cluster_mean(values, range(60), 1)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=2)
    assert ours.estimate == pytest.approx(values.mean())
    assert ours.n == 60
    assert ours.lower == pytest.approx(theirs.confidence_interval.low, abs=0.03)
    assert ours.upper == pytest.approx(theirs.confidence_interval.high, abs=0.03)


def test_targets_do_not_see_one_another() -> None:
    """Many targets at once give what each gives alone, gaps included."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(30, 2, 3))
    values[rng.random(values.shape) < 0.2] = np.nan
    clusters = list(rng.integers(0, 6, 30))
    together = cluster_mean(values, clusters, 5)
    for at in np.ndindex(2, 3):
        alone = cluster_mean(values[(slice(None), *at)], clusters, 5)
        assert together.estimate[at] == pytest.approx(np.nanmean(values[(slice(None), *at)]))
        assert together.lower[at] == pytest.approx(float(alone.lower))
        assert together.upper[at] == pytest.approx(float(alone.upper))


def test_cluster_bootstrap_covers_where_rows_alone_do_not() -> None:
    """Of correlated rows the 95 % interval covers near its level only if clusters are drawn."""
    rng = np.random.default_rng(2)
    trials, clusters, rows = 300, 30, 8
    groups = np.repeat(np.arange(clusters), rows)
    effects = rng.normal(size=(clusters, trials))[groups]
    data = effects + 0.3 * rng.normal(size=(clusters * rows, trials))
    right = cluster_mean(data, groups.tolist(), 3)
    naive = cluster_mean(data, range(len(data)), 3)
    covered = ((right.lower <= 0) & (right.upper >= 0)).mean()
    assert 0.89 <= covered <= 0.98
    assert ((naive.lower <= 0) & (naive.upper >= 0)).mean() < 0.7


def test_stratified_difference_covers() -> None:
    """The difference of two groups' means is inside its interval about 95 times of 100."""
    rng = np.random.default_rng(4)
    a, b = rng.normal(1.0, 1.0, (40, 300)), rng.normal(0.0, 2.0, (40, 300))
    result = stratified_difference(a, b, 6)
    np.testing.assert_allclose(result.estimate, a.mean(axis=0) - b.mean(axis=0))
    covered = ((result.lower <= 1) & (result.upper >= 1)).mean()
    assert 0.89 <= covered <= 0.98


def test_cluster_difference_draws_whole_conversations() -> None:
    """What a conversation adds to both roles cancels, as it does in a paired comparison."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(25), 4)
    shared = 10 * rng.normal(size=25)[groups]
    a, b = shared + 0.1 * rng.normal(size=100) + 1, shared + 0.1 * rng.normal(size=100)
    result = cluster_difference(a, groups.tolist(), b, groups.tolist(), 8)
    assert result.estimate == pytest.approx(a.mean() - b.mean())
    assert 0.9 < result.lower < result.upper < 1.1
    apart = stratified_difference(a, b, 8)
    assert apart.upper - apart.lower > 20 * (result.upper - result.lower)


@pytest.mark.filterwarnings("error")
def test_too_little_has_an_estimate_but_no_interval() -> None:
    """One unit, one cluster or an empty group gives NaN ends and its n, without a warning."""
    one = cluster_mean(np.array([[2.0], [4.0]]), ["c", "c"], 0)
    assert (one.estimate[0], one.n[0]) == (3.0, 1)
    assert np.isnan([one.lower[0], one.upper[0]]).all()
    none = cluster_mean(np.zeros((0, 2)), [], 0)
    assert np.isnan([none.estimate, none.lower]).all()
    short = stratified_difference(np.ones((1, 1)), np.zeros((5, 1)), 0)
    assert (short.estimate[0], short.n[0]) == (1.0, 1)
    assert np.isnan(short.lower[0])
    empty = cluster_difference(np.ones((3, 1)), [1, 2, 3], np.zeros((0, 1)), [], 0)
    assert np.isnan([empty.estimate[0], empty.lower[0]]).all()


def test_same_names_same_bytes() -> None:
    """Seeds come from names: the same give the same interval bit by bit, others do not."""
    values = np.random.default_rng(9).normal(size=(20, 3))
    first, again = (cluster_mean(values, range(20), seed_of("a", 1)) for _ in range(2))
    other = cluster_mean(values, range(20), seed_of("a1"))
    assert first.lower.tobytes() == again.lower.tobytes()
    assert first.lower.tobytes() != other.lower.tobytes()
