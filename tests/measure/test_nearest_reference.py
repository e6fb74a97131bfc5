from __future__ import annotations

import numpy as np
import pytest

from stratascope.measure.metrics import cosine_pairs
from stratascope.measure.nearest import (
    combinations,
    layer_average,
    shares,
    some_conversations,
    turned_cosines,
)


@pytest.fixture
def states() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(30, 12)) * np.exp(-np.arange(12) / 5)


def test_references_are_turned_as_one_rigid_body(states: np.ndarray) -> None:
    """Cosines of messages that are an orthonormal basis give the references back: angles as before."""
    basis = np.eye(9)
    references = np.random.default_rng(1).normal(size=(4, 9))
    turned = turned_cosines(basis, references, combinations(9, 4, 0, 5))
    for draw in turned:
        np.testing.assert_allclose(
            cosine_pairs(draw.T, draw.T), cosine_pairs(references, references)
        )
    assert abs(turned[0] - turned[1]).max() > 0.1


def test_turning_does_not_see_the_basis_or_the_order(states: np.ndarray) -> None:
    """A rotation of everything changes nothing; another order of references only exchanges them."""
    rng = np.random.default_rng(2)
    references, weights = rng.normal(size=(4, 12)), combinations(30, 4, 0, 5)
    plain = turned_cosines(states, references, weights)
    q = np.linalg.qr(rng.normal(size=(12, 12))).Q
    np.testing.assert_allclose(turned_cosines(states @ q, references @ q, weights), plain)
    order = [2, 0, 3, 1]
    other = turned_cosines(states, references[order], weights[:, order])
    np.testing.assert_allclose(other, plain[:, :, order], atol=1e-12)


def test_where_no_references_can_be_turned(states: np.ndarray) -> None:
    """A message that was not captured is NaN; with fewer directions than references all are."""
    references, weights = np.random.default_rng(3).normal(size=(4, 12)), combinations(30, 4, 0, 5)
    states[3] = np.nan
    gaps = np.isnan(turned_cosines(states, references, weights))
    assert gaps[:, 3].all()
    assert gaps.sum() == 5 * 4 - 4
    flat = states[:, :3] @ np.random.default_rng(4).normal(size=(3, 12))
    assert np.isnan(turned_cosines(flat, references, weights)).all()


def test_shares_are_counts() -> None:
    """Each message that counts has one nearest reference; a gap takes it out; nothing left is NaN."""
    cosines = np.array([[[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [np.nan, 0.1]]])
    counted = np.ones((4, 2), dtype=bool)
    np.testing.assert_allclose(shares(cosines, counted), [[2 / 3, 1 / 3]])
    counted[1:, 1] = False
    np.testing.assert_allclose(shares(cosines, counted), [[2 / 3, 0]])
    counted[:, 0] = False
    assert np.isnan(shares(cosines, counted)[0, 0])


def test_layer_average_leaves_gaps_out() -> None:
    """The mean of what is there, NaN where nothing is."""
    parts = np.random.default_rng(5).normal(size=(3, 2, 4))
    parts[0, 1], parts[:, 0, 0] = np.nan, np.nan
    found = layer_average(parts)
    np.testing.assert_allclose(found[1], parts[1:, 1].mean(axis=0))
    assert np.isnan(found[0, 0])


def test_conversations_are_chosen_whole() -> None:
    """As many whole conversations as fit, two at least; all of them where they fit."""
    names = ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    for seed in range(5):
        rows = some_conversations(names, seed, 9)
        chosen = {names[row] for row in rows}
        assert len(chosen) == 2
        assert rows == [i for i, name in enumerate(names) if name in chosen]
    assert some_conversations(names, 0, 1) != []
    assert some_conversations(names, 0) == list(range(12))
