"""Every snapshot of a conversation against every reference of its run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import pandas as pd

from stratascope.measure.centre import centred
from stratascope.measure.discrimination import preferred
from stratascope.measure.metrics import METRICS, BoolArray, FloatArray, cosine_pairs, missing
from stratascope.report.tables.centres import snapshot_centre
from stratascope.report.tables.frames import Axis, long_frame
from stratascope.report.tables.states import Checkpoint, ReferenceSet, Snapshot, Study

COLUMNS = (
    "run", "message", "role", "reference", "position", "source", "layer",
    "cosine", "MAE", "overlap", "centred_cosine", "preferred",
)  # fmt: skip

_ROWS_AT_ONCE = 2_000_000


def snapshot_reference(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`snapshot_reference`, some runs at a time.

    ``preferred`` is 1 for the reference with the largest centred cosine of a message's row at
    that position, source and layer, else 0.
    """
    for checkpoint in study.checkpoints:
        for references, places in _blocks(checkpoint):
            yield {"snapshot_reference": _frame(checkpoint, references, places)}


def _blocks(checkpoint: Checkpoint) -> Iterator[tuple[ReferenceSet, list[int]]]:
    """Snapshots (their places), in order, that share a reference set and fit into memory."""
    slices = len(checkpoint.positions) * len(checkpoint.sources) * len(checkpoint.layers)
    numbered = enumerate(checkpoint.snapshots)
    for number, items in groupby(numbered, key=lambda item: item[1].run.reference_set):
        if number is None or slices == 0:
            continue
        references = checkpoint.reference_sets[number]
        places = [place for place, _ in items]
        block = max(1, _ROWS_AT_ONCE // max(1, slices * len(references.labels)))
        for start in range(0, len(places), block):
            yield references, places[start : start + block]


def _frame(checkpoint: Checkpoint, references: ReferenceSet, places: list[int]) -> pd.DataFrame:
    captured, measures = _measure(checkpoint, references, places)
    best = preferred(measures["centred_cosine"])[:, None]
    order = np.arange(len(references.labels)).reshape(1, -1, 1, 1, 1)
    snapshots: list[Snapshot] = [checkpoint.snapshots[place] for place in places]
    axes: tuple[Axis, ...] = (
        {
            "run": [snapshot.run.label for snapshot in snapshots],
            "message": [snapshot.message for snapshot in snapshots],
            "role": [snapshot.role for snapshot in snapshots],
        },
        {"reference": references.labels},
        {"position": checkpoint.positions},
        {"source": checkpoint.sources},
        {"layer": checkpoint.layers},
    )
    return long_frame(axes, captured, **measures, preferred=(best == order).astype(np.int8))


def _measure(
    checkpoint: Checkpoint, references: ReferenceSet, places: list[int]
) -> tuple[BoolArray, dict[str, FloatArray]]:
    """Captured or not, and each measure, (snapshots, references, positions, sources, layers)."""
    sizes = (checkpoint.positions, checkpoint.sources, checkpoint.layers)
    shape = (len(places), len(references.labels), *map(len, sizes))
    captured = np.zeros(shape, dtype=bool)
    measures = {name: np.full(shape, np.nan) for name in (*METRICS, "centred_cosine")}
    for cell in np.ndindex(shape[2:]):
        at = (
            checkpoint.positions[cell[0]],
            checkpoint.sources[cell[1]],
            checkpoint.layers[cell[2]],
        )
        states = checkpoint.snapshot_states(*at, places)
        targets = checkpoint.reference_states(*at)[references.rows]
        cells = (slice(None), slice(None), *cell)
        captured[cells] = ~(missing(states)[:, None] | missing(targets)[None])
        for name, metric in METRICS.items():
            measures[name][cells] = metric.pairwise(states, targets)
        centre = snapshot_centre(checkpoint, *at)
        measures["centred_cosine"][cells] = cosine_pairs(
            centred(states, centre), centred(targets, centre)
        )
    return captured, measures
