"""A probe of one layer, or of many: how well labels can be read off the features, and how sure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from stratascope.measure.bootstrap import LEVEL, resampled, symmetric_interval
from stratascope.measure.metrics import FloatArray
from stratascope.measure.probes.baselines import difference_of_means, majority
from stratascope.measure.probes.crossval import DEFAULT, Settings, fit_weights, out_of_fold
from stratascope.measure.probes.design import Design
from stratascope.measure.probes.labels import Kind, features_of
from stratascope.measure.probes.scores import (
    MEASURES,
    Bin,
    Measure,
    Predictions,
    calibration,
    ends_of,
    measures_of,
    value_of,
)
from stratascope.measure.probes.weights import ProbeWeights

Key = TypeVar("Key", bound=Hashable)
# Features, or what loads them when their turn comes.
Layer = npt.ArrayLike | Callable[[], npt.ArrayLike]

# The bootstrap's own spread on shuffled labels is that of so many resamples.
SPREAD_RESAMPLES = 100


@dataclass(frozen=True)
class Measured:
    """One measure of a probe, over ``n`` rows of ``groups`` groups; NaN is what was not asked for.

    ``lower`` and ``upper`` are a 95 % interval: the bootstrap's, ``widening`` times as wide.
    ``majority`` and ``difference_of_means`` are the same measure of those baselines,
    ``shuffled_mean`` its mean over shuffled labels and ``shuffled_95`` what 95 % of them fall short
    of, ``p`` the share of shuffles at least as good, this one counted among them (Phipson & Smyth,
    2010). ``control`` is the mean over control tasks, ``selectivity`` the estimate minus it.
    """

    measure: str
    estimate: float
    lower: float
    upper: float
    n: int
    groups: int
    widening: float
    majority: float
    difference_of_means: float
    shuffled_mean: float
    shuffled_95: float
    p: float
    control: float
    selectivity: float
    selectivity_lower: float
    selectivity_upper: float


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found: its measures by name, and what they were computed from.

    ``shuffled`` has each measure of all shuffled labels, ``(N,)``: the same shuffles for all layers of a
    design. ``penalty`` ``(K,)`` was chosen for each fold: 1 / C, or ridge's alpha. ``calibration`` are
    the bins of the calibration error; none for ridge.
    """

    kind: Kind
    classes: tuple[Any, ...]
    measures: dict[str, Measured]
    shuffled: dict[str, FloatArray]
    predictions: Predictions
    penalty: FloatArray
    calibration: tuple[Bin, ...]


def probe(
    features: npt.ArrayLike, plan: Design, settings: Settings = DEFAULT, what: str = "features"
) -> ProbeResult:
    """Cross-validate a probe of ``features`` ``(n, d)`` and everything it is to be compared with.

    Raises StratascopeError, naming ``what``, for features that are not a finite matrix of n rows.
    Features that are all constant give what the labels' frequencies alone give.
    """
    matrix = features_of(features, len(plan.target), what)
    values = np.concatenate([plan.target.values[None], plan.shuffled, plan.controls])
    found = out_of_fold(matrix, plan.target, values, plan.folds, settings)
    probes = [
        Predictions(plan.target.with_values(labels), scores, plan.folds)
        for labels, scores in zip(values, found.scores, strict=True)
    ]
    shuffled = probes[1 : 1 + len(plan.shuffled)]
    controls = probes[1 + len(plan.shuffled) :]
    baselines = {"majority": majority(plan.target, plan.folds)}
    if plan.target.kind == "logistic":
        baselines["difference_of_means"] = difference_of_means(matrix, plan.target, plan.folds)
    table = measures_of(plan.target.kind)
    nulls = {name: np.array([value_of(m, each) for each in shuffled]) for name, m in table.items()}
    widening = {name: _widening(m, plan, nulls[name], shuffled) for name, m in table.items()}
    measures = {
        name: _measured(
            name, plan, probes[0], controls, baselines, nulls[name], widening[m.widened_as or name]
        )
        for name, m in table.items()
    }
    bins = calibration(probes[0]) if plan.target.kind == "logistic" else ()
    kind, classes = plan.target.kind, plan.target.classes
    return ProbeResult(kind, classes, measures, nulls, probes[0], found.penalty[0], bins)


def probe_layers(
    layers: Mapping[Key, Layer], plan: Design, settings: Settings = DEFAULT, workers: int = 1
) -> dict[Key, ProbeResult]:
    """`probe` for every layer, ``workers`` at a time; the same bytes for any number of them.

    A layer may be a function that loads it, so that only as many are in memory as are at work.
    """
    return _for_each(layers, workers, lambda features, what: probe(features, plan, settings, what))


