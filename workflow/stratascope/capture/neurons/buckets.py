"""The buckets that values are counted in: cut out of a float32's bits, so a number's is found at once.

A positive float32's bits, read as an integer, grow with the number, and the upper ones are its
exponent and the beginning of its mantissa. Dropping the rest leaves buckets that are each an eighth
of a power of two wide.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

# Three bits of the mantissa stay: 8 buckets between powers of two.
MANTISSA_BITS = 3
SHIFT = 23 - MANTISSA_BITS
# Sizes from 2^-14 to 2^14 have buckets of their own.
EXPONENTS = (-14, 14)
_FIRST = (127 + EXPONENTS[0]) << MANTISSA_BITS
_LAST = (127 + EXPONENTS[1]) << MANTISSA_BITS
# 0, up to 2^-14, what lies between, beyond 2^14.
SIZES = 1 + 1 + (_LAST - _FIRST) + 1
BUCKETS = 2 * SIZES - 1
_UP = (1 << SHIFT) - 1 - (_FIRST << SHIFT)
_LARGEST = _LAST + 1 - _FIRST


def bucket_bounds() -> NDArray[np.float32]:
    """(2, buckets): what each bucket's values lie above, and what they reach; both are 0 at zero.

    Of negative buckets it is the other way round: they hold their lower bound. The first and the last
    reach to infinity.
    """
    bits = np.arange(_FIRST, _LAST + 1, dtype=np.int32) << SHIFT
    ends = np.concatenate([[0.0], bits.view(np.float32), [np.inf]]).astype(np.float32)
    lower = np.concatenate([-ends[:0:-1], [0.0], ends[:-1]])
    upper = np.concatenate([-ends[-2::-1], [0.0], ends[1:]])
    return np.stack([lower, upper]).astype(np.float32) + np.float32(0)  # no -0


def signed_buckets(values: torch.Tensor) -> torch.Tensor:
    """The bucket of each number, int32, counted from that of 0; ``values`` are float32 and finite.

    Every operation here is a pass over all values, so there are as few as can be.
    """
    bits = values.view(torch.int32)
    size = bits & 0x7FFFFFFF
    other_than_zero = size.clamp_max(1)
    # Rounded up, for a bucket holds its upper bound; from the first bucket on.
    size.add_(_UP).bitwise_right_shift_(SHIFT)
    size.clamp_(0, _LARGEST).add_(other_than_zero)
    sign = bits >> 31  # -1 or 0
    return size.bitwise_xor_(sign).sub_(sign)


def write_buckets(
    values: NDArray[np.float32], size: NDArray[np.int32], aside: NDArray[np.int32]
) -> None:
    """`signed_buckets` in NumPy, into ``size``; ``aside`` is scratch memory of the same shape."""
    bits = values.view(np.int32)
    np.bitwise_and(bits, np.int32(0x7FFFFFFF), out=size)
    # Most activation functions leave no zero: one look is cheaper than two more passes.
    zero = size == 0 if size.min() == 0 else None
    np.add(size, np.int32(_UP + (1 << SHIFT)), out=size)
    np.right_shift(size, np.int32(SHIFT), out=size)
    np.clip(size, np.int32(1), np.int32(_LARGEST + 1), out=size)
    if zero is not None:
        size[zero] = 0
    np.right_shift(bits, np.int32(31), out=aside)
    np.bitwise_xor(size, aside, out=size)
    np.subtract(size, aside, out=size)
