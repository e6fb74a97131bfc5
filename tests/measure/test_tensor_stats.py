"""Statistics of tensors against scipy, NumPy and what is known of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from stratascope.errors import StratascopeError
from stratascope.measure import tensor_stats as module
from stratascope.measure.tensor_stats import block_stats, tensor_stats

SHAPES = [(7,), (5, 8), (3, 4, 6), (2, 3, 1)]


def sample(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Skewed, heavy-tailed, with exact zeros: where moments, entropy and sparsity all differ."""
    rng = np.random.default_rng(seed)
    values = rng.standard_t(5, shape) * 3 + 1
    values[rng.random(shape) < 0.2] = 0
    return values


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_are_those_of_numpy_and_scipy(shape: tuple[int, ...]) -> None:
    """Mean, standard deviation, extremes, norm and kurtosis are what others compute."""
    x = sample(shape)
    found = tensor_stats(x)
    assert found["shape"] == shape
    expected = {
        "mean": x.mean(),
        "std": x.std(),
        "min": x.min(),
        "max": x.max(),
        "norm": np.linalg.norm(x),
        "kurtosis": scipy.stats.kurtosis(x, axis=None, fisher=True, bias=True),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_is_the_mean_of_scipys_over_rows(shape: tuple[int, ...]) -> None:
    """Each row's magnitudes, made to sum to one, have the entropy that scipy gives; zero rows none."""
    x = sample(shape)
    rows = np.abs(x).reshape(-1, shape[-1])
    expected = scipy.stats.entropy(rows[rows.any(axis=1)], axis=1).mean()
    assert tensor_stats(x)["entropy"] == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_entropy_runs_from_zero_to_the_logarithm_of_the_width() -> None:
    """One dimension alone has no entropy, equal magnitudes have all there is, whatever their sign."""
    assert tensor_stats(np.eye(4) * -3)["entropy"] == 0
    assert tensor_stats([[2.0, -2, 2, -2], [5, 5, 5, 5]])["entropy"] == pytest.approx(math.log(4))


@pytest.mark.parametrize(("threshold", "share"), [(0.0, 0.25), (0.1, 0.5), (5.0, 0.75)])
def test_sparsity_counts_what_is_not_above_the_threshold(threshold: float, share: float) -> None:
    """The share of numbers whose magnitude is at most the threshold, itself included."""
    assert tensor_stats([0.0, -0.1, 5.0, -7.0], threshold)["sparsity"] == share


def numbers(found: Any) -> dict[str, float]:
    return {name: value for name, value in found.items() if name != "shape"}


def test_scaling_and_reordering() -> None:
    """Entropy and kurtosis know no scale, and no statistic knows the order of a row's numbers."""
    x = sample((6, 9))
    plain, scaled = tensor_stats(x), tensor_stats(x * -4.5)
    assert scaled["entropy"] == pytest.approx(plain["entropy"])
    assert scaled["kurtosis"] == pytest.approx(plain["kurtosis"])
    assert scaled["norm"] == pytest.approx(4.5 * plain["norm"])
    turned = tensor_stats(x[:, np.random.default_rng(1).permutation(9)])
    assert numbers(turned) == pytest.approx(numbers(plain), rel=1e-12)


def test_numbers_that_are_not_finite_are_counted_and_left_out() -> None:
    """NaN and infinities change nothing but their count."""
    x = sample((4, 5))
    broken = np.concatenate([x, [[np.nan, np.inf, -np.inf, 0, 0]]])
    found, expected = tensor_stats(broken), tensor_stats([*x.ravel().tolist(), 0, 0])
    same = ("mean", "std", "min", "max", "norm", "sparsity", "kurtosis")
    assert found["non_finite"] == 3
    assert [found[name] for name in same] == pytest.approx([expected[name] for name in same])
    assert found["entropy"] == pytest.approx(tensor_stats(x)["entropy"])


@pytest.mark.parametrize("nothing", [np.zeros((0, 3)), np.full((2, 2), np.nan)])
def test_nothing_finite_is_nan(nothing: np.ndarray) -> None:
    """Without a finite number there is no statistic, and no warning either."""
    found = tensor_stats(nothing)
    assert found["non_finite"] == nothing.size
    assert all(math.isnan(v) for v in found.values() if isinstance(v, float))


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30])
def test_equal_numbers(value: float) -> None:
    """Equal numbers have no spread and no kurtosis, and the entropy of evenness unless they are 0."""
    found = tensor_stats(np.full((3, 4), value))
    assert found["std"] == pytest.approx(0, abs=abs(value) * 1e-12)
    assert math.isnan(found["kurtosis"])
    assert (
        math.isnan(found["entropy"])
        if value == 0
        else found["entropy"] == pytest.approx(math.log(4))
    )


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_extreme_scales_neither_overflow_nor_vanish(scale: float) -> None:
    """Fourth powers of very large and very small numbers stay in range."""
    x = sample((5, 8))
    found, plain = tensor_stats(x * scale), tensor_stats(x)
    assert found["norm"] / scale == pytest.approx(plain["norm"])
    assert found["std"] / scale == pytest.approx(plain["std"])
    assert found["kurtosis"] == pytest.approx(plain["kurtosis"])


def test_pieces_do_not_show(monkeypatch: Any) -> None:
    """A tensor looked at two rows at a time has the statistics of the whole."""
    x = sample((11, 3))
    whole = tensor_stats(x)
    monkeypatch.setattr(module, "PIECE", 6)
    assert numbers(tensor_stats(x)) == pytest.approx(numbers(whole), rel=1e-12)


def test_blocks_count_together() -> None:
    """Blocks of different widths are one set of numbers; entropy is over each row of its own width."""
    a, b = sample((3, 4)), sample((2, 6), seed=1)
    found = block_stats([a, b], (2, 3, 6))
    together = np.concatenate([a.ravel(), b.ravel()])
    assert found["kurtosis"] == pytest.approx(scipy.stats.kurtosis(together))
    assert found["mean"] == pytest.approx(together.mean())
    parts = [tensor_stats(a)["entropy"] * 3, tensor_stats(b)["entropy"] * 2]
    assert found["entropy"] == pytest.approx(sum(parts) / 5)
    assert found["shape"] == (2, 3, 6)


@pytest.mark.parametrize("dtype", ["float16", "int8", "bool"])
def test_narrow_types_are_widened(dtype: str) -> None:
    """Sums of halves, bytes and booleans do not overflow."""
    x = np.full((300, 300), 1).astype(dtype)
    found = tensor_stats(x)
    assert (found["mean"], found["norm"]) == (1, pytest.approx(300))


def test_what_is_not_a_tensor_of_numbers_is_named() -> None:
    """Texts, complex numbers and a negative threshold are errors that say so."""
    with pytest.raises(StratascopeError, match="real numbers, got complex128 of shape"):
        tensor_stats(np.ones(3) * 1j)
    with pytest.raises(StratascopeError, match="real numbers, got <U1"):
        tensor_stats(["a", "b"])
    with pytest.raises(StratascopeError, match="threshold: must be 0 or more"):
        tensor_stats([1.0], threshold=-1)
