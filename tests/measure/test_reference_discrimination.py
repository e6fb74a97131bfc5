from __future__ import annotations

import statistics

import numpy as np
import pytest

from stratascope.measure.discrimination import discrimination, null_spread, preferred, spread
from stratascope.measure.metrics import cosine_pairs


def conversations(count: int, each: int) -> list[int]:
    return np.repeat(np.arange(count), each).tolist()


def test_spread_is_the_deviation_across_references() -> None:
    """Each snapshot's value is ``statistics.pstdev`` of its cosines; one reference has none."""
    cosines = np.random.default_rng(0).uniform(-1, 1, (4, 5, 2))
    for i, k in np.ndindex(4, 2):
        expected = statistics.pstdev(cosines[i, :, k].tolist())
        assert spread(cosines)[i, k] == pytest.approx(expected)
    assert np.isnan(spread(cosines[:, :1])).all()


def test_discrimination_is_their_mean_with_an_interval_over_conversations() -> None:
    """The estimate is the mean over snapshots and n counts conversations, not snapshots."""
    spreads = np.random.default_rng(1).uniform(0, 1, (12, 3))
    result = discrimination(spreads, conversations(4, 3), 0)
    np.testing.assert_allclose(result.estimate, spreads.mean(axis=0))
    assert (result.n == 4).all()
    assert (result.lower < result.estimate).all()
    assert (result.estimate < result.upper).all()


def test_preferred_reference() -> None:
    """The largest cosine wins, the first of equals; a gap gives -1 and not a wrong answer."""
    cosines = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.1], [np.nan, 0.9, 0.1]])
    assert preferred(cosines).tolist() == [1, 0, -1]
    assert preferred(np.zeros((2, 0))).tolist() == [-1, -1]


def test_unrelated_references_are_at_the_null() -> None:
    """Random references in the snapshots' own space are told apart as well as the null says."""
    rng = np.random.default_rng(2)
    scales = np.exp(-np.arange(200) / 10)
    ratios = []
    for seed in range(20):
        states = rng.normal(size=(60, 200)) * scales
        references = rng.normal(size=(6, 200)) * scales
        observed = spread(cosine_pairs(states, references)).mean()
        ratios.append(observed / null_spread(states, references, conversations(20, 3), seed))
    assert 0.9 < np.mean(ratios) < 1.1


def test_meaningful_references_exceed_the_null() -> None:
    """Where each conversation leans towards one reference, the spread is above the null."""
    rng = np.random.default_rng(3)
    references = rng.normal(size=(4, 200))
    states = references[rng.integers(0, 4, 60)] + 0.5 * rng.normal(size=(60, 200))
    states -= states.mean(axis=0)
    observed = spread(cosine_pairs(states, references)).mean()
    assert observed > 1.2 * null_spread(states, references, conversations(20, 3), 0)


def test_null_keeps_the_angles_among_references() -> None:
    """References that nearly coincide have a small null: they could not be told apart anyway."""
    rng = np.random.default_rng(4)
    states, far = rng.normal(size=(40, 100)), rng.normal(size=(3, 100))
    near = far[0] + 0.01 * far
    groups = conversations(10, 4)
    assert null_spread(states, near, groups, 0) < 0.05 * null_spread(states, far, groups, 0)


def test_null_does_not_see_the_states_basis() -> None:
    """Rotating snapshots and references together leaves the null as it was."""
    rng = np.random.default_rng(5)
    states, references = rng.normal(size=(30, 50)), rng.normal(size=(4, 50))
    q = np.linalg.qr(rng.normal(size=(50, 50))).Q
    groups = conversations(10, 3)
    plain = null_spread(states, references, groups, 7)
    assert null_spread(states @ q, references @ q, groups, 7) == pytest.approx(plain)
    assert null_spread(states, references, groups, 7) == plain


def test_null_needs_two_conversations_and_enough_snapshots() -> None:
    """Where no honest null can be drawn the answer is NaN."""
    rng = np.random.default_rng(6)
    states, references = rng.normal(size=(12, 20)), rng.normal(size=(4, 20))
    assert np.isnan(null_spread(states, references, [0] * 12, 0))
    assert np.isnan(null_spread(states[:6], references, range(6), 0))
    assert np.isnan(null_spread(states, references[:1], range(12), 0))
    assert np.isfinite(null_spread(states, references, range(12), 0))
