"""A probe fitted on one set of features and judged on another: dataset, layer or checkpoint."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from stratascope.errors import StratascopeError
from stratascope.measure.bootstrap import (
    Estimate,
    resample_counts,
    resampled,
)
from stratascope.measure.interval import seed_of
from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.probes.crossval import DEFAULT, Settings, fit_weights
from stratascope.measure.probes.design import FOLDS, RESAMPLES, numbers_of
from stratascope.measure.probes.folds import fold_numbers
from stratascope.measure.probes.labels import Kind, Target, features_of, target_of
from stratascope.measure.probes.logistic import log_probabilities
from stratascope.measure.probes.scores import Predictions, ends_of, measures_of, value_of


@dataclass(frozen=True)
class Transfer:
    """How well the probe does on the other features: its measures by name.

    ``predictions`` are of the rows judged; ``unseen`` says which of their groups the fit had none
    of. ``majority`` are the same measures of the fitted labels' frequencies.
    """

    measures: dict[str, Estimate]
    majority: dict[str, float]
    predictions: Predictions
    unseen: npt.NDArray[np.bool_]


def transfer(
    fit_features: npt.ArrayLike,
    fit_labels: Sequence[Any] | npt.NDArray[Any],
    eval_features: npt.ArrayLike,
    eval_labels: Sequence[Any] | npt.NDArray[Any],
    *,
    fit_groups: Sequence[Hashable] | None = None,
    eval_groups: Sequence[Hashable] | None = None,
    kind: Literal["auto"] | Kind = "auto",
    folds: int = FOLDS,
    resamples: int = RESAMPLES,
    seed: int = 0,
    settings: Settings = DEFAULT,
) -> Transfer:
    """Fit on features ``(n, d)``, judge on others ``(m, d)``, standardised as the first ones were.

    Between layers or checkpoints both sides hold the same texts: then name each text, or its
    group, in ``fit_groups`` and ``eval_groups``. A row whose group was fitted is judged by a probe
    fitted without the fold of that group; all other rows by one fitted on everything. Without
    groups on both sides every row counts as unseen.

    The interval draws the groups judged and takes the probe as given; where groups were fitted it
    is too narrow, as out-of-fold intervals are (see `probe`). Raises StratascopeError for widths
    that differ, classes that were not fitted, and what `design` raises it for.
    """
    target = target_of(fit_labels, kind)
    judged = _judged(target, eval_labels)
    fitted, other = (
        features_of(fit_features, len(target), "fitted"),
        features_of(eval_features, len(judged), "judged"),
    )
    if fitted.shape[1] != other.shape[1]:
        raise StratascopeError(
            f"a probe of width {fitted.shape[1]} cannot be applied to width {other.shape[1]}"
        )
    groups = numbers_of(fit_groups, len(target), "fit_groups")
    clusters = numbers_of(eval_groups, len(judged), "eval_groups")
    fold = fold_numbers(target, groups, folds, seed_of(seed, "folds") % 2**32)
    part = _parts(fit_groups, eval_groups, fold, len(judged), folds)
    # One thread inside each product, as in `probe_layers`.
    with threadpool_limits(limits=1, user_api="blas"):
        scores = _scores(fitted, target, fold, other, part, settings)
    predictions = Predictions(judged, scores, part)
    counts = resample_counts(int(clusters.max()) + 1, resamples, seed_of(seed, "bootstrap"))
    return Transfer(
        _measures(predictions, clusters, counts),
        _majority(target, predictions),
        predictions,
        part == folds,
    )


def _judged(target: Target, eval_labels: Sequence[Any] | npt.NDArray[Any]) -> Target:
    """The other labels in terms of the fitted classes."""
    if target.kind == "ridge":
        return target_of(eval_labels, "ridge")
    labels = np.asarray(eval_labels).tolist()
    place = {name: float(code) for code, name in enumerate(target.classes)}
    unknown = [label for label in labels if label not in place]
    if unknown:
        raise StratascopeError(
            f"labels: class {unknown[0]!r} was not fitted; the probe knows {list(target.classes)}"
        )
    return target.with_values(np.array([place[label] for label in labels]))


def _parts(
    fit_groups: Sequence[Hashable] | None,
    eval_groups: Sequence[Hashable] | None,
    fold: IntArray,
    rows: int,
    folds: int,
) -> IntArray:
    """For each row judged, the fold of its group, or ``folds`` if it was not fitted: ``(m,)``."""
    if fit_groups is None or eval_groups is None:
        return np.full(rows, folds)
    of_group = dict(zip(fit_groups, fold.tolist(), strict=True))
    return np.array([of_group.get(group, folds) for group in eval_groups])


def _scores(
    fitted: FloatArray,
    target: Target,
    fold: IntArray,
    other: FloatArray,
    part: IntArray,
    settings: Settings,
) -> FloatArray:
    scores = np.empty((len(other), max(1, len(target.classes))))
    for number in np.unique(part):
        inside, rows = fold != number, part == number
        _, left = np.unique(fold[inside], return_inverse=True)
        own = Target(target.kind, target.values[inside], target.classes)
        logits = fit_weights(fitted[inside], own, left, settings).apply(other[rows])
        scores[rows] = logits if target.kind == "ridge" else log_probabilities(logits)
    return scores


def _measures(
    predictions: Predictions, clusters: IntArray, counts: FloatArray
) -> dict[str, Estimate]:
    found = {}
    for name, measure in measures_of(predictions.target.kind).items():
        estimate = value_of(measure, predictions)
        draws = resampled(partial(measure.compute, predictions), clusters, counts)
        ends = ends_of(measure, estimate, draws, counts.shape[1])
        found[name] = Estimate(estimate, *ends, len(predictions.target), counts.shape[1])
    return found


def _majority(target: Target, judged: Predictions) -> dict[str, float]:
    if target.kind == "ridge":
        row = np.array([target.values.mean()])
    else:
        row = np.log(np.bincount(target.codes) / len(target))
    scores = np.broadcast_to(row, judged.scores.shape)
    constant = Predictions(judged.target, scores, judged.folds)
    return {name: value_of(measure, constant) for name, measure in measures_of(target.kind).items()}
