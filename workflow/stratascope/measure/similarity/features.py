"""One layer's features: read in blocks of rows, checked, computed with in float64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import FloatArray

_BLOCK_NUMBERS = 4_000_000


class Rows(Protocol):
    """What a layer's features are read from: an array, a memory map, or a file that slices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n texts, d features)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""

    def __getitem__(self, rows: slice, /) -> Any:
        """The rows as an array."""


class UndefinedError(StratascopeError):
    """A measure has no value for these features: the message says why."""


@dataclass(frozen=True)
class Layer:
    """Features ``(n, d)`` with the name that errors call them by."""

    name: str
    array: Rows

    def __post_init__(self) -> None:
        shape, dtype = self.array.shape, self.array.dtype
        if len(shape) != 2 or shape[1] == 0:
            raise StratascopeError(
                f"{self.name}: similarity needs a matrix (texts, features), got shape {shape}"
            )
        if dtype.kind not in "fiub":
            raise StratascopeError(f"{self.name}: similarity needs real numbers, got {dtype}")

    @property
    def n(self) -> int:
        """How many texts."""
        return self.array.shape[0]

    @property
    def width(self) -> int:
        """How many features."""
        return self.array.shape[1]

    @property
    def stored(self) -> float:
        """The relative size of rounding in the numbers as stored; float32's at least.

        float16 and bfloat16 mostly come widened, and then nobody can tell.
        """
        exact = self.array.dtype.kind != "f" or self.array.dtype.itemsize >= 8
        return float(np.finfo(np.float64 if exact else np.float32).eps)

    def read(self, rows: slice = slice(None)) -> FloatArray:
        """Rows as a float64 array. Raises StratascopeError where one is not finite."""
        block = np.asarray(self.array[rows]).astype(np.float64)
        # A sum is not finite if a term is not; only then look closer.
        with np.errstate(invalid="ignore", over="ignore"):
            suspect = not np.isfinite(block.sum())
        if suspect and len(wrong := np.flatnonzero(~np.isfinite(block).all(axis=1))):
            row = int(wrong[0]) + (rows.start or 0)
            raise StratascopeError(
                f"{self.name}: row {row} holds NaN or infinity; leave that text out of all sides"
            )
        return block

    def mean(self) -> FloatArray:
        """The mean over texts, (d,). Raises UndefinedError where no feature varies.

        What differs by rounding only does not vary: the same last token without a position, say.
        """
        first = self.read(slice(0, 1))
        total, spread, size = np.zeros(self.width), 0.0, 0.0
        for rows in blocks(self.n, max(1, _BLOCK_NUMBERS // self.width)):
            block = self.read(rows)
            size += float(np.einsum("nd,nd->", block, block))
            block -= first
            total += block.sum(axis=0)
            spread += float(np.einsum("nd,nd->", block, block))
        offset = total / self.n
        if spread - self.n * float(offset @ offset) <= (4 * self.stored) ** 2 * size:
            raise UndefinedError(f"{self.name}: all texts have the same features: nothing varies")
        mean: FloatArray = first[0] + offset
        return mean


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of ``size`` that cover ``count`` rows."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def layers_of(side: Mapping[str, Rows], which: str) -> list[Layer]:
    """The layers of one side. Raises StratascopeError where their texts do not agree.

    ``which`` follows their names in errors.
    """
    if not side:
        raise StratascopeError(f"no layer{which} to compare")
    first, *others = layers = [Layer(f"{name}{which}", array) for name, array in side.items()]
    for other in others:
        if other.n != first.n:
            raise StratascopeError(
                f"layers with different numbers of texts: {first.name} has {first.n}, "
                f"{other.name} {other.n}"
            )
    return layers


def pair_of(x: npt.ArrayLike, y: npt.ArrayLike, minimum: int) -> tuple[Layer, Layer]:
    """X (n, d1) and Y (n, d2) of the same n texts, checked."""
    first, second = Layer("X", np.asarray(x)), Layer("Y", np.asarray(y))
    check_texts(first.n, second.n, minimum)
    return first, second


def check_texts(first: int, second: int, minimum: int) -> None:
    """Raise StratascopeError unless both sides have the same number of texts, and enough."""
    if first != second:
        raise StratascopeError(
            f"similarity needs features of the same texts, got {first} and {second} rows"
        )
    if first < minimum:
        raise StratascopeError(f"{first} texts are too few: this needs at least {minimum}")
