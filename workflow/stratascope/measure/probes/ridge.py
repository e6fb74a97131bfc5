"""Ridge regression with the penalty chosen inside the training set, from one decomposition.

On the axes of `reduction` ridge regression has a closed form for every penalty, and so has what it
would predict for a fold had it been fitted without it: with the matrix ``H`` that turns labels into
fitted values, ``y - prediction = (I - H_ff)^-1 (y - fitted)_f`` for the rows f of the fold, exactly
(Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, 2009, ch. 7.10, for one row; the
same algebra holds for a block). So no inner fold is ever fitted.

Loss and penalty are scikit-learn's: the sum of squared errors plus ``alpha`` times the squared
weights; the intercept is free.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from stratascope.measure.metrics import FloatArray, IntArray


def fit_ridge(
    rows: FloatArray, squares: FloatArray, labels: FloatArray, folds: IntArray, alphas: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Coefficients ``(T, r + 1)``, intercepts last, and the alphas chosen ``(T,)``.

    ``rows`` ``(n, r)`` and ``squares`` ``(r,)`` are those of `Reduced` for its training rows,
    ``labels`` ``(T, n)``, ``folds`` ``(n,)`` the folds that take turns in judging. The alpha of the
    least squared error wins, mean over rows and then over folds; of equal ones the first.
    """
    lengths = np.sqrt(squares)
    axes = rows / lengths
    mean = labels.mean(axis=1)
    onto = (labels - mean[:, None]) @ axes
    losses = np.array([_losses(axes, squares, labels, onto, folds, alpha) for alpha in alphas])
    chosen = alphas[losses.argmin(axis=0)]
    weights = onto * lengths / (squares + chosen[:, None])
    return np.concatenate([weights, mean[:, None]], axis=1), chosen


def _losses(
    axes: FloatArray,
    squares: FloatArray,
    labels: FloatArray,
    onto: FloatArray,
    folds: IntArray,
    alpha: float,
) -> FloatArray:
    """Squared error of every label vector on the folds in turn, each left out: ``(T,)``."""
    kept = squares / (squares + alpha)
    left = labels - labels.mean(axis=1, keepdims=True) - (onto * kept) @ axes.T
    errors = []
    for number in np.unique(folds):
        inside = folds == number
        part = axes[inside]
        hat = (part * kept) @ part.T + 1.0 / len(axes)
        rest = np.eye(len(part)) - hat
        out = scipy.linalg.solve(rest, left[:, inside].T, assume_a="pos", check_finite=False)
        errors.append(np.square(out).mean(axis=0))
    return np.asarray(np.mean(errors, axis=0))
