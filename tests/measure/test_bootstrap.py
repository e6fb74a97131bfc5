"""Resamples of any statistic, and the intervals made of them."""

from __future__ import annotations

import numpy as np
import pytest

from stratascope.measure import bootstrap
from stratascope.measure.bootstrap import (
    interval_of,
    numbered,
    resample_counts,
    resampled,
    symmetric_interval,
)
from stratascope.measure.interval import RESAMPLES, cluster_mean


def test_clusters_are_numbered_as_they_come() -> None:
    """The first cluster is 0, whatever it is called."""
    assert numbered(["b", "a", "b", 3]).tolist() == [0, 1, 0, 2]
    assert numbered([]).tolist() == []


def test_a_weighted_mean_is_the_mean_of_drawn_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights count a cluster's rows as often as it was drawn, in chunks of any size."""
    rng = np.random.default_rng(0)
    values, codes = rng.standard_normal(20), numbered(list(rng.integers(0, 6, 20)))
    counts = resample_counts(6, 50, 1)

    def mean(weights: np.ndarray) -> np.ndarray:
        return weights @ values / weights.sum(axis=1)

    drawn = [
        np.concatenate([values[codes == c] for c in np.repeat(np.arange(6), each)]).mean()
        for each in counts.astype(int)
    ]
    np.testing.assert_allclose(resampled(mean, codes, counts), drawn)
    monkeypatch.setattr(bootstrap, "CHUNK", 60)
    np.testing.assert_allclose(resampled(mean, codes, counts), drawn)


def test_percentiles_are_those_of_the_interval_of_a_mean() -> None:
    """For a mean, whose resamples lie about it, this is `cluster_mean`, but for their own mean."""
    values, clusters = np.random.default_rng(1).exponential(size=80), list(range(80))
    whole = cluster_mean(values, clusters, 5)
    counts = resample_counts(80, RESAMPLES, 5)
    draws = resampled(lambda weights: weights @ values / 80, np.arange(80), counts)
    shift = draws.mean() - values.mean()
    assert interval_of(values.mean(), draws) == pytest.approx(
        (float(whole.lower) - shift, float(whole.upper) - shift)
    )


def test_a_biased_statistic_lies_in_its_interval() -> None:
    """Resamples beside the estimate are moved to it; widening and bounds do what they say."""
    draws = np.random.default_rng(2).normal(0.5, 0.1, 5000)
    for make in (interval_of, symmetric_interval):
        lower, upper = make(0.2, draws)
        assert (lower, upper) == pytest.approx((0.2 - 0.196, 0.2 + 0.196), abs=0.01)
        wide = make(0.2, draws, 2.0)
        assert wide == pytest.approx((0.2 - 0.392, 0.2 + 0.392), abs=0.02)
        assert make(0.2, draws, 2.0, (0.0, 1.0))[0] == 0.0
        with_gaps = np.concatenate([draws, [np.nan] * 9])
        assert make(0.2, with_gaps) == (lower, upper)
        assert np.isnan(make(np.nan, draws)).all()
        assert np.isnan(make(0.2, np.full(4, np.nan))).all()
