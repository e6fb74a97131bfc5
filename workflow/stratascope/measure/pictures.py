"""Tensors as pictures: which part of a colour map each number gets."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import FloatArray

Normalize = Literal["none", "per_image", "signed", "global"]
Reduce = Literal["signed", "abs"]
# Sides in pixels that no picture is below: a single token would be a line.
LEAST_SIDE = 128


def reduced(values: npt.ArrayLike, reduce: Reduce) -> FloatArray:
    """The numbers of a picture ``(rows, columns)``: as they are, or their magnitudes.

    Raises StratascopeError for another shape, nothing at all, or numbers that are not finite.
    """
    picture = np.asarray(values, dtype=np.float64)
    if picture.ndim != 2 or not picture.size:
        raise StratascopeError(f"a picture has rows and columns, got a tensor of {picture.shape}")
    if not np.isfinite(picture).all():
        raise StratascopeError("a picture needs numbers, and some are not finite")
    return np.abs(picture) if reduce == "abs" else picture


def shades(picture: FloatArray, normalize: Normalize, low: float, high: float) -> FloatArray:
    """Where in the colour map each number lies, 0 to 1.

    - ``none``: where it is; what is below 0 or above 1 is cut (attention weights need no more).
    - ``per_image``: the picture's least is 0, its greatest 1.
    - ``signed``: 0 is in the middle, and the greatest magnitude of the picture at an end.
    - ``global``: ``low`` is 0 and ``high`` 1: the least and greatest of all pictures together.

    Where all numbers are equal, ``per_image`` and ``global`` give 0, ``signed`` of zeros the middle.
    """
    if normalize == "none":
        return np.clip(picture, 0.0, 1.0)
    if normalize == "signed":
        most = float(np.abs(picture).max())
        return picture / most / 2 + 0.5 if most else np.full_like(picture, 0.5)
    if normalize == "per_image":
        low, high = float(picture.min()), float(picture.max())
    if high <= low:
        return np.zeros_like(picture)
    return np.clip((picture - low) / (high - low), 0.0, 1.0)


def enlarged(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Each number a block of whole pixels, so that both sides have `LEAST_SIDE`; large ones stay."""
    rows, columns = (max(1, -(-LEAST_SIDE // side)) for side in picture.shape[:2])
    return picture.repeat(rows, axis=0).repeat(columns, axis=1)


def pooled(picture: FloatArray, rows: int, columns: int) -> tuple[FloatArray, list[int], list[int]]:
    """At most so many rows and columns, each the mean of a block; and where each block begins.

    Blocks along an axis differ by one number at most. ``(r, c) -> (min(r, rows), min(c, columns))``.
    """
    starts = [
        (np.arange(min(size, most)) * size) // min(size, most)
        for size, most in zip(picture.shape, (rows, columns), strict=True)
    ]
    sums = np.add.reduceat(np.add.reduceat(picture, starts[0], axis=0), starts[1], axis=1)
    counts = [np.diff([*start, size]) for start, size in zip(starts, picture.shape, strict=True)]
    return sums / np.outer(*counts), starts[0].tolist(), starts[1].tolist()
