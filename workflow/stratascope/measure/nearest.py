"""Is one reference the nearest to everything, more often than its geometry makes it?

Some reference is always nearest, and messages that share a direction share their nearest reference,
whichever it is: with raw cosines one reference often wins every message. A reference in the
middle of the others is near to more messages, too. So a share is held against references with the
same angles among one another that point elsewhere in the messages' own space.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from stratascope.measure.bootstrap import numbered
from stratascope.measure.centre import RESOLUTION
from stratascope.measure.metrics import BoolArray, FloatArray, missing, unit

# Of draws, the data included.
DRAWS = 2000
# So many messages, of whole conversations, take part in the null.
MOST = 150


@dataclass(frozen=True)
class Rotations:
    """Random directions for k references, from half of the conversations of n messages a draw.

    ``weights`` ``(b, k, n)`` are Gaussian on the messages of one half, 0 on the other; ``held``
    ``(b, n)`` marks the other half, whose messages have no part in the directions.
    """

    weights: FloatArray
    held: BoolArray


def some_conversations(conversations: Sequence[Hashable], seed: int, most: int = MOST) -> list[int]:
    """The rows of randomly chosen whole conversations, ``most`` rows unless two have more."""
    codes = numbered(conversations)
    order = np.random.default_rng(seed).permutation(int(codes.max(initial=-1)) + 1)
    sizes = np.bincount(codes, minlength=len(order))[order]
    count = max(2, int((np.cumsum(sizes) <= most).sum()))
    return np.flatnonzero(np.isin(codes, order[:count])).tolist()


def rotations(
    conversations: Sequence[Hashable], references: int, seed: int, draws: int = DRAWS
) -> Rotations | None:
    """Draws for messages ``(n,)`` of these conversations; None where no honest null can be drawn.

    That is with fewer than 2 references or conversations, or where a half may have fewer messages
    than there are references.
    """
    codes = numbered(conversations)
    clusters = int(codes.max(initial=-1)) + 1
    if references < 2 or clusters < 2:
        return None
    rng = np.random.default_rng(seed)
    first = np.zeros((draws - 1, clusters), dtype=bool)
    first[:, : (clusters + 1) // 2] = True
    chosen = rng.permuted(first, axis=1)[:, codes]
    if chosen.sum(axis=1).min(initial=len(codes)) < references:
        return None
    weights = rng.standard_normal((draws - 1, references, len(codes))) * chosen[:, None, :]
    return Rotations(weights, ~chosen)


def turned_cosines(states: FloatArray, references: FloatArray, draws: Rotations) -> FloatArray:
    """Cosines of messages ``(n, H)`` with references ``(k, H)`` turned elsewhere: ``(b, n, k)``.

    The references are turned as one rigid body, so that the angles among them stay, to axes made
    orthonormal from random combinations of messages: directions with the messages' own covariance
    (as in `discrimination.null_spread`). The same weights at every layer are the same combinations
    of messages, so that cosines may be averaged over layers. NaN for messages without direction or
    captured state, and all of it if the messages span fewer directions than there are references.
    """
    there = ~missing(unit(states))
    # Everything happens in the span of the messages, which has few dimensions.
    left, sizes, _ = np.linalg.svd(np.where(there[:, None], states, 0.0), full_matrices=False)
    coordinates = np.where(there[:, None], left * sizes, 0.0)
    goals = unit(references)
    rank = int((sizes > RESOLUTION * sizes.max(initial=0.0)).sum())
    if rank < len(references) or missing(goals).any():
        return np.full((len(draws.weights), len(states), len(references)), np.nan)
    r = np.linalg.qr(goals.T, mode="r")
    # With a positive diagonal the factors do not depend on the basis.
    shape = r.T * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    combined = draws.weights @ coordinates
    axes, upper = np.linalg.qr(combined.transpose(0, 2, 1))
    signs = np.where(np.diagonal(upper, axis1=1, axis2=2) < 0, -1.0, 1.0)
    turned = shape @ (axes * signs[:, None, :]).transpose(0, 2, 1)
    return np.asarray(unit(coordinates) @ turned.transpose(0, 2, 1))


def shares(cosines: FloatArray, counted: BoolArray) -> FloatArray:
    """How often each reference is the most similar: ``(b, n, k), (b, n, k) -> (b, k)``, in [0, 1].

    ``counted`` says which messages count for which reference. Of equal cosines the first wins.
    Messages with a NaN do not count; NaN where none counts.
    """
    known = ~np.isnan(cosines).any(axis=2)
    nearest = np.where(known[..., None], cosines, 0.0).argmax(axis=2)
    counted = counted & known[..., None]
    won = (nearest[..., None] == np.arange(cosines.shape[2])) & counted
    total = counted.sum(axis=1)
    return np.asarray(np.where(total > 0, won.sum(axis=1) / np.maximum(total, 1), np.nan))


def layer_average(parts: Iterable[FloatArray]) -> FloatArray:
    """The mean over layers of equal arrays, each entry over the layers where it is not NaN."""
    total: FloatArray | float = 0.0
    count: FloatArray | float = 0.0
    for part in parts:
        total = total + np.where(np.isnan(part), 0.0, part)
        count = count + ~np.isnan(part)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
