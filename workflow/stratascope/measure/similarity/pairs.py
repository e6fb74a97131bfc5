"""How texts relate to one another within a layer: a number for each pair of texts.

CKA, RSA and nearest neighbours compare two layers by such relations, of n(n - 1)/2 pairs, so that
layers may differ in width. A relation is built once a layer; another order of the texts, or a part
of them, only picks among its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.similarity.features import Layer, UndefinedError, blocks

_ROWS = 512


@dataclass(frozen=True)
class Selection:
    """Some of ``n`` texts, or all of them in another order: ``rows`` has no number twice."""

    n: int
    rows: IntArray

    @cached_property
    def pairs(self) -> IntArray:
        """Where the pairs of the selected texts stand among the pairs of all."""
        from scipy.spatial.distance import squareform

        low = np.minimum(self.rows[:, None], self.rows)
        high = np.maximum(self.rows[:, None], self.rows)
        place = low * (2 * self.n - low - 3) // 2 + high - 1
        found: IntArray = squareform(place, checks=False)
        return found


@dataclass(frozen=True)
class Relation:
    """How two texts relate: a function of inner products of one vector a text.

    ``vectors`` makes those of a block of rows, given the mean over all texts; a row of NaN is a
    text that has none, for the reason ``without``. ``distances`` says that what is needed are
    squared Euclidean distances, and ``link`` then makes them numbers, given their scale, which
    ``scale`` finds among those of all pairs.
    """

    vectors: Callable[[FloatArray, FloatArray], FloatArray]
    without: str = ""
    scale: Callable[[FloatArray], float] | None = None
    link: Callable[[FloatArray, float], FloatArray] | None = None

    def of(self, layer: Layer, mean: FloatArray, rows: slice) -> FloatArray:
        """The vectors of some rows of a layer. Raises UndefinedError where a text has none."""
        vectors = self.vectors(layer.read(rows), mean)
        lacking = np.flatnonzero(np.isnan(vectors[:, 0]))
        if len(lacking):
            raise UndefinedError(f"{layer.name}: row {rows.start + lacking[0]} {self.without}")
        return vectors

    def between(
        self, u: FloatArray, v: FloatArray, squares_u: FloatArray, squares_v: FloatArray
    ) -> FloatArray:
        """All pairs of vectors ``(p, d), (q, d) -> (p, q)``, before ``link``."""
        products = u @ v.T
        if self.link is None:
            return products
        products *= -2
        products += squares_u[:, None]
        products += squares_v
        return np.maximum(products, 0.0, out=products)


@dataclass(frozen=True)
class Pairs:
    """A relation of n texts: ``values`` (n(n - 1)/2,) of pairs i < j in order, ``diagonal`` (n,)."""

    name: str
    values: FloatArray
    diagonal: FloatArray
    scale: float = 1.0

    def sums(self) -> FloatArray:
        """Of each text's relations to the others, (n,)."""
        from scipy.spatial.distance import squareform

        found: FloatArray = squareform(self.values).sum(axis=1)
        return found

    def part(self, selection: Selection) -> Pairs:
        """The relation of some of the texts."""
        return Pairs(
            self.name, self.values[selection.pairs], self.diagonal[selection.rows], self.scale
        )


def related(layer: Layer, relation: Relation) -> Pairs:
    """The relation of all pairs of a layer's texts, in memory of n^2/2 + n d numbers."""
    mean = layer.mean()
    vectors = relation.of(layer, mean, slice(0, layer.n))
    squares = np.einsum("nd,nd->n", vectors, vectors)
    values = np.empty(layer.n * (layer.n - 1) // 2)
    end = 0
    for rows in blocks(layer.n, _ROWS):
        block = relation.between(
            vectors[rows], vectors[rows.start :], squares[rows], squares[rows.start :]
        )
        for i, row in enumerate(block):
            start, end = end, end + len(row) - i - 1
            values[start:end] = row[i + 1 :]
    if relation.scale is None or relation.link is None:
        return Pairs(layer.name, values, squares)
    scale = relation.scale(values)
    if scale <= 0:
        raise UndefinedError(
            f"{layer.name}: half of all pairs of texts have the same features: no bandwidth"
        )
    return Pairs(layer.name, relation.link(values, scale), np.ones(layer.n), scale)


def _from_mean(block: FloatArray, mean: FloatArray) -> FloatArray:
    return block - mean


def _unit(block: FloatArray, mean: FloatArray) -> FloatArray:
    largest = np.abs(block).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = block / largest
        unit: FloatArray = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    return unit


def _standard(block: FloatArray, mean: FloatArray) -> FloatArray:
    rest = block - block.mean(axis=1, keepdims=True)
    size = np.abs(block).max(axis=1, keepdims=True)
    # What is left of equal numbers is rounding.
    return _unit(np.where(np.abs(rest).max(axis=1, keepdims=True) <= 1e-14 * size, 0.0, rest), mean)


LINEAR = Relation(_from_mean)
COSINE = Relation(_unit, "is the zero vector, which has no direction")
CORRELATION = Relation(_standard, "has the same number in every feature, so it has no correlation")


def gaussian(fraction: float) -> Relation:
    """``exp(-|x - y|^2 / (2 s^2))``, s the ``fraction`` of the median distance of two texts."""

    def scale(squared: FloatArray) -> float:
        return fraction * float(np.median(np.sqrt(squared)))

    def link(squared: FloatArray, width: float) -> FloatArray:
        squared /= -2 * width**2
        return np.exp(squared, out=squared)

    return Relation(_from_mean, scale=scale, link=link)
