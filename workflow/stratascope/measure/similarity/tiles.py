"""Measures of many pairs of layers from the side of texts: n^2 d a layer, however many the pairs.

The relations of all layers are made tile by tile, a block of texts against a block of texts, and
centred. A tile of all layers is a matrix (layers, pairs of texts); its product with itself adds to
the inner products of all pairs of layers at once. No n x n matrix is held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from stratascope.measure.metrics import FloatArray
from stratascope.measure.similarity.features import Layer, UndefinedError, blocks
from stratascope.measure.similarity.forms import Centring, Workers
from stratascope.measure.similarity.kernels import pair_bytes
from stratascope.measure.similarity.pairs import Relation, related
from stratascope.measure.similarity.sides import Found, Sides, does_not_fit

_NOTHING = 1e-24
_ROWS = 1024
# Smaller tiles take ages; larger ones are no faster, and do more than the half of a symmetric matrix
# that is needed.
_TILES = 16, 512


def cost(sides: Sides) -> float:
    """Multiplications for all layers: each pair of texts once."""
    return sides.n**2 / 2 * sum(sides.layers[place].width for place in sides.used)


def from_texts(
    sides: Sides,
    relation: Relation,
    centrings: Mapping[str, Centring],
    memory: int,
    workers: Workers,
) -> dict[str, Found]:
    """The values of measures that are inner products of one relation, centred in different ways.

    Holds no more than ``memory`` bytes or so. A relation with a scale needs all pairs of one layer
    at a time, for their median: StratascopeError where these do not fit.
    """
    held = 4 * pair_bytes(sides.n, 0)
    if relation.link is not None and held > memory:
        raise does_not_fit(f"the median over pairs of {sides.n} texts", held, memory)

    def attempt(place: int) -> _Fit | str:
        try:
            return _fit(sides.layers[place], relation, centrings)
        except UndefinedError as error:
            return str(error)

    one_by_one = relation.link is not None and held * workers.threads > memory
    tried = list((Workers() if one_by_one else workers).each(attempt, sides.used))
    fits = {p: fit for p, fit in zip(sides.used, tried, strict=True) if isinstance(fit, _Fit)}
    undefined = {p: why for p, why in zip(sides.used, tried, strict=True) if isinstance(why, str)}
    sums = _Sums(relation, centrings, list(fits.values()))
    sums.add_all(_size(sides, len(centrings), memory), workers)
    places, count = list(fits), len(sides.layers)
    found = {}
    for name, cross in sums.cross.items():
        own = np.diagonal(cross)
        nothing = own <= _NOTHING * sums.raw
        size = np.sqrt(np.where(nothing, np.nan, own))
        values = np.full((count, count), np.nan)
        values[np.ix_(places, places)] = cross / size[:, None] / size
        alike = {
            place: f"{fits[place].layer.name}: all pairs of texts relate alike: nothing to compare"
            for place, flat in zip(places, nothing, strict=True)
            if flat
        }
        found[name] = Found(sides.matrix(values), undefined | alike)
    return found


@dataclass(frozen=True)
class _Fit:
    """What a layer's relation needs before a tile of it can be made and centred."""

    layer: Layer
    mean: FloatArray
    squares: FloatArray
    scale: float
    terms: Mapping[str, tuple[FloatArray, float]]


def _fit(layer: Layer, relation: Relation, centrings: Mapping[str, Centring]) -> _Fit:
    mean = layer.mean()
    squares, sums, total = np.empty(layer.n), np.empty(layer.n), np.zeros(layer.width)
    for part in blocks(layer.n, _ROWS):
        vectors = relation.of(layer, mean, part)
        squares[part] = np.einsum("nd,nd->n", vectors, vectors)
        total += vectors.sum(axis=0)
    diagonal, scale = squares, 1.0
    if relation.link is None:
        for part in blocks(layer.n, _ROWS):
            sums[part] = relation.of(layer, mean, part) @ total - squares[part]
    else:
        pairs = related(layer, relation)
        diagonal, scale, sums = pairs.diagonal, pairs.scale, pairs.sums()
    terms = {name: centring.terms(sums, diagonal) for name, centring in centrings.items()}
    return _Fit(layer, mean, squares, scale, terms)


def _size(sides: Sides, measures: int, memory: int) -> int:
    """The most texts of a block with which all layers' vectors and tiles fit."""
    used = sides.used
    # Numbers of a block of b texts: b * linear, the vectors of all layers and of a few more; and
    # b * b * square, the tiles of all, a copy of one measure's, and those being made.
    linear = sum(sides.layers[place].width for place in used) + 4 * sides.width
    square = len(used) * (measures + 1) + 8
    size = (np.sqrt(linear**2 + 4 * square * memory / 8) - linear) / (2 * square)
    return min(sides.n, int(np.clip(size, *_TILES)))


class _Sums:
    """Inner products of all layers' centred relations, and the squared size of the raw ones."""

    def __init__(
        self, relation: Relation, centrings: Mapping[str, Centring], fits: Sequence[_Fit]
    ) -> None:
        self.relation, self.centrings, self.fits = relation, centrings, fits
        self.cross = {name: np.zeros((len(fits), len(fits))) for name in centrings}
        self.raw = np.zeros(len(fits))

    def add_all(self, size: int, workers: Workers) -> None:
        """Add every pair of texts, in tiles of ``size`` by ``size``."""
        if not self.fits:
            return
        n = self.fits[0].layer.n
        for rows in blocks(n, size):
            first = list(workers.each(partial(self._vectors, rows), self.fits))
            for columns in (part for part in blocks(n, size) if part.start >= rows.start):
                self._add(rows, columns, first, workers)

    def _vectors(self, rows: slice, fit: _Fit) -> FloatArray:
        return self.relation.of(fit.layer, fit.mean, rows)

    def _add(
        self, rows: slice, columns: slice, first: Sequence[FloatArray], workers: Workers
    ) -> None:
        def tile(place: int) -> tuple[dict[str, FloatArray], float]:
            return self._tile(self.fits[place], first[place], rows, columns)

        tiles = list(workers.each(tile, range(len(self.fits))))
        self.raw += [raw for _, raw in tiles]
        for name, cross in self.cross.items():
            together = np.array([centred.pop(name) for centred, _ in tiles])
            cross += together @ together.T

    def _tile(
        self, fit: _Fit, first: FloatArray, rows: slice, columns: slice
    ) -> tuple[dict[str, FloatArray], float]:
        """A layer's centred tile for each measure, flat; and the squared size of the raw one."""
        diagonal = rows == columns
        second = first if diagonal else self._vectors(columns, fit)
        tile = self.relation.between(first, second, fit.squares[rows], fit.squares[columns])
        if self.relation.link is not None:
            if diagonal:
                np.fill_diagonal(tile, 0.0)
            tile = self.relation.link(tile, fit.scale)
        centred = {}
        for name, centring in self.centrings.items():
            taken, whole = fit.terms[name]
            rest = tile - taken[rows, None] - taken[columns] + whole
            centred[name] = _flat(rest, diagonal, centring.diagonal)
        return centred, float(np.einsum("ij,ij->", tile, tile))


def _flat(tile: FloatArray, on_diagonal: bool, with_itself: bool) -> FloatArray:
    """A tile's pairs, each once; where pairs of a text with itself count, those of two texts twice."""
    weight = np.sqrt(2) if with_itself else 1.0
    if not on_diagonal:
        flat: FloatArray = weight * tile.ravel()
        return flat
    pairs = weight * tile[np.triu_indices(len(tile), 1)]
    return np.concatenate([pairs, np.diagonal(tile)]) if with_itself else pairs
