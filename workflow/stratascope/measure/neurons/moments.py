"""Mean, variance and kurtosis out of parts that were summed apart (Chan et al. 1983; Pébay 2008)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stratascope.measure.metrics import FloatArray


@dataclass(frozen=True)
class Moments:
    """Of ``count`` values of N neurons: mean, and sums of the 2nd to 4th power around it, (N,)."""

    count: int
    mean: FloatArray
    m2: FloatArray
    m3: FloatArray
    m4: FloatArray

    @property
    def std(self) -> FloatArray:
        """The standard deviation of the values as they are, divided by ``count``."""
        return np.asarray(np.sqrt(np.maximum(self.m2, 0) / self.count))

    @property
    def kurtosis(self) -> FloatArray:
        """Excess kurtosis, 0 for a normal distribution and at least -2; NaN of a constant neuron.

        A spread that is nothing but rounding (1e-6 of the mean) counts as none.
        """
        varies = self.std > 1e-6 * np.abs(self.mean)
        square = np.where(varies, self.m2, 1.0) ** 2
        return np.asarray(np.where(varies, self.count * self.m4 / square - 3, np.nan))

    @property
    def skewness(self) -> FloatArray:
        """The third standardised moment; NaN of a constant neuron."""
        varies = self.std > 1e-6 * np.abs(self.mean)
        cube = np.where(varies, np.maximum(self.m2, 0), 1.0) ** 1.5
        return np.asarray(np.where(varies, np.sqrt(self.count) * self.m3 / cube, np.nan))


def moments_of(count: int, shift: FloatArray, sums: FloatArray) -> Moments:
    """From ``sums`` (4, N) of the 1st to 4th power of values minus ``shift`` (N,)."""
    a, b, c, d = np.asarray(sums, dtype=np.float64)
    by = a / count
    return Moments(
        count,
        shift + by,
        b - count * by**2,
        c - 3 * by * b + 2 * count * by**3,
        d - 4 * by * c + 6 * by**2 * b - 3 * count * by**4,
    )


def merged(one: Moments, other: Moments) -> Moments:
    """The moments of both together (Pébay 2008, Sandia report SAND2008-6212)."""
    na, nb = one.count, other.count
    n = na + nb
    d = other.mean - one.mean
    return Moments(
        n,
        one.mean + d * nb / n,
        one.m2 + other.m2 + d**2 * na * nb / n,
        one.m3
        + other.m3
        + d**3 * na * nb * (na - nb) / n**2
        + 3 * d * (na * other.m2 - nb * one.m2) / n,
        one.m4
        + other.m4
        + d**4 * na * nb * (na**2 - na * nb + nb**2) / n**3
        + 6 * d**2 * (na**2 * other.m2 + nb**2 * one.m2) / n**2
        + 4 * d * (na * other.m3 - nb * one.m3) / n,
    )
