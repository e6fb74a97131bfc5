from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratascope.errors import StratascopeError
from stratascope.measure.similarity import SIMILARITIES
from stratascope.measure.similarity.table import Invariance

Rng = np.random.Generator

each = pytest.mark.parametrize("name", SIMILARITIES)
few = settings(max_examples=20, deadline=None)


def features(seed: int, n: int, d1: int, d2: int) -> tuple[np.ndarray, np.ndarray]:
    """Two representations of n texts that share a part, off centre, with unequal scales."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, 3))
    sides = [
        (common @ rng.normal(size=(3, d)) + rng.normal(size=(n, d))) * np.exp(rng.normal(size=d))
        + 2 * rng.normal(size=d)
        for d in (d1, d2)
    ]
    return sides[0], sides[1]


def rotated(x: np.ndarray, rng: Rng) -> np.ndarray:
    return x @ np.linalg.qr(rng.normal(size=(x.shape[1], x.shape[1]))).Q


def scaled(x: np.ndarray, rng: Rng) -> np.ndarray:
    return x * rng.uniform(0.1, 30)


def reordered(x: np.ndarray, rng: Rng) -> np.ndarray:
    return x[:, rng.permutation(x.shape[1])]


def moved(x: np.ndarray, rng: Rng) -> np.ndarray:
    return x + 20 * rng.normal(size=x.shape[1])


def mapped(x: np.ndarray, rng: Rng) -> np.ndarray:
    d = x.shape[1]
    left, right = (np.linalg.qr(rng.normal(size=(d, d))).Q for _ in range(2))
    return x @ (left * np.linspace(0.2, 3, d)) @ right


TRANSFORMS = {
    "orthogonal": rotated,
    "isotropic_scaling": scaled,
    "feature_permutation": reordered,
    "translation": moved,
    "invertible_linear": mapped,
}
PAGE = Path(__file__).parents[2] / "docs" / "similarity.md"
transforms = pytest.mark.parametrize("kind", TRANSFORMS)


def test_every_named_invariance_has_a_transformation() -> None:
    """A new kind of invariance cannot be declared without a test of it."""
    assert set(TRANSFORMS) == set(get_args(Invariance))


@each
@given(
    seed=st.integers(0, 2**32),
    more=st.integers(0, 30),
    d1=st.integers(3, 40),
    d2=st.integers(3, 40),
)
@few
def test_range(name: str, seed: int, more: int, d1: int, d2: int) -> None:
    """Values stay within the declared range, from the fewest texts on, wide or narrow."""
    measure = SIMILARITIES[name]
    x, y = features(seed, measure.minimum + more, d1, d2)
    assert measure.low <= measure.function(x, y) <= measure.high


@each
@given(seed=st.integers(0, 2**32), more=st.integers(0, 30), d=st.integers(3, 40))
@few
def test_value_on_itself(name: str, seed: int, more: int, d: int) -> None:
    """A representation and itself have the declared value, and none is closer."""
    measure = SIMILARITIES[name]
    x, y = features(seed, measure.minimum + more, d, d)
    # The arc cosine makes an angle of 1e-8 of what rounding leaves.
    assert measure.function(x, x) == pytest.approx(measure.same, abs=1e-7)
    best = measure.low if measure.lower_is_closer else measure.high
    assert measure.same == best
    assert abs(measure.function(x, y) - best) >= abs(measure.function(x, x) - best) - 1e-7


@each
def test_symmetry_is_as_declared(name: str) -> None:
    """Swapping the sides keeps the value of a symmetric measure, and changes that of others."""
    measure = SIMILARITIES[name]
    x, y = features(1, 40, 6, 9)
    same = measure.function(x, y) == pytest.approx(measure.function(y, x), abs=1e-12)
    assert same == measure.symmetric


@each
@given(seed=st.integers(0, 2**32), d1=st.integers(3, 40), d2=st.integers(3, 40))
@few
def test_the_order_of_texts_does_not_matter(name: str, seed: int, d1: int, d2: int) -> None:
    """The same reordering of texts on both sides leaves every measure as it was."""
    function = SIMILARITIES[name].function
    x, y = features(seed, 20, d1, d2)
    order = np.random.default_rng(seed).permutation(20)
    assert function(x[order], y[order]) == pytest.approx(function(x, y), abs=1e-8)


@each
@transforms
@given(seed=st.integers(0, 2**32), d1=st.integers(3, 30), d2=st.integers(3, 30))
@few
def test_declared_invariances_hold(
    name: str, kind: Invariance, seed: int, d1: int, d2: int
) -> None:
    """A measure keeps its value under every transformation of either side that it declares."""
    measure = SIMILARITIES[name]
    x, y = features(seed, 24, d1, d2)
    transform, rng = TRANSFORMS[kind], np.random.default_rng(seed)
    if kind in measure.invariances:
        value = measure.function(transform(x, rng), transform(y, rng))
        assert value == pytest.approx(measure.function(x, y), abs=1e-7)
    if kind in measure.invariances | measure.of_second:
        value = measure.function(x, transform(y, rng))
        assert value == pytest.approx(measure.function(x, y), abs=1e-7)


@each
@transforms
def test_declared_invariances_are_complete(name: str, kind: Invariance) -> None:
    """A measure changes under every transformation that its declaration leaves out."""
    measure = SIMILARITIES[name]
    x, y = features(3, 60, 6, 5)
    transform, rng = TRANSFORMS[kind], np.random.default_rng(4)
    value = measure.function(x, y)
    if kind not in measure.invariances:
        assert measure.function(transform(x, rng), y) != pytest.approx(value, abs=1e-4)
    if kind not in measure.invariances | measure.of_second:
        assert measure.function(x, transform(y, rng)) != pytest.approx(value, abs=1e-4)


@each
def test_too_few_texts_are_refused(name: str) -> None:
    """One text less than the declared minimum is an error that says how many are needed."""
    measure = SIMILARITIES[name]
    x, y = features(5, measure.minimum - 1, 4, 5)
    with pytest.raises(StratascopeError, match=f"at least {measure.minimum}"):
        measure.function(x, y)


@each
@pytest.mark.parametrize("wrong", ["constant", "rounding"])
def test_features_that_do_not_vary_are_refused(name: str, wrong: str) -> None:
    """Equal rows, or rows that differ by float32's rounding, have no similarity to anything."""
    x, y = features(6, 20, 4, 5)
    flat = np.tile(y[0], (20, 1)).astype(np.float32)
    if wrong == "rounding":
        flat *= 1 + 1e-7 * np.random.default_rng(6).choice([-1, 0, 1], flat.shape)
        assert not (flat == flat[0]).all()
    for sides in ((x, flat), (flat, x)):
        with pytest.raises(StratascopeError, match="nothing varies"):
            SIMILARITIES[name].function(*sides)


