from __future__ import annotations

import numpy as np
import pytest

from stratascope.measure.layer_choice import choose, leads, pseudo_values


def test_choice_and_its_resamples() -> None:
    """The largest value, how many resamples choose each, and where the middle 95 % of them lie."""
    values = np.array([0.5, 0.7, np.nan, 0.9, 0.8])
    resamples = np.full((100, 5), 0.1)
    resamples[:60, 3], resamples[60:99, 4], resamples[99:, 0] = 1, 1, 1
    found = choose(values, resamples)
    assert found is not None
    assert found.place == 3
    np.testing.assert_allclose(found.shares, [0.01, 0, 0, 0.6, 0.39])
    assert (found.lower, found.upper) == (3, 4)


def test_equal_layers_share_a_resample() -> None:
    """A resample in which all layers are equal speaks for none; without any value there is no choice."""
    found = choose(np.array([0.5, 0.5]), np.array([[1.0, 1.0], [1.0, 0.5], [np.nan, np.nan]]))
    assert found is not None
    assert found.place == 0
    np.testing.assert_allclose(found.shares, [0.75, 0.25])
    assert choose(np.full(3, np.nan), np.ones((2, 3))) is None
    assert choose(np.ones(3), np.full((2, 3), np.nan)) is None


def test_lead_over_neighbours() -> None:
    """Above the mean of both neighbours; at the ends above the one there is."""
    np.testing.assert_allclose(leads(np.array([1.0, 4.0, 5.0, 2.0])), [-3, 1, 2, -3])
    both = np.random.default_rng(0).normal(size=(2, 6))
    np.testing.assert_allclose(leads(both), [leads(row) for row in both])
    assert np.isnan(leads(np.array([1.0]))).all()


def test_pseudo_values_of_a_mean_are_its_parts() -> None:
    """Of a mean over equal clusters each pseudo-value is the cluster's own mean."""
    parts = np.random.default_rng(1).normal(size=(5, 3))
    without = np.array([np.delete(parts, c, axis=0).mean(axis=0) for c in range(5)])
    assert pseudo_values(parts.mean(axis=0), without) == pytest.approx(parts)
