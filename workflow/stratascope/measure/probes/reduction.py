"""The rows that a probe is fitted on: standardised by their training set, on few axes.

Standardisation belongs to each training set: means and standard deviations are of its rows alone.
Two forms of it give the same probe, and `crossval` takes the cheaper:

`standardise` keeps the features as they are, scaled once, and lets the penalties differ instead: to
divide a feature by its standard deviation in the training set is to multiply the penalty of its
weight by the variance. All training sets then share one matrix.

`reduce` decomposes one training set. A penalised linear model's weights lie in the span of its
training rows (the representer theorem), and the penalty does not notice a rotation of that span. So
with standardised training rows ``S = U diag(s) V'`` the model may be fitted on ``S V``, which has at
most ``min(n, d)`` columns, and applied to any rows times ``V``. Everything fitted on that set shares
the decomposition: its inner folds (subsets of its rows), penalties, labels and nulls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from stratascope.measure.metrics import BoolArray, FloatArray, IntArray
from stratascope.measure.probes.logistic import Rows

# How many leading directions `standardise` finds, and with how many more it looks for them.
LEADING, MORE = 64, 16

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Moments:
    """Number, mean and sum of squared deviations of each fold's rows: ``(K,)``, ``(K, d)`` twice."""

    count: FloatArray
    mean: FloatArray
    squares: FloatArray

    @classmethod
    def of(cls, features: FloatArray, folds: IntArray) -> Moments:
        """The moments of the folds ``0 .. K - 1`` of ``features`` ``(n, d)``."""
        parts = [features[folds == number] for number in range(int(folds.max()) + 1)]
        means = [part.mean(axis=0) for part in parts]
        squares = [
            np.square(part - mean).sum(axis=0) for part, mean in zip(parts, means, strict=True)
        ]
        return cls(
            np.array([float(len(part)) for part in parts]), np.array(means), np.array(squares)
        )

    def scaler(self, held: int, standardise: bool) -> Scaler:
        """What standardises the rows outside fold ``held`` (-1: all rows).

        Sums of positive numbers (Chan, Golub & LeVeque, 1983), so that nothing cancels.
        """
        count = np.where(np.arange(len(self.count)) == held, 0.0, self.count)
        mean = count @ self.mean / count.sum()
        there = (count > 0).astype(np.float64)
        squares = there @ self.squares + count @ np.square(self.mean - mean)
        variance = squares / count.sum()
        # As StandardScaler: a variance within what rounding leaves of a constant is none.
        rounding = count.sum() * _EPS * variance + np.square(count.sum() * mean * _EPS)
        varies = variance > rounding
        scale = np.sqrt(np.where(varies, variance, 1.0))
        return Scaler(mean, scale if standardise else np.ones_like(scale), varies)


@dataclass(frozen=True)
class Scaler:
    """Each feature's mean and what divides it, ``(d,)``; ``varies`` where it is not constant."""

    mean: FloatArray
    scale: FloatArray
    varies: BoolArray

    def undo(self, weights: FloatArray, intercept: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weights ``(..., d)`` and intercepts ``(...)`` for features as they were given.

        A feature that did not vary in training has weight 0, whatever it holds elsewhere.
        """
        original = weights * np.where(self.varies, 1.0 / self.scale, 0.0)
        return original, intercept - original @ self.mean


def standardise(
    features: FloatArray, moments: Moments, held: IntArray, scaled: bool
) -> tuple[Rows, Scaler, FloatArray]:
    """All of ``features`` ``(n, d)``, what standardised it, and each training set's penalty factors.

    ``held`` ``(S,)`` are the folds that the training sets lack; the factors are ``(S, d)``.
    """
    scaler = moments.scaler(-1, scaled)
    design = np.empty((len(features), features.shape[1] + 1))
    np.subtract(features, scaler.mean, out=design[:, :-1])
    design[:, :-1] /= scaler.scale
    design[:, -1] = 1.0
    factors = np.ones((len(held), features.shape[1]))
    if scaled:
        for place, fold in enumerate(held.tolist()):
            own = moments.scaler(fold, scaled)
            factors[place] = np.where(own.varies, np.square(own.scale / scaler.scale), 1.0)
    return _with_axes(design), scaler, factors


def _with_axes(design: FloatArray) -> Rows:
    """The leading directions by one subspace iteration (Halko, Martinsson & Tropp, 2011).

    They only guide the solver: single precision and a fixed seed will do.
    """
    rows = design[:, :-1].astype(np.float32)
    most = min(rows.shape)
    total = float(np.square(rows, dtype=np.float32).sum(dtype=np.float64))
    probes = np.random.default_rng(0).standard_normal(
        (len(rows), min(most, LEADING + MORE)), np.float32
    )
    basis, _ = np.linalg.qr(rows.T @ probes)
    basis, _ = np.linalg.qr(rows.T @ (rows @ basis))
    image = rows @ basis
    squares, turn = np.linalg.eigh((image.T @ image).astype(np.float64))
    squares, axes = squares[::-1][:LEADING], (basis.astype(np.float64) @ turn[:, ::-1]).T[:LEADING]
    rest = max(0.0, total - float(squares.sum())) / max(1, most - len(squares))
    return Rows(design, np.maximum(squares, 0.0), np.ascontiguousarray(axes), rest)


@dataclass(frozen=True)
class Reduced:
    """All n rows on the axes of one training set.

    ``rows`` ``(n, r)`` are the coordinates, ``squares`` ``(r,)`` the sums of squares of the training
    rows along each axis, largest first, ``train`` ``(n,)`` which rows these are.
    """

    rows: FloatArray
    squares: FloatArray
    train: BoolArray
    scaler: Scaler
    _axes: FloatArray
    _of_rows: bool

    def original(
        self, features: FloatArray, weights: FloatArray, intercept: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Weights ``(k, r)`` and intercepts ``(k,)`` on the axes, as ``(k, d)`` and ``(k,)`` for the
        features as they were given."""
        standard = weights @ self._axes.T
        if self._of_rows:
            standard = standard @ ((features[self.train] - self.scaler.mean) / self.scaler.scale)
        return self.scaler.undo(standard, intercept)


def reduce(features: FloatArray, train: BoolArray, scaler: Scaler) -> Reduced:
    """Put ``features`` ``(n, d)`` on the axes of its rows ``train`` ``(n,)``, standardised by ``scaler``.

    The smaller of the two Gram matrices is decomposed; axes that hold nothing but rounding are
    left out. A feature that does not vary in training counts as 0 everywhere.
    """
    standard = features - scaler.mean
    standard /= scaler.scale
    standard[:, ~scaler.varies] = 0.0
    inside = standard[train]
    of_rows = len(inside) <= features.shape[1]
    gram = inside @ inside.T if of_rows else inside.T @ inside
    squares, axes = scipy.linalg.eigh(gram, driver="evd", check_finite=False, overwrite_a=True)
    floor = squares.max(initial=0.0) * len(gram) * _EPS
    kept = np.flatnonzero(squares > floor)[::-1]
    squares, axes = squares[kept], axes[:, kept]
    if not of_rows:
        return Reduced(standard @ axes, squares, train, scaler, axes, False)
    lengths = np.sqrt(squares)
    rows = np.empty((len(features), len(kept)))
    rows[train] = axes * lengths
    axes = axes / lengths
    rows[~train] = (standard[~train] @ inside.T) @ axes
    return Reduced(rows, squares, train, scaler, axes, True)
