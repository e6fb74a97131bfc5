"""Linear CKA of many pairs of layers from the side of features: n d^2 a pair, in blocks of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from stratascope.measure.metrics import FloatArray
from stratascope.measure.similarity.features import UndefinedError, blocks
from stratascope.measure.similarity.forms import Centring, Workers
from stratascope.measure.similarity.linear import hsic, size_of
from stratascope.measure.similarity.sides import Found, Sides

# Smaller blocks of texts take ages.
_LEAST = 16


def fit_in(sides: Sides, memory: int) -> bool:
    """Whether the cross-product of the widest layers is at most half of ``memory`` bytes."""
    return 16 * sides.width**2 <= memory


def cost(sides: Sides) -> float:
    """Multiplications for all wanted pairs."""
    widths = [layer.width for layer in sides.layers]
    return sides.n * sum(widths[i] * widths[j] for i, j in sides.pairs(sides.used))


def from_features(
    sides: Sides, centrings: Mapping[str, Centring], memory: int, workers: Workers
) -> dict[str, Found]:
    """The values of linear CKA, biased (the centring with a diagonal) and unbiased."""
    constant: dict[int, str] = {}
    means: dict[int, FloatArray] = {}
    for place in sides.used:
        try:
            means[place] = sides.layers[place].mean()
        except UndefinedError as error:
            constant[place] = str(error)
    count = len(sides.layers)
    cross, squares = np.full((count, count), np.nan), np.zeros((count, sides.n))
    for batch in _batches(sides, means, memory // 2):
        _add_products(cross, squares, batch, sides, means, memory // 2, workers)
    found = {}
    for name, centring in centrings.items():
        debiased = not centring.diagonal
        undefined, size = dict(constant), np.full(count, np.nan)
        for place in means:
            layer = sides.layers[place].name
            try:
                size[place] = size_of(layer, cross[place, place], squares[place], debiased)
            except UndefinedError as error:
                undefined[place] = str(error)
        values = hsic(cross, squares, squares, debiased) / size[:, None] / size
        found[name] = Found(sides.matrix(values), undefined)
    return found


def _batches(
    sides: Sides, means: Mapping[int, FloatArray], memory: int
) -> Iterator[list[tuple[int, int]]]:
    """Pairs whose cross-products fit together."""
    batch: list[tuple[int, int]] = []
    held = 0
    for i, j in sides.pairs(means):
        size = 8 * sides.layers[i].width * sides.layers[j].width
        if batch and held + size > memory:
            yield batch
            batch, held = [], 0
        batch.append((i, j))
        held += size
    if batch:
        yield batch


def _add_products(
    cross: FloatArray,
    squares: FloatArray,
    batch: Sequence[tuple[int, int]],
    sides: Sides,
    means: Mapping[int, FloatArray],
    memory: int,
    workers: Workers,
) -> None:
    places = sorted({place for pair in batch for place in pair})
    widths = {place: sides.layers[place].width for place in places}
    products = {(i, j): np.zeros((widths[i], widths[j])) for i, j in batch}
    values: dict[int, FloatArray] = {}

    def read_centred(rows: slice, place: int) -> FloatArray:
        return sides.layers[place].read(rows) - means[place]

    def add(pair: tuple[int, int]) -> None:
        products[pair] += values[pair[0]].T @ values[pair[1]]

    size = max(_LEAST, memory // (8 * sum(widths.values())))
    for rows in blocks(sides.n, size):
        read = workers.each(partial(read_centred, rows), places)
        values.update(zip(places, read, strict=True))
        for place in places:
            squares[place, rows] = np.einsum("nd,nd->n", values[place], values[place])
        list(workers.each(add, batch))
    for (i, j), product in products.items():
        cross[i, j] = cross[j, i] = np.einsum("ij,ij->", product, product)
