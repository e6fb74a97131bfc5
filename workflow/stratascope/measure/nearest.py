"""Is one reference the nearest to everything, more often than its geometry makes it?

Some reference is always nearest, and messages that share a direction share their nearest reference,
whichever it is: with raw cosines one reference often wins every message. A reference in the
middle of the others is near to more messages, too. So a share is held against references with the
same angles among one another that point elsewhere in the messages' own space.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from stratascope.measure.bootstrap import numbered
from stratascope.measure.centre import RESOLUTION
from stratascope.measure.metrics import BoolArray, FloatArray, missing, unit

# Of draws, the data included.
DRAWS = 1000
# So many messages, of whole conversations, take part in the null.
MOST = 150


def some_conversations(conversations: Sequence[Hashable], seed: int, most: int = MOST) -> list[int]:
    """The rows of randomly chosen whole conversations, ``most`` rows unless two have more."""
    codes = numbered(conversations)
    order = np.random.default_rng(seed).permutation(int(codes.max(initial=-1)) + 1)
    sizes = np.bincount(codes, minlength=len(order))[order]
    count = max(2, int((np.cumsum(sizes) <= most).sum()))
    return np.flatnonzero(np.isin(codes, order[:count])).tolist()


def combinations(messages: int, references: int, seed: int, draws: int = DRAWS) -> FloatArray:
    """Gaussian weights of messages in k random directions: ``(draws - 1, k, n)``."""
    return np.random.default_rng(seed).standard_normal((draws - 1, references, messages))


def turned_cosines(states: FloatArray, references: FloatArray, weights: FloatArray) -> FloatArray:
    """Cosines of messages ``(n, H)`` with references ``(k, H)`` turned elsewhere: ``(b, n, k)``.

    The references are turned as one rigid body, so that the angles among them stay, to axes made
    from random combinations of messages (``weights`` ``(b, k, n)``): directions with the messages'
    own covariance. Combinations become orthonormal axes, and references coordinates on them, by
    symmetric square roots (Löwdin, Journal of Chemical Physics 18, 1950), which treat all k alike.
    The same weights at every layer are the same combinations of messages, so that cosines may be
    averaged over layers. NaN for messages without direction or captured state, and all of it if the
    messages span fewer directions than there are references.
    """
    there = np.isfinite(unit(states)).all(axis=1, keepdims=True)
    # Everything happens in the span of the messages, which has few dimensions.
    left, sizes, _ = np.linalg.svd(np.where(there, states, 0.0), full_matrices=False)
    coordinates = np.where(there, left * sizes, 0.0)
    goals = unit(references)
    rank = int((sizes > RESOLUTION * sizes.max(initial=0.0)).sum())
    if rank < len(references) or missing(goals).any():
        return np.full((len(weights), len(states), len(references)), np.nan)
    combined = weights @ coordinates
    axes = _power(combined @ combined.transpose(0, 2, 1), -0.5) @ combined
    turned = _power(goals @ goals.T, 0.5) @ axes
    return np.asarray(unit(coordinates) @ turned.transpose(0, 2, 1))


def shares(cosines: FloatArray, counted: BoolArray) -> FloatArray:
    """How often each reference is the most similar: ``(b, n, k), (n, k) -> (b, k)``, in [0, 1].

    ``counted`` says which messages count for which reference. Of equal cosines the first wins.
    Messages with a NaN do not count; NaN where none counts.
    """
    known = np.isfinite(cosines).all(axis=2, keepdims=True)
    nearest = np.where(known, cosines, 0.0).argmax(axis=2)
    counts = known & counted
    won = (nearest[..., None] == np.arange(cosines.shape[2])) & counts
    total = counts.sum(axis=1)
    return np.asarray(np.where(total > 0, won.sum(axis=1) / np.maximum(total, 1), np.nan))


def layer_average(parts: Iterable[FloatArray]) -> FloatArray:
    """The mean over layers of equal arrays, each entry over the layers where it is not NaN."""
    total: FloatArray | float = 0.0
    count: FloatArray | float = 0.0
    for part in parts:
        total = total + np.where(np.isnan(part), 0.0, part)
        count = count + ~np.isnan(part)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _power(matrices: FloatArray, exponent: float) -> FloatArray:
    """A power of symmetric matrices ``(..., k, k)`` with no negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrices)
    # Rounding may leave a zero below zero.
    least = np.finfo(np.float64).eps * values[..., -1:]
    powers = np.maximum(values, least) ** exponent
    return np.asarray((vectors * powers[..., None, :]) @ np.swapaxes(vectors, -1, -2))
