"""What a tensor's numbers are like: moments, extremes, norm, sparsity, entropy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from stratascope.errors import StratascopeError

FloatArray = npt.NDArray[np.float64]

# Numbers looked at in one piece, so that memory does not grow with the tensor.
PIECE = 1 << 20


class TensorStats(TypedDict):
    """Statistics of the finite numbers of a tensor, as `tensor_stats` defines them."""

    shape: tuple[int, ...]
    mean: float
    std: float
    min: float
    max: float
    norm: float
    sparsity: float
    entropy: float
    kurtosis: float
    non_finite: int


def tensor_stats(values: npt.ArrayLike, threshold: float = 0.0) -> TensorStats:
    """Statistics of a tensor of any shape ``(..., width)``, computed in float64.

    - ``mean``; ``std`` with ddof 0; ``min``; ``max``: in the tensor's own unit.
    - ``norm``: Euclidean length of all its numbers together (the Frobenius norm of a matrix).
    - ``sparsity``: share of the numbers with ``|x| <= threshold``, 0 to 1. The default, 0, counts
      exact zeros, such as ReLU leaves; SiLU and GELU leave none, so there a threshold is needed.
    - ``entropy``: of each row (last axis) the Shannon entropy of ``p = |x| / sum |x|`` in nats,
      averaged over the rows that are not all zero. From 0 (one dimension holds everything) to
      ``ln width`` (all hold the same). Of attention weights it is the entropy of attention.
    - ``kurtosis``: Fisher's excess kurtosis ``m4 / m2^2 - 3`` with population moments, 0 for a
      normal distribution, large where few numbers are huge; NaN where all numbers are equal.
    - ``non_finite``: how many numbers are NaN or infinite. They are left out of everything else.

    All but the last and ``shape`` are NaN where no number is finite. Reordering the numbers of a row
    changes nothing; scaling changes neither entropy nor kurtosis.

    Sources: Shannon, C. E. (1948). *A Mathematical Theory of Communication*. Bell System Technical
    Journal. Joanes, D. N. & Gill, C. A. (1998). *Comparing Measures of Sample Skewness and
    Kurtosis*. The Statistician (their g2).

    Raises:
        StratascopeError: something other than real numbers, or a negative threshold.
    """
    array = np.asarray(values)
    return block_stats([array], array.shape, threshold)


def block_stats(
    blocks: Sequence[npt.NDArray[np.generic]], shape: tuple[int, ...], threshold: float = 0.0
) -> TensorStats:
    """`tensor_stats` of several arrays together, such as texts of different lengths.

    Blocks may differ in every axis; rows are along each block's last. ``shape`` is only reported.

    Raises:
        StratascopeError: as `tensor_stats` does.
    """
    if not threshold >= 0:
        raise StratascopeError(f"threshold: must be 0 or more, as |x| is (found {threshold})")
    count = near_zero = non_finite = 0
    total, low, high, largest = 0.0, math.inf, -math.inf, 0.0
    entropies, rows = 0.0, 0
    for piece in _pieces(blocks):
        finite = piece[np.isfinite(piece)]
        non_finite += piece.size - finite.size
        if not finite.size:
            continue
        count += finite.size
        total += float(finite.sum())
        low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        near_zero += int((np.abs(finite) <= threshold).sum())
        found = _row_entropies(piece)
        entropies, rows = entropies + float(found.sum()), rows + found.size
    nan = math.nan
    if not count:
        return TensorStats(
            shape=shape, mean=nan, std=nan, min=nan, max=nan, norm=nan, sparsity=nan, entropy=nan,
            kurtosis=nan, non_finite=non_finite,
        )  # fmt: skip
    mean = total / count
    largest = max(abs(low), abs(high))
    squares, second, fourth = _powers(blocks, mean, largest or 1.0)
    return TensorStats(
        shape=shape,
        mean=mean,
        std=largest * math.sqrt(second / count),
        min=low,
        max=high,
        norm=largest * math.sqrt(squares),
        sparsity=near_zero / count,
        entropy=entropies / rows if rows else nan,
        # Equal numbers leave only what rounding made of their mean.
        kurtosis=count * fourth / second**2 - 3 if low < high and second else nan,
        non_finite=non_finite,
    )


def _powers(
    blocks: Sequence[npt.NDArray[np.generic]], mean: float, scale: float
) -> tuple[float, float, float]:
    """Sums of ``x^2``, ``(x - mean)^2`` and ``(x - mean)^4``, of numbers divided by ``scale``.

    Dividing by the largest magnitude keeps the powers from overflowing or vanishing.
    """
    squares = second = fourth = 0.0
    for piece in _pieces(blocks):
        scaled = piece[np.isfinite(piece)] / scale
        away = (scaled - mean / scale) ** 2
        squares += float(scaled @ scaled)
        second += float(away.sum())
        fourth += float(away @ away)
    return squares, second, fourth


def _row_entropies(rows: FloatArray) -> FloatArray:
    """Entropy in nats of the magnitudes of each row with any; ``(n, width) -> (m,)``, m <= n."""
    size = np.where(np.isfinite(rows), np.abs(rows), 0.0)
    largest = size.max(axis=1, keepdims=True)
    size = size[largest[:, 0] > 0] / largest[largest[:, 0] > 0]
    p = size / size.sum(axis=1, keepdims=True)
    entropy: FloatArray = -(p * np.log(p, out=np.zeros_like(p), where=p > 0)).sum(axis=1)
    return np.maximum(entropy, 0.0)


def _pieces(blocks: Sequence[npt.NDArray[np.generic]]) -> Iterator[FloatArray]:
    """The rows of all blocks as float64 ``(n, width)``, a bounded number at a time."""
    for block in blocks:
        if block.dtype.kind not in "biuf":
            raise StratascopeError(
                f"statistics need a tensor of real numbers, got {block.dtype} of shape {block.shape}"
            )
        if block.size:
            rows = block.reshape(-1, block.shape[-1] if block.ndim else 1)
            step = max(1, PIECE // rows.shape[1])
            for start in range(0, len(rows), step):
                yield rows[start : start + step].astype(np.float64)
