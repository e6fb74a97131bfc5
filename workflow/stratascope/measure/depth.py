"""How alike the layers are within one sequence, and what two sequences have in common layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import METRICS, FloatArray, unit
from stratascope.measure.similarity import compare_layers

CKA = "linear_cka_debiased"
# Debiased CKA divides by n - 3.
LEAST_TOKENS = 4


@dataclass(frozen=True)
class CrossLayer:
    """All pairs of layers, (layers, layers) each, over ``n`` tokens.

    ``cosine`` is the mean over tokens of the cosine between a token's states at both layers,
    ``centred`` the same after taking away each layer's mean over the tokens, ``cka`` debiased linear
    CKA over the tokens; NaN where it is not defined.
    """

    cosine: FloatArray
    centred: FloatArray
    cka: FloatArray
    n: int


def cross_layer(layers: Sequence[FloatArray]) -> CrossLayer:
    """Compare the states ``(tokens, width)`` of each layer with those of every other.

    Cosines are in [-1, 1] and ask whether directions stay; CKA is at most 1, blind to rotation, and
    asks whether tokens relate to each other alike. Centred ones need two tokens, CKA four. The first
    token is often an outlier of huge norm (Sun et al. 2024), which centring spreads over all others:
    leave it out where that matters. Raises StratascopeError for layers of different shapes.
    """
    if len({np.shape(layer) for layer in layers}) > 1:
        shapes = ", ".join(str(np.shape(layer)) for layer in layers)
        raise StratascopeError(f"layers to compare differ in shape: {shapes}")
    states = np.stack([np.asarray(layer, dtype=np.float64) for layer in layers])
    n = states.shape[1]
    missing = np.full((len(states), len(states)), np.nan)
    centred = states - states.mean(axis=1, keepdims=True)
    return CrossLayer(
        cosine=_cosines(states),
        centred=_cosines(centred) if n > 1 else missing,
        cka=_cka(states) if n >= LEAST_TOKENS else missing,
        n=n,
    )


def _cosines(states: FloatArray) -> FloatArray:
    """Mean over tokens, ``(layers, tokens, width) -> (layers, layers)``."""
    directions = unit(states)
    found: FloatArray = np.einsum("ath,bth->ab", directions, directions) / states.shape[1]
    return np.clip(found, -1.0, 1.0)


def _cka(states: FloatArray) -> FloatArray:
    named = {f"layer {i}": layer for i, layer in enumerate(states)}
    return np.asarray(compare_layers(named, None, [CKA], threads=1)[CKA].values)


def compare_states(a: FloatArray, b: FloatArray) -> dict[str, float]:
    """The means over rows of cosine, MAE and overlap of ``a`` and ``b``, both ``(rows, width)``."""
    return {name: float(np.mean(metric.rowwise(a, b))) for name, metric in METRICS.items()}
