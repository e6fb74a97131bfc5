from __future__ import annotations

import numpy as np
import pytest

from stratascope.measure.proportion import wilson
from stratascope.measure.slopes import slopes, within
from stratascope.measure.weighted import SHARE, cluster_ends, weighted_ratio


def test_slope_is_that_of_a_regression_with_a_level_for_each_group() -> None:
    """Least squares with a dummy variable for each group gives the same slope."""
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b", "c"], [4, 6, 3])
    x, y = rng.normal(size=13), rng.normal(size=(2, 13))
    design = np.column_stack([x, *(groups == name for name in "abc")])
    expected = [np.linalg.lstsq(design, row, rcond=None)[0][0] for row in y]
    np.testing.assert_allclose(slopes(within(x, groups.tolist()), y), expected)


def test_no_variation_has_no_slope() -> None:
    """Groups of one message, or of equal x, give NaN."""
    assert np.isnan(slopes(within(np.arange(4.0), range(4)), np.ones((1, 4)))).all()


def test_weighted_ratio_counts_whole_clusters() -> None:
    """Weights repeat the rows of a cluster; a mean is a ratio to ones, a slope to squares."""
    rng = np.random.default_rng(1)
    clusters = np.array([0, 0, 1, 2, 2, 2])
    x, y = within(rng.normal(size=6), clusters.tolist()), rng.normal(size=6)
    rows = np.repeat(np.arange(6), np.array([2, 0, 3])[clusters])
    weights = np.array([[2.0, 0.0, 3.0], [0.0, 1.0, 0.0]])
    mean = weighted_ratio(y, np.ones(6), clusters, 3)(weights)
    assert mean == pytest.approx([y[rows].mean(), y[2]])
    slope = weighted_ratio(x * y, x * x, clusters, 3)(weights)
    assert slope[0] == pytest.approx((x * y)[rows].sum() / (x * x)[rows].sum())
    assert np.isnan(slope[1])


def test_ends_of_few_clusters() -> None:
    """Wider than the bootstrap's by sqrt(C / (C - 1)); Wilson's for all or none; none for one cluster."""
    draws = np.random.default_rng(2).normal(0.5, 0.05, 4000)
    wide, many = cluster_ends(0.5, draws, 2), cluster_ends(0.5, draws, 10**6)
    assert wide[1] - wide[0] == pytest.approx(np.sqrt(2) * (many[1] - many[0]), rel=1e-5)
    assert many[1] - many[0] == pytest.approx(2 * 1.96 * 0.05, rel=0.06)
    assert cluster_ends(1.0, np.ones(9), 5, SHARE) == wilson(5, 5)
    assert cluster_ends(0.0, np.zeros(9), 5, SHARE) == wilson(0, 5)
    assert np.isnan(cluster_ends(0.5, draws, 1)).all()