def weights_of_layers(
    layers: Mapping[Key, Layer], plan: Design, settings: Settings = DEFAULT, workers: int = 1
) -> dict[Key, ProbeWeights]:
    """For every layer a probe fitted on all its rows, to be applied to other states."""

    def fit(features: npt.ArrayLike, what: str) -> ProbeWeights:
        matrix = features_of(features, len(plan.target), what)
        return fit_weights(matrix, plan.target, plan.folds, settings)

    return _for_each(layers, workers, fit)


Result = TypeVar("Result")


def _for_each(
    layers: Mapping[Key, Layer], workers: int, work: Callable[[npt.ArrayLike, str], Result]
) -> dict[Key, Result]:
    def one(key: Key) -> Result:
        layer = layers[key]
        return work(layer() if callable(layer) else layer, str(key))

    # One thread inside each product, so that sums are added in one order whatever runs beside it.
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        return dict(zip(layers, pool.map(one, layers), strict=True))


def _measured(
    name: str,
    plan: Design,
    real: Predictions,
    controls: list[Predictions],
    baselines: Mapping[str, Predictions],
    null: FloatArray,
    widening: float,
) -> Measured:
    measure = MEASURES[name]
    estimate = value_of(measure, real)
    draws = _draws(measure, plan, real)
    lower, upper = ends_of(measure, estimate, draws, plan.counts.shape[1], widening)
    control, contrast = np.nan, (np.nan, np.nan)
    if controls:
        control = float(np.mean([value_of(measure, each) for each in controls]))
        other = np.mean([_draws(measure, plan, each) for each in controls], axis=0)
        contrast = symmetric_interval(estimate - control, draws - other, widening)
    base = {key: value_of(measure, each) for key, each in baselines.items()}
    mean, best, p = against_null(measure, estimate, null)
    return Measured(
        measure=name,
        estimate=estimate,
        lower=lower,
        upper=upper,
        n=len(plan.target),
        groups=plan.counts.shape[1],
        widening=widening,
        majority=base["majority"],
        difference_of_means=base.get("difference_of_means", np.nan),
        shuffled_mean=mean,
        shuffled_95=best,
        p=p,
        control=control,
        selectivity=estimate - control,
        selectivity_lower=contrast[0],
        selectivity_upper=contrast[1],
    )


def against_null(measure: Measure, estimate: float, null: FloatArray) -> tuple[float, float, float]:
    """The null's mean, what 95 % of it fall short of, and the p-value ``(1 + k) / (1 + N)``."""
    if len(null) == 0:
        return np.nan, np.nan, np.nan
    sign = 1.0 if measure.higher_is_better else -1.0
    # Equal values may differ by rounding, and count as equal.
    as_good = int((sign * (null - estimate) >= -1e-12).sum())
    best = float(np.quantile(null, 0.95 if measure.higher_is_better else 0.05))
    return float(null.mean()), best, (1 + as_good) / (1 + len(null))


def _draws(measure: Measure, plan: Design, predictions: Predictions, most: int = -1) -> FloatArray:
    counts = plan.counts if most < 0 else plan.counts[:most]
    return resampled(partial(measure.compute, predictions), plan.groups, counts)


def _widening(
    measure: Measure, plan: Design, null: FloatArray, shuffled: list[Predictions]
) -> float:
    """How much wider the bootstrap's interval has to be, as a factor of its width, at least 1.

    Rows predicted out of fold are not independent: each was in the training set of the others, so
    that two that happen to look alike are right together or wrong together. The bootstrap does not
    see this. Where there is nothing to find it is seen directly: the factor is the one with which
    95 % of the intervals of shuffled labels reach the middle of them all. Labels that have nothing to do
    with the features are as likely to be among these 95 % as any of their shuffles.
    """
    rank = int(np.ceil(LEVEL * (len(null) + 1)))
    if not measure.widens or rank > len(null) or plan.counts.shape[1] < 2:
        return 1.0
    draws = [_draws(measure, plan, each, SPREAD_RESAMPLES) for each in shuffled]
    spread = np.nanstd(draws, axis=1)
    gap = np.abs(null - np.median(null))
    reach = np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 0)
    return max(1.0, float(np.sort(reach)[rank - 1]) / NormalDist().inv_cdf((1 + LEVEL) / 2))
