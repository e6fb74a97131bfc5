"""Linear CKA from the features' side: d x d cross-products, no n x n matrix.

With centred features, K = XX' and L = YY' have ``<K, L> = |X'Y|_F^2`` and rows that sum to 0, so
both HSICs need only that number and the diagonals k, l:

    biased    |X'Y|_F^2
    unbiased  |X'Y|_F^2 - n/(n-2) k.l + (1.k)(1.l) / ((n-1)(n-2))    (times n(n-3))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from stratascope.measure.metrics import BoolArray, FloatArray
from stratascope.measure.similarity.features import Layer, UndefinedError
from stratascope.measure.similarity.forms import Form, Workers
from stratascope.measure.similarity.pairs import Selection

# What cancellation leaves of the unbiased HSIC of a layer with itself where it is 0.
_NOTHING = 1e-13


@dataclass(frozen=True)
class Columns:
    """Centred features ``(n, d)``, the squares of their rows ``(n,)``, and ``sqrt(HSIC)``."""

    name: str
    values: FloatArray
    squares: FloatArray
    size: float = 1.0

    @classmethod
    def of(cls, name: str, values: FloatArray) -> Columns:
        """Features with their columns centred."""
        rest = values - values.mean(axis=0)
        return cls(name, rest, np.einsum("nd,nd->n", rest, rest))

    def part(self, selection: Selection) -> Columns:
        """Some of the texts."""
        return Columns.of(self.name, self.values[selection.rows])


def hsic(cross: FloatArray, a: FloatArray, b: FloatArray, debiased: bool) -> FloatArray:
    """HSIC, but for a factor of n, of all pairs of layers, ``(a, b)``.

    ``cross`` ``(a, b)`` holds ``|X'Y|_F^2``; ``a`` ``(a, n)`` and ``b`` ``(b, n)`` the squares of rows.
    """
    if not debiased:
        return cross
    n = a.shape[1]
    sums = np.outer(a.sum(axis=1), b.sum(axis=1))
    found: FloatArray = cross - n / (n - 2) * (a @ b.T) + sums / ((n - 1) * (n - 2))
    return found


def size_of(name: str, cross: float, squares: FloatArray, debiased: bool) -> float:
    """``sqrt(hsic)`` of a layer with itself. Raises UndefinedError where that is 0."""
    own = float(hsic(np.array([[cross]]), squares[None], squares[None], debiased)[0, 0])
    if own <= _NOTHING * cross:
        raise UndefinedError(f"{name}: all pairs of texts relate alike: nothing to compare")
    return float(np.sqrt(own))


def frobenius(x: FloatArray, y: FloatArray) -> float:
    """``|X'Y|_F^2``."""
    product = x.T @ y
    return float(np.einsum("ij,ij->", product, product))


def _prepare(layer: Layer) -> Columns:
    return Columns.of(layer.name, layer.read() - layer.mean())


def _finish(columns: Columns, debiased: bool) -> Columns:
    cross = frobenius(columns.values, columns.values)
    size = size_of(columns.name, cross, columns.squares, debiased)
    return Columns(columns.name, columns.values, columns.squares, size)


def _compare(
    a: Sequence[Columns],
    b: Sequence[Columns],
    wanted: BoolArray,
    order: Selection | None,
    workers: Workers,
    debiased: bool,
) -> FloatArray:
    rows = slice(None) if order is None else order.rows
    found = np.full(wanted.shape, np.nan)

    def column(j: int) -> None:
        values, squares = b[j].values[rows], b[j].squares[rows]
        for i in np.flatnonzero(wanted[:, j]).tolist():
            cross = np.array([[frobenius(a[i].values, values)]])
            both = hsic(cross, a[i].squares[None], squares[None], debiased)
            found[i, j] = both[0, 0] / (a[i].size * b[j].size)

    list(workers.each(column, range(len(b))))
    return found


def _form(debiased: bool) -> Form:
    return Form(
        _prepare,
        partial(_finish, debiased=debiased),
        partial(_compare, debiased=debiased),
        lambda n, width: 8 * n * width,
        low=-1.0 if debiased else 0.0,
    )


BIASED_NARROW = _form(debiased=False)
UNBIASED_NARROW = _form(debiased=True)
