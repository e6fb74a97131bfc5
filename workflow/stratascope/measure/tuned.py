"""A tuned lens that needs no gradients: one affine map a layer, from its states to the last layer's.

The maps are ridge regressions (Din et al., 2023, *Jump to Conclusions: Short-Cutting Transformers With
Linear Transformations*), shrunk towards leaving the state as it is, so that without data the tuned
lens is the plain one. Belrose et al. (2023) minimise the KL divergence itself, by gradient descent.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stratascope.measure.bootstrap import numbered

# How strongly a map is held to leaving the state as it is, in units of the states' mean variance.
STRENGTHS = tuple(10.0**power for power in range(-5, 3))
# The shares of texts that maps are fitted to, and that choose the strength; the rest is held out.
FITTED, CHOOSING = 0.6, 0.2


@dataclass(frozen=True)
class AffineMap:
    """``states @ weight.T + bias``: weight (hidden, hidden), bias (hidden,)."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """States (rows, hidden) as the last layer would have them."""
        return np.asarray(states @ self.weight.T + self.bias)


def maps(states: np.ndarray, last: np.ndarray) -> Iterator[tuple[float, AffineMap]]:
    """For each of `STRENGTHS` the map from ``states`` to ``last``, both (rows, hidden), in float64.

    It minimises the mean squared error plus strength times mean variance times the squared difference
    of its weight from the identity; the mean is not shrunk.
    """
    x, y = states.astype(np.float64), last.astype(np.float64)
    centre, target = x.mean(0), y.mean(0)
    x, moved = x - centre, (y - target) - (x - centre)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    values = np.maximum(values, 0)
    across = vectors.T @ (x.T @ moved / len(x))
    size = values.mean() or 1.0
    for strength in STRENGTHS:
        change = vectors @ (across / (values + strength * size)[:, None])
        weight = np.eye(len(values)) + change.T
        yield strength, AffineMap(weight, target - weight @ centre)


def three_parts(texts: Sequence[Hashable], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows that maps are fitted to, that choose the strength, and that are held out.

    Rows of one text (or group) stay together; which go where depends on ``seed`` alone.
    """
    codes = numbered(texts)
    count = int(codes.max(initial=-1)) + 1
    place = np.random.default_rng(seed).permutation(count)[codes] / max(1, count)
    return (
        np.flatnonzero(place < FITTED),
        np.flatnonzero((place >= FITTED) & (place < FITTED + CHOOSING)),
        np.flatnonzero(place >= FITTED + CHOOSING),
    )
