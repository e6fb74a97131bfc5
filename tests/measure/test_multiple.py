"""Adjusted p-values against scipy and against what they are defined by."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from stratascope.errors import StratascopeError
from stratascope.measure.multiple import benjamini_hochberg, holm, max_statistic


def draws(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    return [np.round(rng.beta(0.4, 1, count), 2) for _ in range(20)]


def test_holm_is_the_closure_of_bonferroni() -> None:
    """A value is adjusted to the largest Bonferroni p-value of any set of hypotheses it is in."""
    for p in draws(7):
        closed = [
            max(
                min(1.0, size * min(p[j] for j in others))
                for size in range(1, 8)
                for others in combinations(range(7), size)
                if i in others
            )
            for i in range(7)
        ]
        np.testing.assert_allclose(holm(p), closed, atol=1e-12)


def test_benjamini_hochberg_is_scipys() -> None:
    """It equals scipy's false_discovery_control, in the order given."""
    for p in draws(40):
        np.testing.assert_allclose(
            benjamini_hochberg(p), stats.false_discovery_control(p, method="bh"), atol=1e-12
        )


def test_rates_hold() -> None:
    """Of 40 true nulls and 10 false ones, Holm rarely rejects a true one; few of BH's are true."""
    rng = np.random.default_rng(0)
    any_false, shares = [], []
    for _ in range(1000):
        z = rng.standard_normal(50) + np.where(np.arange(50) < 10, 3.5, 0)
        p = stats.norm.sf(z)
        any_false.append((holm(p)[10:] <= 0.05).any())
        found = benjamini_hochberg(p) <= 0.05
        shares.append(found[10:].sum() / max(1, found.sum()))
    assert 0.02 < np.mean(any_false) <= 0.065
    assert 0.02 < np.mean(shares) <= 0.055


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_what_was_not_tested_does_not_count(adjust: object) -> None:
    """NaN stays and changes nothing; no values give none; a number above 1 is an error."""
    p = np.array([0.01, np.nan, 0.04, 0.5])
    known = ~np.isnan(p)
    np.testing.assert_array_equal(adjust(p)[known], adjust(p[known]))
    assert np.isnan(adjust(p)[1])
    assert len(adjust([])) == 0
    for bad in ([0.1, 1.2], [-0.1], [[0.1]]):
        with pytest.raises(StratascopeError, match="from 0 to 1"):
            adjust(bad)


def test_the_best_of_a_shuffle_is_what_a_layer_has_to_beat() -> None:
    """Each p-value is the share of shuffles whose best layer reaches the layer's value, this one counted."""
    values = np.array([0.9, 0.5, np.nan, 0.6])
    null = np.array([[0.5, 0.6, 0.4], [0.4, 0.5, 0.5], [1.0, 1.0, 1.0], [0.6, 0.3, 0.55]])
    np.testing.assert_allclose(max_statistic(values, null), [1 / 4, 1.0, np.nan, 3 / 4])
    np.testing.assert_allclose(max_statistic(-values, -null, False), [1 / 4, 1.0, np.nan, 3 / 4])
    assert np.isnan(max_statistic(values, np.empty((4, 0)))).all()
    with pytest.raises(StratascopeError, match="a row of shuffles for each value"):
        max_statistic(values, null[:2])


def test_layers_that_move_together_are_not_punished() -> None:
    """Of 30 layers that are nearly one, any false rejection stays at 0.05, and truth is found sooner."""
    rng = np.random.default_rng(1)
    any_false, found = [], {"max": 0, "holm": 0}
    for _ in range(1000):
        common = rng.standard_normal((1, 40))
        draws = common + 0.3 * rng.standard_normal((30, 40))
        p = max_statistic(draws[:, 0], draws[:, 1:])
        any_false.append((p <= 0.05).any())
        moved = draws[:, 0] + 4
        alone = (1 + (draws[:, 1:] >= moved[:, None]).sum(axis=1)) / 40
        found["max"] += (max_statistic(moved, draws[:, 1:]) <= 0.05).sum()
        found["holm"] += (holm(alone) <= 0.05).sum()
    assert 0.03 <= np.mean(any_false) <= 0.07
    assert found["holm"] == 0 < 20_000 < found["max"]
