"""How far apart two states are: cosine, MAE and overlap, row by row or for all pairs.

Every metric has two forms that agree to rounding: ``metric(a, b)`` over the last axis with
broadcasting, ``(..., H), (..., H) -> (...)``, and ``metric_pairs(a, b)``,
``(n, H), (m, H) -> (n, m)``. All computing is in float64. A row with a NaN is a state that was
not captured: whatever is measured on it is NaN. ``METRICS`` is the table to extend; tests take
each metric's range and invariances from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from stratascope.errors import StratascopeError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

Invariance = Literal[
    "rotation",  # one rotation applied to both states
    "positive_scaling",  # each state times its own positive number
    "joint_permutation",  # the same reordering of both states' dimensions
    "translation",  # one vector added to both states
    "swap",  # metric(a, b) == metric(b, a)
]


@dataclass(frozen=True)
class Metric:
    """A metric and what is known about it.

    ``low`` and ``high`` bound its values, ``same`` is its value on a state and itself,
    ``lower_is_closer`` tells a distance from a similarity, and ``invariances`` are complete:
    it changes under every other transformation named in ``Invariance``.
    """

    rowwise: Callable[[npt.ArrayLike, npt.ArrayLike], FloatArray]
    pairwise: Callable[[npt.ArrayLike, npt.ArrayLike], FloatArray]
    low: float
    high: float
    same: float
    lower_is_closer: bool
    invariances: frozenset[Invariance]


def cosine(a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    """Cosine similarity ``a.b / (|a| |b|)``, in [-1, 1], without unit.

    Invariant to a common rotation and to positive scaling of either state. NaN where a state has
    a NaN or is the zero vector, which has no direction. Raises StratascopeError if widths differ.
    """
    x, y = _checked(a, b)
    return _clip(np.einsum("...h,...h->...", unit(x), unit(y)))


def cosine_pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    """`cosine` of all pairs by one matrix product: ``(n, H), (m, H) -> (n, m)``."""
    x, y = _checked(a, b, matrices=True)
    return _clip(unit(x) @ unit(y).T)


def mae(a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    """Mean absolute difference ``mean |a - b|``, >= 0, in the states' own unit.

    Invariant to a common translation and a common reordering of dimensions, not to rotation or
    scaling. NaN where a state has a NaN. Raises StratascopeError if widths differ.
    """
    x, y = _checked(a, b)
    distance: FloatArray = np.abs(x - y).mean(axis=-1)
    return distance


def mae_pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    """`mae` of all pairs, ``(n, H), (m, H) -> (n, m)``, in memory of the order of ``n * m``."""
    from scipy.spatial.distance import cdist

    x, y = _checked(a, b, matrices=True)
    distance: FloatArray = cdist(x, y, "cityblock") / x.shape[1]
    return distance


def overlap(a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    """Jaccard index of the sets of the ``max(1, H // 100)`` largest ``|s|``, in [0, 1].

    Equal magnitudes are taken in the order of their dimensions, so that the value is defined for
    every state, the zero vector included. Invariant to positive scaling and, where no magnitudes
    tie, to a common reordering of dimensions. NaN where a state has a NaN. Raises
    StratascopeError if widths differ.
    """
    x, y = _checked(a, b)
    shared = (top_set(x) & top_set(y)).sum(axis=-1)
    return _jaccard(shared, x.shape[-1], missing(x) | missing(y))


def overlap_pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    """`overlap` of all pairs, ``(n, H), (m, H) -> (n, m)``: set sizes by one exact product."""
    x, y = _checked(a, b, matrices=True)
    first, second = top_set(x), top_set(y)
    used = first.any(axis=0) & second.any(axis=0)
    shared = first[:, used].astype(np.float64) @ second[:, used].astype(np.float64).T
    return _jaccard(shared, x.shape[1], missing(x)[:, None] | missing(y)[None, :])


METRICS: dict[str, Metric] = {
    "cosine": Metric(
        cosine, cosine_pairs, -1.0, 1.0, 1.0, False,
        frozenset({"rotation", "positive_scaling", "joint_permutation", "swap"}),
    ),
    "MAE": Metric(
        mae, mae_pairs, 0.0, np.inf, 0.0, True,
        frozenset({"joint_permutation", "translation", "swap"}),
    ),
    "overlap": Metric(
        overlap, overlap_pairs, 0.0, 1.0, 1.0, False,
        frozenset({"positive_scaling", "joint_permutation", "swap"}),
    ),
}  # fmt: skip


def unit(states: npt.ArrayLike) -> FloatArray:
    """States ``(..., H)`` divided by their Euclidean norms; a zero vector becomes NaN."""
    x = np.asarray(states, dtype=np.float64)
    # Dividing by the largest magnitude first keeps the squares from overflowing or vanishing.
    largest = np.abs(x).max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = x / largest
        unit_states: FloatArray = scaled / np.linalg.norm(scaled, axis=-1, keepdims=True)
    return unit_states


def top_set(states: npt.ArrayLike) -> BoolArray:
    """Which dimensions are among the ``max(1, H // 100)`` largest ``|s|``: ``(..., H)`` of bool.

    Exactly that many are true in each row without NaN; of equal magnitudes, the first ones.
    """
    size = np.abs(np.asarray(states, dtype=np.float64))
    count = top_count(size.shape[-1])
    threshold = np.partition(size, -count, axis=-1)[..., -count, None]
    above = size > threshold
    tied = size == threshold
    room = count - above.sum(axis=-1, keepdims=True)
    chosen: BoolArray = above | (tied & (np.cumsum(tied, axis=-1, dtype=np.int32) <= room))
    return chosen


def missing(states: FloatArray) -> BoolArray:
    """Which states ``(..., H)`` were not captured: those with a NaN, ``(...)`` of bool."""
    return np.asarray(np.isnan(states).any(axis=-1))


def top_count(width: int) -> int:
    """How many dimensions of ``width`` the overlap looks at: one in a hundred, at least one."""
    return max(1, width // 100)


def _jaccard(shared: npt.NDArray[np.generic], width: int, without: BoolArray) -> FloatArray:
    count = np.asarray(shared, dtype=np.float64)
    return np.where(without, np.nan, count / (2 * top_count(width) - count))


def _clip(values: FloatArray) -> FloatArray:
    return np.clip(values, -1.0, 1.0)


def _checked(
    a: npt.ArrayLike, b: npt.ArrayLike, matrices: bool = False
) -> tuple[FloatArray, FloatArray]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if matrices and (x.ndim != 2 or y.ndim != 2):
        raise StratascopeError(
            f"all pairs need two matrices (states, hidden), got shapes {x.shape} and {y.shape}"
        )
    if x.ndim == 0 or y.ndim == 0 or x.shape[-1] != y.shape[-1] or x.shape[-1] == 0:
        raise StratascopeError(
            "states to compare need the same hidden size (last axis, at least 1), "
            f"got shapes {x.shape} and {y.shape}"
        )
    return x, y
