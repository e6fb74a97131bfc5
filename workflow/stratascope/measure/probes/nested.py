"""The penalty of a logistic probe, chosen inside its training set.

Each training set is a union of folds. For every penalty, from strong to weak, a probe is fitted on
all of these folds but one and judged by its log-loss on that one, each in turn; the penalty with
the least mean loss wins, and the probe is fitted again on all of them. Beyond the best penalty the
loss grows, as weaker ones fit noise: after two weaker ones that were no better the search ends.
Penalties are judged in single precision, probes are fitted in double.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stratascope.measure.metrics import BoolArray, FloatArray, IntArray
from stratascope.measure.probes.logistic import (
    Problems,
    Rows,
    columns_of,
    fit,
    log_probabilities,
    rescaled,
)

# So many penalties in a row may be no better than the best before the search ends.
PATIENCE = 2
# A Newton step would lower the loss of a row by less than this: for judging a penalty, and for
# the probe itself.
JUDGED, FITTED = 1e-9, 1e-18
# Numbers in one array of the solver, at most; it holds some twenty of them.
BATCH = 1_500_000


@dataclass(frozen=True)
class TrainingSets:
    """S training sets on the same n rows.

    ``folds`` ``(n,)`` number the rows' folds, ``held`` ``(S,)`` is the fold that each set lacks
    (-1: none), and ``weight`` ``(S, m)`` multiplies each feature's penalty in it.
    """

    folds: IntArray
    held: IntArray
    weight: FloatArray

    def inner(self, chosen: int) -> IntArray:
        """The folds of a training set."""
        numbers = np.unique(self.folds)
        return np.asarray(numbers[numbers != self.held[chosen]])


@dataclass(frozen=True)
class Fitted:
    """Probes of T label vectors on S training sets.

    ``coefficients`` ``(T, S, k, m + 1)`` end in the intercepts; ``penalty`` ``(T, S)`` are those
    chosen.
    """

    coefficients: FloatArray
    penalty: FloatArray


def fit_nested(
    rows: Rows, codes: IntArray, classes: int, sets: TrainingSets, penalties: FloatArray
) -> Fitted:
    """Fit probes for the labels ``codes`` ``(T, n)``, with penalties given strong to weak."""
    width, count = rows.design.shape[1], len(sets.held)
    columns, inner = columns_of(classes), len(sets.inner(0))
    coefficients = np.empty((len(codes), count, columns, width))
    chosen = np.empty((len(codes), count))
    units = np.stack(np.divmod(np.arange(len(codes) * count), count), axis=1)
    single = rows.single()
    step = max(1, BATCH // (inner * columns * max(width, len(rows.design))))
    for start in range(0, len(units), step):
        some = units[start : start + step]
        search = _Search(codes, columns, sets, some, width)
        target, chosen_set = some.T
        chosen[target, chosen_set] = search.choose(single, penalties)
        coefficients[target, chosen_set] = search.refit(rows)
    return Fitted(coefficients, chosen)


class _Search:
    """The choice of the penalty for some units, pairs (label vector, training set)."""

    def __init__(
        self, codes: IntArray, columns: int, sets: TrainingSets, units: IntArray, width: int
    ) -> None:
        self.codes, self.sets, self.units = codes, sets, units
        self.inner = np.stack([sets.inner(chosen) for chosen in units[:, 1]])
        self.best = np.full(len(units), np.inf)
        self.penalty = np.zeros(len(units))
        self.start = np.zeros((len(units), columns, width))

    def choose(self, rows: Rows, penalties: FloatArray) -> FloatArray:
        """The penalty of least loss for each unit; keeps its coefficients to start from."""
        on = np.arange(len(self.units))
        idle = np.zeros(len(self.units), dtype=np.int64)
        w = np.zeros((len(on), self.inner.shape[1], *self.start.shape[1:]), rows.design.dtype)
        before = None
        for penalty in penalties:
            problems = self._inner_problems(on, penalty)
            start = w.reshape(-1, *w.shape[2:])
            if before is not None:
                start = rescaled(rows, start, problems, before)
            found, logits = fit(rows, problems, start, JUDGED)
            w, loss = found.reshape(w.shape), self._loss(on, logits)
            better = loss < self.best[on]
            improved = on[better]
            self.best[improved], self.penalty[improved] = loss[better], penalty
            self.start[improved] = w[better].mean(axis=1)
            idle[on] = np.where(better, 0, idle[on] + 1)
            going = idle[on] < PATIENCE
            on, w, before = on[going], w[going], penalty
            if len(on) == 0:
                break
        return self.penalty

    def refit(self, rows: Rows) -> FloatArray:
        """The coefficients of each unit on its whole training set."""
        target, chosen = self.units.T
        mask = self.sets.folds != self.sets.held[chosen, None]
        problems = Problems(self.codes[target], mask, self.penalty, self.sets.weight[chosen])
        return fit(rows, problems, self.start, FITTED)[0]

    def _inner_problems(self, on: IntArray, penalty: float) -> Problems:
        target, chosen = np.repeat(self.units[on], self.inner.shape[1], axis=0).T
        judged = self.inner[on].reshape(-1, 1)
        held = self.sets.held[chosen, None]
        mask = (self.sets.folds != held) & (self.sets.folds != judged)
        strength = np.full(len(target), penalty)
        return Problems(self.codes[target], mask, strength, self.sets.weight[chosen])

    def _loss(self, on: IntArray, logits: FloatArray) -> FloatArray:
        """Log-loss on the folds left out, mean over rows and then over folds: ``(units on,)``."""
        target = np.repeat(self.units[on, 0], self.inner.shape[1])
        judged: BoolArray = self.sets.folds == self.inner[on].reshape(-1, 1)
        scores = log_probabilities(np.moveaxis(logits, 1, 2))
        labels = np.take_along_axis(scores, self.codes[target][..., None], axis=2)[..., 0]
        mean = -np.where(judged, labels, 0.0).sum(axis=1) / judged.sum(axis=1)
        return np.asarray(mean.reshape(len(on), -1).mean(axis=1))
