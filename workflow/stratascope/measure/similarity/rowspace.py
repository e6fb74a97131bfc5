"""Similarity of the spaces that two layers span over the texts: CCA's and Procrustes'.

A layer is decomposed once, ``Xc = U S V'``. Two layers then meet in ``U_x'U_y``, no larger than
their ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stratascope.measure.metrics import BoolArray, FloatArray
from stratascope.measure.similarity.features import Layer, UndefinedError
from stratascope.measure.similarity.forms import Form, Workers, value_of
from stratascope.measure.similarity.pairs import Selection

VARIANCE = 0.99
# Directions with correlations this close to 1 are shared: their order is rounding's.
_SHARED = 1e-9


@dataclass(frozen=True)
class RowSpace:
    """Centred features as ``u * s @ vt``: u ``(n, r)``, s ``(r,)`` descending, vt ``(r, d)``.

    Singular values below ``max(n, d) eps s[0]`` are rounding and left out, as in `numpy.linalg.
    matrix_rank`. Those up to ``floor`` may be rounding of the numbers as they were stored.
    """

    name: str
    u: FloatArray
    s: FloatArray
    vt: FloatArray
    floor: float

    def part(self, selection: Selection) -> RowSpace:
        """The decomposition of some of the texts, from that of all."""
        found = _decomposed(self.name, (self.u * self.s)[selection.rows], self.floor)
        return replace(found, vt=found.vt @ self.vt)


def svcca(x: npt.ArrayLike, y: npt.ArrayLike, variance: float = VARIANCE) -> float:
    """Singular vector CCA of X (n, d1) and Y (n, d2), in [0, 1]; 1 on itself.

    Each side is centred and reduced to its largest principal directions that hold ``variance`` of
    it; the value is the mean of the canonical correlations, as many as the smaller side has
    directions. Unchanged by orthogonal maps, isotropic scaling and translation of either side.
    Biased upwards on few texts: 1 where they are no more than one side's directions. n >= 3.

    Source: Raghu et al. 2017, SVCCA, NeurIPS. Raises StratascopeError for other shapes, NaN, or
    features that do not vary.
    """
    return value_of(_form(lambda space: _principal(space, variance), _mean_correlation), x, y, 3)


def pwcca(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Projection weighted CCA of X (n, d1) and Y (n, d2), in [0, 1]; 1 on itself. Not symmetric.

    The canonical correlations' mean with weights ``a_i = sum_j |h_i.x_j|``: how much of the columns
    x_j of X its i-th canonical vector h_i (of length 1) holds. Unchanged by invertible linear maps
    of Y, by isotropic scaling, reordering of features and translation of either side; a rotation
    of X changes the columns that the weights look at. Where the ranks of both sides add up to n or
    more, they share directions whatever they hold, with correlations of 1 and any basis: then the
    principal axes of X within what is shared are its h_i. 1 where a side's rank is n - 1. Of
    features in float32, directions with singular values below 1.2e-7 ``|X|_F / sqrt(min(n, d))``
    are rounding and left out. n >= 3.

    Source: Morcos et al. 2018, Insights on representational similarity in neural networks with
    canonical correlation, NeurIPS. Raises StratascopeError as `svcca`.
    """
    return value_of(PWCCA, x, y, 3)


