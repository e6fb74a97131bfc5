"""How well messages that are known to tell something are told apart by the references."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stratascope.measure.bootstrap import numbered, resample_counts
from stratascope.measure.interval import RESAMPLES, seed_of
from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.permutation import Tested, against
from stratascope.measure.recognition import accuracy, auroc, weighted_accuracy, weighted_auroc
from stratascope.measure.weighted import SHARE, Statistic, cluster_ends
from stratascope.report.tables.frames import frame_of
from stratascope.report.tables.told import KINDS, Messages, Relabelled

COLUMNS = (
    "checkpoint", "position", "source", "layer", "centred", "quantity",
    "estimate", "lower", "upper", "n", "conversations", "null", "p", "p_corrected",
)  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """A measure of recognition: of many labellings, and of one as clusters are weighed."""

    relabelled: Callable[[FloatArray, IntArray], FloatArray]
    weighted: Callable[[FloatArray, IntArray, IntArray, int], Statistic]


QUANTITIES = {
    "auroc": Quantity(auroc, weighted_auroc),
    "balanced_accuracy": Quantity(accuracy, weighted_accuracy),
}


@dataclass(frozen=True, eq=False)
class Measured:
    """A quantity at one checkpoint, as arrays ``(..., sources, layers, kinds)``.

    ``draws`` under relabelling, the data first; ``resamples`` of the ``conversations``; ``without``
    each of them; ``n`` messages.
    """

    messages: Messages
    draws: FloatArray
    resamples: FloatArray
    without: FloatArray
    n: IntArray
    conversations: list[str]

    @property
    def estimate(self) -> FloatArray:
        """The quantity of the data."""
        return np.asarray(self.draws[0])

    def ends(self, *at: int) -> tuple[float, float]:
        """The ends of an estimate's interval; NaN with fewer than 2 conversations."""
        resamples = self.resamples.reshape(len(self.resamples), -1)
        place = np.ravel_multi_index(at, self.estimate.shape)
        clusters = len(self.conversations)
        return cluster_ends(float(self.estimate[at]), resamples[:, place], clusters, SHARE)


@dataclass(frozen=True, eq=False)
class Recognised:
    """A quantity at every checkpoint. ``tested[c]`` is its test at checkpoint c, of one family."""

    quantity: str
    measured: list[Measured]
    tested: list[Tested]


def recognise(
    data: Sequence[Messages], cosines: Sequence[FloatArray], labellings: Relabelled
) -> dict[str, Recognised]:
    """Each of `QUANTITIES` at each checkpoint with labelled messages.

    ``cosines`` ``(n, k, sources, layers, kinds)`` are those of each of ``data``. p-values are
    corrected over all checkpoints, sources and layers, and both kinds of cosines, at once.
    """
    return {name: _recognise(name, data, cosines, labellings) for name in QUANTITIES}


def _recognise(
    name: str, data: Sequence[Messages], cosines: Sequence[FloatArray], labellings: Relabelled
) -> Recognised:
    measured = [
        _measure(QUANTITIES[name], *item, labellings)
        for item in zip(data, cosines, strict=True)
        if (item[0].told >= 0).any()
    ]
    flat = [item.draws.reshape(len(item.draws), -1) for item in measured]
    family = against(np.concatenate(flat, axis=1), two_sided=False)
    starts = np.cumsum([0, *(part.shape[1] for part in flat)]).tolist()
    tested = [
        family.part(start, item.estimate.shape)
        for item, start in zip(measured, starts, strict=False)
    ]
    return Recognised(name, measured, tested)


def _measure(
    quantity: Quantity, messages: Messages, cosines: FloatArray, labellings: Relabelled
) -> Measured:
    rows = np.flatnonzero(messages.told >= 0)
    each = [messages.conversations[row] for row in rows]
    codes, clusters, conversations = messages.told[rows], numbered(each), list(dict.fromkeys(each))
    total = len(conversations)
    relabelled = labellings.codes(each, codes)
    counts = resample_counts(total, RESAMPLES, seed_of("recognition", messages.checkpoint.name))
    shape = cosines.shape[2:]
    draws = np.full((len(relabelled), *shape), np.nan)
    resamples, without = np.full((RESAMPLES, *shape), np.nan), np.full((total, *shape), np.nan)
    n = np.zeros(shape, dtype=np.int64)
    for at in np.ndindex(shape):
        scores = cosines[(rows, slice(None), *at)]
        there = ~np.isnan(scores).all(axis=1)
        n[at] = there.sum()
        if n[at]:
            every = (slice(None), *at)
            draws[every] = quantity.relabelled(scores[there], relabelled[:, there])
            statistic = quantity.weighted(scores[there], codes[there], clusters[there], total)
            resamples[every], without[every] = statistic(counts), statistic(1.0 - np.eye(total))
    return Measured(messages, draws, resamples, without, n, conversations)


def recognition_frame(found: dict[str, Recognised]) -> pd.DataFrame:
    """The table: a row for each quantity, checkpoint, source, layer and kind of cosine."""
    return frame_of([row for item in found.values() for row in _rows(item)], COLUMNS)


def _rows(found: Recognised) -> Iterator[dict[str, Any]]:
    for item, tested in zip(found.measured, found.tested, strict=True):
        checkpoint = item.messages.checkpoint
        for at in np.ndindex(item.estimate.shape):
            if item.n[at]:
                lower, upper = item.ends(*at)
                yield {
                    "checkpoint": checkpoint.name,
                    "position": checkpoint.first_position,
                    "source": checkpoint.sources[at[0]],
                    "layer": checkpoint.layers[at[1]],
                    "centred": KINDS[at[2]],
                    "quantity": found.quantity,
                    "estimate": item.estimate[at],
                    "lower": lower,
                    "upper": upper,
                    "n": item.n[at],
                    "conversations": len(item.conversations),
                    "null": tested.null[at],
                    "p": tested.p[at],
                    "p_corrected": tested.corrected[at],
                }
