from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import (
    METRICS,
    Invariance,
    Metric,
    cosine,
    cosine_pairs,
    mae,
    mae_pairs,
    overlap,
    overlap_pairs,
    top_set,
)

Pair = tuple[np.ndarray, np.ndarray]


def states(seed: int, rows: int, width: int) -> np.ndarray:
    """Random states with a few large dimensions, as residual streams have; no ties."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, width)) * np.exp(rng.normal(size=width))


def rotate(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> Pair:
    q = np.linalg.qr(rng.normal(size=(a.shape[-1], a.shape[-1]))).Q
    return a @ q, b @ q


def scale(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> Pair:
    return a * rng.uniform(0.1, 50, (len(a), 1)), b * rng.uniform(0.1, 50, (len(b), 1))


def permute(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> Pair:
    order = rng.permutation(a.shape[-1])
    return a[..., order], b[..., order]


def translate(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> Pair:
    shift = rng.normal(size=a.shape[-1]) * 3
    return a + shift, b + shift


def swap(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> Pair:
    return b, a


TRANSFORMS: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], Pair]] = {
    "rotation": rotate,
    "positive_scaling": scale,
    "joint_permutation": permute,
    "translation": translate,
    "swap": swap,
}


def slow_overlap(a: np.ndarray, b: np.ndarray) -> float:
    """The definition with Python's own sets and sort."""
    count = max(1, len(a) // 100)
    sets = [set(sorted(range(len(x)), key=lambda i, x=x: (-abs(x[i]), i))[:count]) for x in (a, b)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_every_named_invariance_has_a_transformation() -> None:
    """A new kind of invariance cannot be declared without a test of it."""
    assert set(TRANSFORMS) == set(get_args(Invariance))


@pytest.mark.parametrize("name", METRICS)
@given(seed=st.integers(0, 2**32), width=st.integers(2, 350), rows=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_range_and_value_on_itself(name: str, seed: int, width: int, rows: int) -> None:
    """Values stay within the declared range, and a state compared with itself has ``same``."""
    metric = METRICS[name]
    a, b = states(seed, rows, width), states(seed + 1, rows, width)
    values = metric.pairwise(a, b)
    assert values.shape == (rows, rows)
    assert (values >= metric.low).all()
    assert (values <= metric.high).all()
    np.testing.assert_allclose(metric.rowwise(a, a), metric.same, atol=1e-12)
    best = values.max() if metric.lower_is_closer else values.min()
    assert (best >= metric.same) if metric.lower_is_closer else (best <= metric.same)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("invariance", TRANSFORMS)
@given(seed=st.integers(0, 2**32), width=st.integers(2, 350))
@settings(max_examples=15, deadline=None)
def test_declared_invariances_hold(
    name: str, invariance: Invariance, seed: int, width: int
) -> None:
    """A metric keeps its value under every transformation that its declaration names."""
    metric = METRICS[name]
    if invariance not in metric.invariances:
        return
    a, b = states(seed, 4, width), states(seed + 1, 4, width)
    moved = TRANSFORMS[invariance](a, b, np.random.default_rng(seed))
    np.testing.assert_allclose(metric.rowwise(*moved), metric.rowwise(a, b), atol=1e-9)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("invariance", TRANSFORMS)
def test_declared_invariances_are_complete(name: str, invariance: Invariance) -> None:
    """A metric changes under every transformation that its declaration leaves out."""
    metric = METRICS[name]
    a, b = states(0, 20, 300), states(1, 20, 300)
    moved = TRANSFORMS[invariance](a, b, np.random.default_rng(2))
    same = np.allclose(metric.rowwise(*moved), metric.rowwise(a, b))
    assert same == (invariance in metric.invariances)


@pytest.mark.parametrize("name", METRICS)
@given(
    seed=st.integers(0, 2**32), n=st.integers(0, 6), m=st.integers(0, 6), width=st.integers(1, 250)
)
@settings(max_examples=25, deadline=None)
def test_all_pairs_agree_with_row_by_row(name: str, seed: int, n: int, m: int, width: int) -> None:
    """The matrix form and the broadcast form are one metric, ties, zeros and gaps included."""
    metric: Metric = METRICS[name]
    a, b = np.round(states(seed, n, width)), np.round(states(seed + 1, m, width))
    a[:1], b[1:2] = np.nan, 0.0
    expected = metric.rowwise(a[:, None], b[None])
    np.testing.assert_allclose(metric.pairwise(a, b), expected, atol=1e-12, equal_nan=True)


def test_against_scipy_and_plain_python() -> None:
    """Cosine and MAE agree with SciPy's distances, overlap with Python's sets."""
    a, b = states(3, 7, 431), states(4, 5, 431)
    for i in range(7):
        for j in range(5):
            assert cosine_pairs(a, b)[i, j] == pytest.approx(1 - distance.cosine(a[i], b[j]))
            assert mae(a[i], b[j]) == pytest.approx(distance.cityblock(a[i], b[j]) / 431)
            assert overlap_pairs(a, b)[i, j] == slow_overlap(a[i], b[j])
    np.testing.assert_allclose(mae_pairs(a, b), np.abs(a[:, None] - b).mean(axis=2), rtol=1e-12)


@given(
    st.lists(st.integers(-2, 2), min_size=1, max_size=450),
    st.integers(0, 2**32),
)
@settings(max_examples=40, deadline=None)
def test_ties_go_to_the_first_dimensions(values: list[int], seed: int) -> None:
    """With many equal magnitudes the set is the one that a stable sort gives, of the right size."""
    a = np.array(values, dtype=float)
    b = np.random.default_rng(seed).permutation(a)
    assert top_set(a).sum() == max(1, len(a) // 100)
    assert overlap(a, b) == slow_overlap(a, b)


def test_degenerate_states() -> None:
    """A zero vector has no cosine; a row with a NaN has no value; neither spoils other rows."""
    a = np.array([[0.0, 0.0, 0.0], [1.0, np.nan, 2.0], [1.0, 2.0, 3.0]])
    assert np.isnan(cosine(a, a)).tolist() == [True, True, False]
    assert np.isnan(mae(a, a)).tolist() == [False, True, False]
    assert np.isnan(overlap(a, a)).tolist() == [False, True, False]
    assert overlap(a[0], [5.0, 1.0, 1.0]) == 1.0
    assert np.isnan(cosine_pairs(a, a)).sum() == 8


def test_extreme_magnitudes() -> None:
    """Very large and very small states keep their direction: no overflow, no underflow."""
    a = np.array([1e300, 2e300, 0.0])
    assert cosine(a, a * 1e-300) == pytest.approx(1.0)
    assert cosine(a * 1e-300 * 1e-200, a) == pytest.approx(1.0)


@pytest.mark.parametrize("name", METRICS)
def test_different_widths_are_refused(name: str) -> None:
    """States of two hidden sizes give an error that shows both shapes, never a broadcast."""
    metric = METRICS[name]
    for form in (metric.rowwise, metric.pairwise):
        with pytest.raises(StratascopeError, match=r"\(2, 1\).*\(2, 4\)"):
            form(np.ones((2, 1)), np.ones((2, 4)))
    with pytest.raises(StratascopeError, match="two matrices"):
        metric.pairwise(np.ones(4), np.ones((2, 4)))


@pytest.mark.parametrize("name", METRICS)
def test_repeated_calls_give_the_same_bytes(name: str) -> None:
    """The same arrays give the same bits, call after call."""
    metric = METRICS[name]
    a, b = states(5, 40, 700), states(6, 30, 700)
    assert metric.pairwise(a, b).tobytes() == metric.pairwise(a.copy(), b.copy()).tobytes()
