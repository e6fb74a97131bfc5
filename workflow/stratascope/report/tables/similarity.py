"""How alike layers and checkpoints represent a dataset's texts, and how far each layer has drifted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from stratascope.report.tables.frames import row_frame
from stratascope.report.tables.states import Study
from stratascope.store.runs import read_json

SIMILARITY = (
    "dataset", "checkpoint_a", "checkpoint_b", "site", "layer_a", "layer_b", "measure",
    "value", "lower", "upper", "p", "null_mean", "null_upper", "n", "groups",
)  # fmt: skip
DRIFT = (
    "dataset", "checkpoint", "against", "against_checkpoint", "site", "layer", "measure",
    "value", "lower", "upper", "n", "groups",
)  # fmt: skip


def similarity(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`similarity` and `drift`, a dataset at a time."""
    for path in study.analyses.similarities:
        content = read_json(path)
        rows = [{"dataset": content["dataset"], **row} for row in content["rows"]]
        drifted = list(_drift(rows, content["checkpoints"]))
        if rows:
            yield {"similarity": row_frame(rows, SIMILARITY)}
        if drifted:
            yield {"drift": row_frame(drifted, DRIFT)}


def _drift(rows: Sequence[dict[str, Any]], checkpoints: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Each layer against itself at the first and at the last checkpoint."""
    first, last = checkpoints[0], checkpoints[-1]
    for row in rows:
        a, b = row["checkpoint_a"], row["checkpoint_b"]
        if a == b or row["layer_a"] != row["layer_b"]:
            continue
        here = {**row, "layer": row["layer_a"]}
        if a == first:
            yield {**here, "checkpoint": b, "against": "first", "against_checkpoint": a}
        if b == last:
            yield {**here, "checkpoint": a, "against": "last", "against_checkpoint": b}
