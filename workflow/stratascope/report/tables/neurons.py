"""Every neuron with its distribution and best property, and the examples of the most selective."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow.parquet

from stratascope.report.tables.frames import row_frame
from stratascope.report.tables.states import Study
from stratascope.store.runs import read_json

NEURONS = (
    "dataset", "checkpoint", "site", "layer", "neuron",
    "count", "mean", "std", "min", "max",
    "q01", "q05", "q25", "median", "q75", "q95", "q99",
    "firing_rate", "kurtosis", "skewness", "dead", "silent",
    "property", "class", "auroc", "correlation", "mutual_information", "z", "p", "q", "p_max", "n",
    "neighbour", "neighbour_correlation",
)  # fmt: skip
EXAMPLES = (
    "dataset", "checkpoint", "site", "layer", "neuron", "which", "rank",
    "value", "line", "position", "token", "text",
)  # fmt: skip


def neurons(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`neurons`, and of the most selective of each layer `neuron_examples`."""
    for path in study.analyses.neurons:
        content = read_json(path)
        place = {key: content[key] for key in ("dataset", "checkpoint", "site")}
        columns = [name for name in NEURONS if name not in place]
        table = pyarrow.parquet.read_table(path.with_suffix(".parquet"), columns=columns)
        frame = table.to_pandas()
        for key, value in place.items():
            frame[key] = value
        for key in (*place, "property", "class"):
            frame[key] = pd.Categorical(frame[key])
        for name in ("dead", "silent"):
            frame[name] = frame[name].astype(int)
        yield {"neurons": frame[list(NEURONS)]}
        rows = [
            {**place, "layer": shown["layer"], "neuron": shown["neuron"], "which": which, **row}
            for shown in content["shown"]
            for which in ("top", "bottom")
            for row in map(_example, shown[which])
        ]
        if rows:
            yield {"neuron_examples": row_frame(rows, EXAMPLES)}


def _example(row: dict[str, Any]) -> dict[str, Any]:
    """The text around the strongest token, which stands in « »."""
    tokens, at = row["tokens"], row["at"]
    text = "".join([*tokens[:at], "«", tokens[at], "»", *tokens[at + 1 :]])
    return {**row, "text": text}
