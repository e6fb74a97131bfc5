from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
import pytest

from stratascope.measure.summary import SUMMARY_COLUMNS, summarise


def test_summary_against_the_standard_library() -> None:
    """Each column equals what ``statistics`` and plain loops give over the measured layers."""
    rng = np.random.default_rng(0)
    layers = [0, 3, 7, 8, 30]
    values = {name: rng.normal(size=(2, 3, 5)) for name in ("cosine", "MAE", "overlap")}
    gap = (1, 2, 3)
    for array in values.values():
        array[gap] = np.nan
    result = summarise(values["cosine"], values["MAE"], values["overlap"], layers)
    assert tuple(result) == SUMMARY_COLUMNS
    for at in np.ndindex(2, 3):
        for name, array in values.items():
            there = [
                (x, layer) for x, layer in zip(array[at].tolist(), layers, strict=True) if x == x
            ]
            plain = [x for x, _ in there]
            assert result[f"mean_{name}"][at] == pytest.approx(statistics.fmean(plain))
            assert result[f"std_{name}"][at] == pytest.approx(statistics.pstdev(plain))
            assert result[f"median_{name}"][at] == pytest.approx(statistics.median(plain))
            if name != "MAE":
                assert result[f"min_{name}"][at] == min(plain)
        assert result["most_divergent_layer"][at] == _layer(values["cosine"][at], layers, min)
        assert result["max_MAE_layer"][at] == _layer(values["MAE"][at], layers, max)
        assert result["min_overlap_layer"][at] == _layer(values["overlap"][at], layers, min)


def _layer(values: np.ndarray, layers: list[int], pick: Callable[..., tuple[float, int]]) -> int:
    there = [(x, -layer) for x, layer in zip(values.tolist(), layers, strict=True) if x == x]
    return -pick(there)[1]


@pytest.mark.filterwarnings("error")
def test_nothing_measured_is_nan_without_a_warning() -> None:
    """Where no layer was measured, or there is no layer, every column is NaN."""
    for count in (3, 0):
        gap = np.full((2, count), np.nan)
        for column in summarise(gap, gap, gap, list(range(count))).values():
            assert column.shape == (2,)
            assert np.isnan(column).all()


def test_of_equal_values_the_first_layer_counts() -> None:
    """Ties give one answer, whatever the platform."""
    same = np.ones((1, 3))
    result = summarise(same, same, same, [4, 5, 6])
    layers = ("most_divergent_layer", "max_MAE_layer", "min_overlap_layer")
    assert [result[name][0] for name in layers] == [4, 4, 4]
