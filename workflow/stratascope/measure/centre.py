"""Centred states, and how similar unrelated states are.

In a residual stream a few huge dimensions are nearly the same in every state, so that raw
cosines are close to 1 whatever is compared. Removing a layer's mean over the states of a study
shows what differs; the background shows what cosine two unrelated states have anyway.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from stratascope.measure.metrics import FloatArray, missing, unit

MIN_STATES = 3
# States are stored in float32: what is left below this share of a state is rounding, not signal.
RESOLUTION = 1e-6
# A variance of cosines below this is what float64 leaves of equal values.
_VARIANCE_FLOOR = 1e-14


@dataclass(frozen=True)
class Background:
    """Cosines between states of different conversations.

    ``mean`` and ``std`` (ddof 0) are over ``pairs`` pairs of ``states`` states from
    ``conversations`` conversations. With one conversation there are no pairs: NaN and 0.
    """

    mean: float
    std: float
    pairs: int
    states: int
    conversations: int


def centre_of(states: FloatArray) -> FloatArray:
    """The mean state ``(n, H) -> (H,)`` over the rows without NaN.

    NaN with fewer than three such rows: two states minus their mean always point in opposite
    directions, which says nothing about them.
    """
    present = states[~missing(states)]
    if len(present) < MIN_STATES:
        return np.full(states.shape[1], np.nan)
    centre: FloatArray = present.mean(axis=0)
    return centre


def centred(states: FloatArray, centre: FloatArray) -> FloatArray:
    """States ``(..., H)`` minus ``centre`` ``(H,)``.

    What remains of a state that equals the centre to float32's resolution is rounding, with a
    random direction: such a row becomes the zero vector, whose cosines are NaN.
    """
    rest = states - centre
    size = np.linalg.norm(rest, axis=-1, keepdims=True)
    whole = np.linalg.norm(states, axis=-1, keepdims=True)
    return np.where(size <= RESOLUTION * whole, 0.0, rest)


def background(states: FloatArray, conversations: Sequence[Hashable]) -> Background:
    """The background of ``states`` ``(n, H)``, row ``i`` of conversation ``conversations[i]``.

    Rows with NaN or without direction are left out. The ``n x n`` matrix of cosines is only
    built where it is smaller than ``H x H``: with unit rows U, the cosines of all ordered pairs
    sum to ``|sum u|^2`` and their squares to ``||U'U||_F^2``; the pairs within a conversation
    are subtracted conversation by conversation.
    """
    members, groups = _grouped(states, conversations)
    total = _sums(members, members)
    within = _total(_sums(group, group) for group in groups.values())
    # Ordered pairs count every pair twice; the mean does not mind.
    return _background(total - within, 2, len(members), len(groups))


def cross_background(
    states_a: FloatArray,
    conversations_a: Sequence[Hashable],
    states_b: FloatArray,
    conversations_b: Sequence[Hashable],
) -> Background:
    """Cosines between states of set a and of set b that belong to different conversations.

    Two checkpoints' states of one scenario carry the same conversation, and are left out.
    """
    members_a, groups_a = _grouped(states_a, conversations_a)
    members_b, groups_b = _grouped(states_b, conversations_b)
    total = _sums(members_a, members_b)
    within = _total(_sums(groups_a[key], groups_b[key]) for key in groups_a if key in groups_b)
    return _background(
        total - within, 1, len(members_a) + len(members_b), len(groups_a.keys() | groups_b.keys())
    )


def _grouped(
    states: FloatArray, conversations: Sequence[Hashable]
) -> tuple[FloatArray, dict[Hashable, FloatArray]]:
    directions = unit(states)
    there = ~missing(directions)
    rows: dict[Hashable, list[int]] = {}
    for row in np.flatnonzero(there).tolist():
        rows.setdefault(conversations[row], []).append(row)
    return directions[there], {key: directions[index] for key, index in rows.items()}


def _sums(u: FloatArray, v: FloatArray) -> FloatArray:
    """Number, sum and sum of squares of the cosines of all pairs (row of u, row of v)."""
    if len(u) == 0 or len(v) == 0:
        return np.zeros(3)
    # min(n m H, (n + m) H^2): take the smaller of the cosines and the two feature Gram matrices.
    if len(u) * len(v) <= (len(u) + len(v)) * u.shape[1]:
        squares = np.square(u @ v.T).sum()
    else:
        gram = u.T @ u
        squares = (gram * (gram if u is v else v.T @ v)).sum()
    return np.array([len(u) * len(v), u.sum(axis=0) @ v.sum(axis=0), squares])


def _total(parts: Iterable[FloatArray]) -> FloatArray:
    total: FloatArray = np.sum([np.zeros(3), *parts], axis=0)
    return total


def _background(sums: FloatArray, repeats: int, states: int, conversations: int) -> Background:
    count = round(float(sums[0]))
    if count == 0:
        return Background(np.nan, np.nan, 0, states, conversations)
    mean = float(sums[1]) / count
    variance = float(sums[2]) / count - mean**2
    std = float(np.sqrt(variance)) if variance > _VARIANCE_FLOOR else 0.0
    return Background(mean, std, count // repeats, states, conversations)
