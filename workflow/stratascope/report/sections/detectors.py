"""Induction and previous-token heads: what each head scores, and the strongest one over checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.detail import cube
from stratascope.report.figure import Axis, Figure, View, axes, band, heatmap, line
from stratascope.report.text import interval, number, plot_text

DETECTORS = (("induction", "Induction"), ("previous", "Previous token"))
# So many heads of all checkpoints together are drawn one by one.
MOST_HEADS = 12_000


def detector_maps(data: ReportData) -> Figure | None:
    """Every head of every layer, a checkpoint at a time, the last first; None if not asked for."""
    table = data.table("induction")
    if table.empty or len(table) > MOST_HEADS:
        return None
    names = list(dict.fromkeys(table["checkpoint"]))[::-1]
    return Figure(
        id="fig-detectors",
        title="Heads on repeated random tokens",
        note="A star marks a head that is one: corrected p at most 0.05, and 0.1 above its null.",
        views={
            f"{detector}/{name}": _map(table, name, detector, words)
            for detector, words in DETECTORS
            for name in names
        },
        axes=(
            Axis("detector", "Detector", DETECTORS),
            Axis("checkpoint", "Checkpoint", tuple((name, name) for name in names)),
        ),
        alt="Heatmap: how much each attention head does what an induction or previous-token head does.",
    )


def _map(table: pd.DataFrame, checkpoint: str, detector: str, words: str) -> View:
    rows = table[table["checkpoint"] == checkpoint].sort_values(["layer", "head"])
    layers, heads = (sorted(rows[name].unique().tolist()) for name in ("layer", "head"))
    values = cube(rows, detector, (("layer", layers), ("head", heads)))
    texts = np.array([_facts(row, detector) for _, row in rows.iterrows()], dtype=object)
    hover = f"layer %{{y}}, head %{{x}}<br>{words}: %{{z:.3f}}%{{text}}"
    trace = heatmap(values, list(map(str, heads)), detector, hover, y=list(map(str, layers)))
    trace |= {"ends": [0, 1], "text": texts.reshape(values.shape).tolist()}
    layout = axes("head", "layer", xaxis={"type": "category"})
    return {"data": [trace], "layout": layout, "height": 130 + 34 * max(4, len(layers))}


def _facts(row: pd.Series, detector: str) -> str:
    star = " \u2605" if row[f"{detector}_head"] else ""
    ends = interval(row[f"{detector}_lower"], row[f"{detector}_upper"])
    null, p = number(row[f"{detector}_null"]), number(row[f"{detector}_p"])
    return f"{star} ({ends})<br>null: {null}, p = {p}<br>n = {row['n']}"


def strongest(data: ReportData) -> Figure | None:
    """The strongest head of each checkpoint, with its interval and its null; None for one checkpoint."""
    table = data.table("induction")
    if table.empty or table["checkpoint"].nunique() < 2:
        return None
    names = list(dict.fromkeys(table["checkpoint"]))
    return Figure(
        id="fig-detectors-strongest",
        title="The strongest head, checkpoint by checkpoint",
        note="Not always the same head; the best of many is flattered by the choice. Its null is beside it.",
        views={detector: _curve(table, names, detector) for detector, _ in DETECTORS},
        axes=(Axis("detector", "Detector", DETECTORS),),
        alt="Line chart: the highest score of any head at each checkpoint, and its null.",
    )


def _curve(table: pd.DataFrame, names: Sequence[str], detector: str) -> View:
    best = table.loc[table.groupby("checkpoint", sort=False)[detector].idxmax()]
    best = best.set_index("checkpoint").loc[list(names)]
    x = [plot_text(name) for name in names]
    places = [f"{layer}.{head}" for layer, head in zip(best["layer"], best["head"], strict=True)]
    hover = "%{y:.3f}, head %{text}"
    low, high = (best[f"{detector}_{end}"].tolist() for end in ("lower", "upper"))
    data = [
        band(x, low, high, ("plain", 1)),
        line(
            x, best[detector].to_numpy(), "strongest head", ("plain", 1), hover=hover, text=places
        ),
        line(x, best[f"{detector}_null"].to_numpy(), "its null", ("plain", 0)),
    ]
    layout = axes("checkpoint", "weight", xaxis={"type": "category"}, yaxis={"rangemode": "tozero"})
    return {"data": data, "layout": layout, "closest": True}
