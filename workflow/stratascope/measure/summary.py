"""One row for many layers: the summary columns of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stratascope.measure.metrics import FloatArray

SUMMARY_COLUMNS = (
    "mean_cosine", "std_cosine", "median_cosine", "min_cosine", "most_divergent_layer",
    "mean_MAE", "std_MAE", "median_MAE", "max_MAE_layer",
    "mean_overlap", "std_overlap", "median_overlap", "min_overlap", "min_overlap_layer",
)  # fmt: skip


def summarise(
    cosine: FloatArray, mae: FloatArray, overlap: FloatArray, layers: Sequence[int]
) -> dict[str, FloatArray]:
    """`SUMMARY_COLUMNS` over the last axis: arrays ``(..., L)`` and L layer numbers -> ``(...)``.

    Standard deviations have ddof 0. The layer columns hold layer numbers, not places in
    ``layers``; of equal values the first layer counts. NaN is a layer that was not measured and
    is left out; where no layer was measured every column is NaN.
    """
    numbers = np.asarray(layers, dtype=np.float64)
    return {
        **_spread("cosine", cosine),
        "min_cosine": _reduce(np.nanmin, cosine),
        "most_divergent_layer": _layer_of_least(cosine, numbers),
        **_spread("MAE", mae),
        "max_MAE_layer": _layer_of_least(-mae, numbers),
        **_spread("overlap", overlap),
        "min_overlap": _reduce(np.nanmin, overlap),
        "min_overlap_layer": _layer_of_least(overlap, numbers),
    }


def layer_mean(values: FloatArray) -> FloatArray:
    """The mean over the last axis of what is not NaN; NaN where nothing is."""
    return _reduce(np.nanmean, values)


def _spread(name: str, values: FloatArray) -> dict[str, FloatArray]:
    return {
        f"mean_{name}": layer_mean(values),
        f"std_{name}": _reduce(np.nanstd, values),
        f"median_{name}": _reduce(np.nanmedian, values),
    }


def _reduce(function: Callable[..., FloatArray], values: FloatArray) -> FloatArray:
    """``function`` over the last axis, without NumPy's warning where all of it is NaN."""
    empty = np.asarray(np.isnan(values).all(axis=-1))
    if values.shape[-1] == 0:
        return np.full(empty.shape, np.nan)
    reduced = function(np.where(empty[..., None], 0.0, values), axis=-1)
    return np.where(empty, np.nan, reduced)


def _layer_of_least(values: FloatArray, numbers: FloatArray) -> FloatArray:
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan)
    place = np.where(np.isnan(values), np.inf, values).argmin(axis=-1)
    return np.where(np.isnan(values).all(axis=-1), np.nan, numbers[place])