def procrustes(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Orthogonal Procrustes distance of X (n, d1) and Y (n, d2), in [0, 2]; 0 on itself.

    ``|A|_F^2 + |B|_F^2 - 2 |A'B|_*`` of the centred features scaled to norm 1: what the best
    rotation of one onto the other leaves, squared. ``1 - value / 2`` is the similarity ``|A'B|_*``.
    Unchanged by orthogonal maps, isotropic scaling and translation of either side. Widths may
    differ, as if the narrower had columns of zeros. n >= 3.

    Source: Ding et al. 2021, Grounding Representation Similarity Through Statistical Testing,
    NeurIPS. Raises StratascopeError as `svcca`.
    """
    return value_of(PROCRUSTES, x, y, 3)


def angular(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Angular Procrustes distance of X (n, d1) and Y (n, d2), in [0, pi/2] radians; 0 on itself.

    ``arccos |A'B|_*`` with A and B as in `procrustes`: a metric, as Procrustes' square root is.
    Invariances and errors as there. The arc cosine makes rounding of 1e-16 an angle of 1e-8. n >= 3.

    Source: Williams et al. 2021, Generalized Shape Metrics on Neural Representations, NeurIPS.
    """
    return value_of(ANGULAR, x, y, 3)


def _decomposed(name: str, values: FloatArray, floor: float) -> RowSpace:
    u, s, vt = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    kept = int((s > max(values.shape) * np.finfo(np.float64).eps * s[0]).sum())
    if kept == 0:
        raise UndefinedError(f"{name}: all texts have the same features: nothing varies")
    return RowSpace(name, u[:, :kept], s[:kept], vt[:kept], floor)


def _prepare(layer: Layer) -> RowSpace:
    layer.mean()
    values = layer.read()
    # The norm of a random matrix with entries as large as the rounding of these.
    floor = layer.stored * float(np.linalg.norm(values)) / np.sqrt(min(values.shape))
    return _decomposed(layer.name, values, floor)


def _first(space: RowSpace, count: int) -> RowSpace:
    return replace(space, u=space.u[:, :count], s=space.s[:count], vt=space.vt[:count])


def _principal(space: RowSpace, variance: float) -> RowSpace:
    share = np.cumsum(space.s**2) / np.sum(space.s**2)
    return _first(space, int(np.searchsorted(share, variance)) + 1)


def _of_rank(space: RowSpace) -> RowSpace:
    return _first(space, max(1, int((space.s > space.floor).sum())))


def _of_norm_one(space: RowSpace) -> RowSpace:
    return replace(space, s=space.s / np.linalg.norm(space.s))


def _correlations(a: RowSpace, b: RowSpace) -> FloatArray:
    return np.asarray(np.minimum(np.linalg.svd(a.u.T @ b.u, compute_uv=False), 1.0))


def _mean_correlation(a: RowSpace, b: RowSpace) -> float:
    return float(_correlations(a, b).mean())


def _weighted_correlation(a: RowSpace, b: RowSpace) -> float:
    w, correlations, _ = np.linalg.svd(a.u.T @ b.u, full_matrices=False)
    # (c, d): the inner products of canonical vectors with the columns of X.
    held = w.T @ (a.s[:, None] * a.vt)
    shared = correlations > 1 - _SHARED
    if shared.any():
        held[shared] = _on_own_axes(held[shared])
    weights = np.abs(held).sum(axis=1)
    return float(weights @ np.minimum(correlations, 1.0) / weights.sum())


def _on_own_axes(held: FloatArray) -> FloatArray:
    _, s, vt = np.linalg.svd(held, full_matrices=False)
    axes: FloatArray = s[:, None] * vt
    return axes


def _nuclear(a: RowSpace, b: RowSpace) -> float:
    return float(np.linalg.svd((a.u * a.s).T @ (b.u * b.s), compute_uv=False).sum())


def _distance(a: RowSpace, b: RowSpace) -> float:
    return 2 - 2 * _nuclear(a, b)


def _angle(a: RowSpace, b: RowSpace) -> float:
    return float(np.arccos(np.clip(_nuclear(a, b), 0.0, 1.0)))


def _form(
    finish: Callable[[RowSpace], RowSpace],
    value: Callable[[RowSpace, RowSpace], float],
    high: float = 1.0,
) -> Form:
    def compare(
        a: Sequence[RowSpace],
        b: Sequence[RowSpace],
        wanted: BoolArray,
        order: Selection | None,
        workers: Workers,
    ) -> FloatArray:
        turned = b if order is None else [replace(side, u=side.u[order.rows]) for side in b]
        places = np.argwhere(wanted)
        found = np.full(wanted.shape, np.nan)
        values = workers.each(lambda place: value(a[place[0]], turned[place[1]]), list(places))
        for (i, j), number in zip(places, values, strict=True):
            found[i, j] = number
        return found

    return Form(_prepare, finish, compare, _space_bytes, low=0.0, high=high)


def _space_bytes(n: int, width: int) -> int:
    return 8 * (n + width) * min(n, width)


SVCCA = _form(lambda space: _principal(space, VARIANCE), _mean_correlation)
PWCCA = _form(_of_rank, _weighted_correlation)
PROCRUSTES = _form(_of_norm_one, _distance, high=2.0)
ANGULAR = _form(_of_norm_one, _angle, high=np.pi / 2)
