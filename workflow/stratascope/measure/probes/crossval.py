"""Probes fitted on all folds but one, and what they say of that one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.probes.labels import Target
from stratascope.measure.probes.logistic import Rows, log_probabilities
from stratascope.measure.probes.nested import TrainingSets, fit_nested
from stratascope.measure.probes.reduction import Moments, Reduced, reduce, standardise
from stratascope.measure.probes.ridge import fit_ridge
from stratascope.measure.probes.weights import ProbeWeights

# scikit-learn's C for logistic probes and alpha for ridge: powers of ten, strong penalties first.
CS = tuple(10.0**power for power in range(-5, 2))
ALPHAS = tuple(10.0**power for power in range(6, -2, -1))

# A training set's standard deviation along a feature is at least this share of that of all rows.
LEAST_SPREAD = 0.1


@dataclass(frozen=True)
class Settings:
    """How probes are fitted.

    ``cs`` are the inverse penalties that a logistic probe chooses from, from small to large, and
    ``alphas`` the penalties of a ridge probe, from large to small. Without ``standardise``
    features are centred, but not divided by their standard deviations.
    """

    cs: tuple[float, ...] = CS
    alphas: tuple[float, ...] = ALPHAS
    standardise: bool = True


DEFAULT = Settings()


@dataclass(frozen=True)
class OutOfFold:
    """What T probes of one kind say of n rows they were not fitted on.

    ``scores`` ``(T, n, k)`` are log-probabilities of the k classes, or with k = 1 the numbers that
    ridge predicts. ``penalty`` ``(T, K)`` is what was chosen for each fold: 1 / C, or alpha.
    """

    scores: FloatArray
    penalty: FloatArray


def out_of_fold(
    features: FloatArray,
    target: Target,
    values: FloatArray,
    folds: IntArray,
    settings: Settings = DEFAULT,
) -> OutOfFold:
    """Cross-validated predictions for many label vectors on the same features and folds.

    ``features`` ``(n, d)``; ``values`` ``(T, n)`` are label vectors of the kind and classes of ``target``,
    ``folds`` ``(n,)`` number the folds from 0. The penalty is chosen inside each training set, the
    other folds taking turns (see `nested`); each class must be in every training set without one
    more fold.
    """
    moments = Moments.of(features, folds)
    held = np.arange(int(folds.max()) + 1)
    alone = _pays(features.shape, len(values), len(held)) or not _alike(moments)
    if target.kind == "logistic" and not alone:
        return _together(features, target, values, folds, moments, settings)
    classes = len(target.classes)
    scores = np.empty((len(values), len(features), max(1, classes)))
    penalty = np.empty((len(values), len(held)))
    for fold in held.tolist():
        reduced = reduce(features, folds != fold, moments.scaler(fold, settings.standardise))
        coefficients, penalty[:, fold] = _on_axes(reduced, target, values, folds, settings)
        out = reduced.rows[folds == fold]
        scores[:, folds == fold] = _scores(target, out, coefficients)
    return OutOfFold(scores, penalty)


def fit_weights(
    features: FloatArray, target: Target, folds: IntArray, settings: Settings = DEFAULT
) -> ProbeWeights:
    """A probe fitted on all of ``features`` ``(n, d)``; all folds take turns in choosing its penalty."""
    scaler = Moments.of(features, folds).scaler(-1, settings.standardise)
    reduced = reduce(features, np.ones(len(features), dtype=bool), scaler)
    coefficients, _ = _on_axes(reduced, target, target.values[None], folds, settings)
    weights, bias = reduced.original(features, coefficients[0, :, :-1], coefficients[0, :, -1])
    return ProbeWeights(target.kind, target.classes, weights.T, bias)


def _on_axes(
    reduced: Reduced, target: Target, values: FloatArray, folds: IntArray, settings: Settings
) -> tuple[FloatArray, FloatArray]:
    """Coefficients ``(T, k, r + 1)`` and penalties ``(T,)`` on one training set's axes."""
    rows, inside = reduced.rows[reduced.train], folds[reduced.train]
    labels = values[:, reduced.train]
    if target.kind == "ridge":
        alphas = np.array(settings.alphas)
        ridge, alpha = fit_ridge(rows, reduced.squares, labels, inside, alphas)
        return ridge[:, None], alpha
    design = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    sets = TrainingSets(inside, np.array([-1]), np.ones((1, rows.shape[1])))
    fitted = fit_nested(
        Rows(design, reduced.squares),
        labels.astype(np.int64),
        len(target.classes),
        sets,
        1.0 / np.array(settings.cs),
    )
    return fitted.coefficients[:, 0], fitted.penalty[:, 0]


def _together(
    features: FloatArray,
    target: Target,
    values: FloatArray,
    folds: IntArray,
    moments: Moments,
    settings: Settings,
) -> OutOfFold:
    """All training sets at once, on the features as they are."""
    held = np.arange(len(moments.count))
    rows, _, factors = standardise(features, moments, held, settings.standardise)
    sets = TrainingSets(folds, held, factors)
    classes = len(target.classes)
    codes = values.astype(np.int64)
    fitted = fit_nested(rows, codes, classes, sets, 1.0 / np.array(settings.cs))
    scores = np.empty((len(values), len(features), classes))
    for fold in held.tolist():
        out = folds == fold
        coefficients = fitted.coefficients[:, fold]
        constant = ~moments.scaler(fold, settings.standardise).varies
        coefficients[..., :-1][..., constant] = 0.0
        scores[:, out] = _scores(target, rows.design[out, :-1], coefficients)
    return OutOfFold(scores, fitted.penalty)


def _scores(target: Target, rows: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Scores ``(T, n, k)`` of ``rows`` ``(n, m)`` with coefficients ``(T, k, m + 1)``."""
    flat = coefficients.reshape(-1, coefficients.shape[2])
    values = rows @ flat[:, :-1].T + flat[:, -1]
    values = np.moveaxis(values.reshape(len(rows), *coefficients.shape[:2]), 0, 1)
    return values if target.kind == "ridge" else log_probabilities(values)


def _alike(moments: Moments) -> bool:
    """Whether no training set spreads much less along a feature than all rows together.

    Where the rows held out are outliers, what is left is a small part of the scale that all have in
    common, and drowns in single precision.
    """
    whole = moments.scaler(-1, True).scale
    scalers = (moments.scaler(fold, True) for fold in range(len(moments.count)))
    return all((each.scale >= LEAST_SPREAD * whole)[each.varies].all() for each in scalers)


def _pays(shape: tuple[int, ...], targets: int, folds: int) -> bool:
    """Whether decomposing each training set takes fewer operations than it saves.

    Fitting a label vector takes some 200 products of the rows with a vector and back, counting its
    inner folds, penalties and steps, and fewer steps on a training set's own axes. A decomposition
    takes a Gram matrix and, for its r axes, as long as 20 r^3 operations of a product.
    """
    rows, width = shape
    inside = rows * (folds - 1) / folds
    axes = min(inside, width)
    saved = targets * 800 * (rows * width - 0.7 * inside * axes)
    return saved > 2 * inside * width * axes + 20 * axes**3
