"""Whether texts have the same neighbours in two layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from stratascope.measure.metrics import BoolArray, FloatArray, IntArray
from stratascope.measure.similarity.forms import Form, Workers, value_of
from stratascope.measure.similarity.kernels import pair_bytes
from stratascope.measure.similarity.pairs import COSINE, Pairs, Selection, related

NEIGHBOURS = 10
# Cosines that agree to this many decimals are ties.
_DECIMALS = 12


def mutual_knn(x: npt.ArrayLike, y: npt.ArrayLike, k: int = NEIGHBOURS) -> float:
    """Mutual k-nearest-neighbour overlap of X (n, d1) and Y (n, d2), in [0, 1]; 1 on itself.

    The share of a text's ``k`` nearest other texts, by cosine, that are among its ``k`` nearest on
    both sides; mean over texts. Unrelated features give k / (n - 1). Of equal cosines (to 12
    decimals) the earlier text is nearer. Unchanged by orthogonal maps and isotropic scaling of
    either side, not by translation: cosines are taken of features as they are. n >= k + 2, since
    with k = n - 1 every other text is a neighbour.

    Source: Huh et al. 2024, The Platonic Representation Hypothesis, ICML. Raises StratascopeError
    for other shapes, NaN, features that do not vary, or a text whose features are all 0.
    """
    return value_of(_form(k), x, y, k + 2)


@dataclass(frozen=True)
class _Neighbours:
    """``near`` (n, k): each text's neighbours. ``is_near`` (n, n)."""

    near: IntArray
    is_near: BoolArray


def _nearest(pairs: Pairs, k: int) -> _Neighbours:
    from scipy.spatial.distance import squareform

    cosines = np.round(squareform(pairs.values), _DECIMALS)
    np.fill_diagonal(cosines, -np.inf)
    near = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    is_near = np.zeros(cosines.shape, np.bool_)
    np.put_along_axis(is_near, near, True, axis=1)
    return _Neighbours(near, is_near)


def _shares(
    a: Sequence[_Neighbours],
    b: Sequence[_Neighbours],
    wanted: BoolArray,
    order: Selection | None,
    workers: Workers,
) -> FloatArray:
    n = len(a[0].near)
    rows = np.arange(n) if order is None else order.rows
    place = np.empty_like(rows)
    place[rows] = np.arange(n)

    found = np.full(wanted.shape, np.nan)

    def column(j: int) -> None:
        # Text i is now what text rows[i] was, and so are its neighbours.
        near = place[b[j].near[rows]]
        for i in np.flatnonzero(wanted[:, j]).tolist():
            found[i, j] = np.take_along_axis(a[i].is_near, near, axis=1).mean()

    list(workers.each(column, range(len(b))))
    return found


def _form(k: int) -> Form:
    prepare = partial(related, relation=COSINE)
    return Form(prepare, partial(_nearest, k=k), _shares, pair_bytes, low=0.0)


MUTUAL_KNN = _form(NEIGHBOURS)
