"""Runs under the microscope: attention heads, layers against each other, single neurons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from stratascope.measure.attention import SCORES
from stratascope.report.tables.frames import row_frame
from stratascope.report.tables.states import Study
from stratascope.store.runs import read_json

ATTENTION = (
    "run", "checkpoint", "layer", "head", "n", *SCORES, *(f"{name}_uniform" for name in SCORES),
)  # fmt: skip
INDUCTION = (
    "checkpoint", "layer", "head",
    "induction", "induction_lower", "induction_upper", "induction_null", "induction_p",
    "induction_head", "previous", "previous_lower", "previous_upper", "previous_null", "previous_p",
    "previous_head", "n",
)  # fmt: skip
CROSS_LAYER = (
    "run", "checkpoint", "site", "layer_a", "layer_b", "cosine", "centred", "cka", "n",
)  # fmt: skip
TRAJECTORY = (
    "run", "checkpoint", "layer", "neuron", "site", "step", "position", "token", "value",
)  # fmt: skip


def attention(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`attention`, a checkpoint at a time."""
    yield from _frames("attention", study.analyses.attention, ATTENTION)


def induction(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`induction`, a checkpoint at a time."""
    yield from _frames("induction", study.analyses.inductions, INDUCTION)


def cross_layer(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`cross_layer`, a checkpoint at a time."""
    yield from _frames("cross_layer", study.analyses.cross_layers, CROSS_LAYER)


def trajectory(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`trajectory`, a checkpoint at a time."""
    yield from _frames("trajectory", study.analyses.trajectories, TRAJECTORY)


def _frames(
    table: str, indices: Sequence[Path], columns: Sequence[str]
) -> Iterator[dict[str, pd.DataFrame]]:
    for path in indices:
        if rows := read_json(path)["rows"]:
            yield {table: row_frame(rows, columns)}
