"""What linear probes found: scores with their baselines, single predictions, and transfer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute
import pyarrow.parquet

from stratascope.measure.multiple import best_of_all, max_statistic
from stratascope.measure.probes import MEASURES
from stratascope.report.tables.frames import row_frame
from stratascope.report.tables.states import Study
from stratascope.store.runs import read_json

PROBES = (
    "dataset", "checkpoint", "label", "site", "layer", "measure",
    "estimate", "lower", "upper", "n", "groups",
    "majority", "shuffled_mean", "shuffled_upper", "p", "p_max",
    "control", "selectivity", "selectivity_lower", "selectivity_upper",
    "difference_of_means", "bag_of_tokens",
)  # fmt: skip
PREDICTIONS = (
    "dataset", "checkpoint", "label", "site", "layer", "line", "group", "truth", "predicted",
    "probability",
)  # fmt: skip
TRANSFER = (
    "dataset", "label", "site", "checkpoint_from", "layer_from", "checkpoint_to", "layer_to",
    "measure", "estimate", "lower", "upper", "majority", "n", "groups", "dataset_to",
)  # fmt: skip

# A label's best layer is the one with the highest of these, whichever its probe has.
BEST_BY = ("accuracy", "r2")
_SAME = ("dataset", "label", "measure")


def probes(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`probes` and `probe_predictions`."""
    every: list[dict[str, Any]] = []
    shuffled: dict[tuple[str, str, str], list[list[float | None]]] = {}
    for path in study.analyses.probes:
        content = read_json(path)
        place = {"dataset": content["dataset"], "checkpoint": content["checkpoint"]}
        rows = [{**place, **row, "shuffled_upper": row["shuffled_95"]} for row in content["rows"]]
        every += rows
        for label, measures in content["shuffled_best"].items():
            for measure, best in measures.items():
                shuffled.setdefault((content["dataset"], label, measure), []).append(best)
        for frame in _predictions(path, place, rows):
            yield {"probe_predictions": frame}
    if every:
        frame = row_frame(every, (name for name in PROBES if name != "p_max"))
        # All layers, sites and checkpoints were looked at for one label: all of them count.
        frame["p_max"] = np.nan
        for key, at in frame.groupby(list(_SAME), observed=True).groups.items():
            higher = MEASURES[key[-1]].higher_is_better
            best = best_of_all(np.array(shuffled[key], dtype=np.float64), higher)
            null = np.broadcast_to(best, (len(at), len(best)))
            frame.loc[at, "p_max"] = max_statistic(frame.loc[at, "estimate"], null, higher)
        yield {"probes": frame}


def _predictions(
    path: Path, place: dict[str, Any], rows: Sequence[dict[str, Any]]
) -> Iterator[pd.DataFrame]:
    """The predictions of each label's best layer; those of all layers stay in the file itself."""
    table = pyarrow.parquet.read_table(path.with_suffix(".parquet"))
    for label in dict.fromkeys(row["label"] for row in rows):
        judged = [r for r in rows if r["label"] == label and r["measure"] in BEST_BY]
        best = max(judged, key=lambda row: row["estimate"])
        layer = pyarrow.compute.field("layer")
        chosen = table.filter(
            (pyarrow.compute.field("label") == label)
            & (pyarrow.compute.field("site") == best["site"])
            & (layer.is_null() if best["layer"] is None else layer == best["layer"])
        )
        said = [{**place, **row} for row in chosen.to_pylist()]
        yield row_frame(said, PREDICTIONS)


def transfers(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`probe_transfer`."""
    for path in study.analyses.transfers:
        content = read_json(path)
        rows = [{"dataset": content["dataset"], **row} for row in content["rows"]]
        if rows:
            yield {"probe_transfer": row_frame(rows, TRANSFER)}