@each
def test_other_wrong_input_is_named(name: str) -> None:
    """NaN, other numbers of texts, other shapes and other types are errors that say where."""
    function = SIMILARITIES[name].function
    x, y = features(7, 20, 4, 5)
    holed = y.copy()
    holed[13, 2] = np.nan
    with pytest.raises(StratascopeError, match="Y: row 13 holds NaN"):
        function(x, holed)
    with pytest.raises(StratascopeError, match="same texts, got 20 and 19"):
        function(x, y[:19])
    with pytest.raises(StratascopeError, match=r"X: .*got shape \(20,\)"):
        function(x[:, 0], y)
    with pytest.raises(StratascopeError, match=r"Y: .*got shape \(2, 20, 5\)"):
        function(x, np.stack([y, y]))
    with pytest.raises(StratascopeError, match="real numbers"):
        function(x, y.astype(str))


def test_what_only_some_measures_cannot_do() -> None:
    """A text without direction, without spread, and relations that are all alike are named."""
    x, y = features(8, 20, 4, 5)
    zero, level = x.copy(), x.copy()
    zero[7], level[7] = 0.0, 3.0
    with pytest.raises(StratascopeError, match="X: row 7 is the zero vector"):
        SIMILARITIES["mutual_knn"].function(zero, y)
    with pytest.raises(StratascopeError, match="X: row 7 has the same number in every feature"):
        SIMILARITIES["rsa"].function(level, y)
    with pytest.raises(StratascopeError, match="all pairs of texts relate alike"):
        SIMILARITIES["linear_cka_debiased"].function(np.eye(20), y)
    with pytest.raises(StratascopeError, match="all pairs of texts relate alike"):
        SIMILARITIES["rsa"].function(np.eye(20), y)
    mostly = np.zeros((20, 3))
    mostly[:3] = x[:3, :3]
    with pytest.raises(StratascopeError, match="no bandwidth"):
        SIMILARITIES["rbf_cka"].function(mostly, y)


@each
def test_types_and_layouts_of_memory_do_not_matter(name: str) -> None:
    """Integers, half precision and columns that lie together give what float64 rows give."""
    function = SIMILARITIES[name].function
    x, y = (np.round(side * 4) for side in features(9, 30, 6, 7))
    value = function(x, y)
    for kind in (np.int64, np.float16, np.float32):
        assert function(x.astype(kind), np.asfortranarray(y)) == pytest.approx(value, abs=1e-12)


@each
def test_repeated_calls_give_the_same_bytes(name: str) -> None:
    """The same arrays give the same bits, call after call."""
    function = SIMILARITIES[name].function
    x, y = features(10, 50, 30, 70)
    assert function(x, y).hex() == function(x.copy(), y.copy()).hex()


def test_the_page_says_what_the_table_declares() -> None:
    """The documentation's table has every measure's range, value on itself, invariances and texts."""
    text = PAGE.read_text(encoding="utf-8").split("## Measures")[1].split("\n## ")[0]
    words = {
        "orthogonal": "rotation",
        "isotropic_scaling": "scale",
        "feature_permutation": "order",
        "translation": "offset",
    }
    shown = {}
    for line in re.findall(r"^\| `.*$", text, re.MULTILINE):
        name, span, same, unchanged, texts, _ = (cell.strip() for cell in line.split("|")[1:-1])
        kept = set(unchanged.split(";")[0].split(", "))
        shown[name.strip("`")] = span, float(same), kept, int(texts)
    ends = {-1.0: "−1", 0.0: "0", 1.0: "1", 2.0: "2", np.pi / 2: "π/2"}
    assert shown == {
        name: (
            f"{ends[measure.low]} to {ends[measure.high]}",
            measure.same,
            {words[kind] for kind in measure.invariances},
            measure.minimum,
        )
        for name, measure in SIMILARITIES.items()
    }
