"""Claims, tested: how well layers recognise what messages tell, and what came of each claim."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.figure import (
    Axis,
    Content,
    Figure,
    View,
    axes,
    band,
    error_bars,
    layer_axis,
    line,
)
from stratascope.report.sections.axes import checkpoint_axis, source_axis
from stratascope.report.tested import CLAIMS, sentences
from stratascope.report.text import plot_text

QUANTITY_AXIS = Axis(
    "quantity",
    "Measure",
    (("auroc", "AUROC"), ("balanced_accuracy", "Nearest reference right")),
)
RAW, INK = ("plain", 0), ("plain", 1)
DOTTED = {"dash": "dot", "width": 1.6}
ALPHA = 0.05
# With more rows than that, those of single references are left to the table's file.
LISTED = 400


def build(data: ReportData) -> Content | None:
    """The section; None for a study without references."""
    table, layers = data.table("claims"), data.table("recognition")
    if table.empty:
        return None
    figures = {}
    if not layers.empty:
        figures["layers"] = _layers(data, layers)
        if len(data.checkpoints) > 1:
            figures["training"] = _training(data, table)
    claims = [
        {"claim": claim, "id": f"claims-{claim.name}", "sentences": found}
        for claim in CLAIMS
        if (found := sentences(data, claim))
    ]
    listed = table if len(table) <= LISTED else table[table["reference"] == ""]
    return Content(
        context={
            "claims": claims,
            "labelled": bool(figures),
            "rows": listed.to_dict("records"),
            "omitted": len(table) - len(listed),
        },
        figures=figures,
        parts=(
            *((("claims-recognition", "Told apart, by layer"),) if figures else ()),
            ("claims-tested", "Claim by claim"),
            ("claims-numbers", "The numbers"),
        ),
    )


def _layers(data: ReportData, table: pd.DataFrame) -> Figure:
    views: dict[str, View] = {}
    for (name, source, quantity), rows in table.groupby(
        ["checkpoint", "source", "quantity"], sort=False
    ):
        views[f"{quantity}/{name}/{source}"] = _layers_view(data, str(name), rows)
    return Figure(
        id="fig-claims-layers",
        title="Telling labels apart, layer by layer",
        note="AUROC: in how many pairs the message that tells a label is the more similar to its "
        "reference. The band is the 95 % interval of the centred measure (whole conversations "
        "resampled), the dotted line what relabelled conversations give. Large markers: above it "
        f"with p at most {ALPHA}, corrected for all layers, sources and checkpoints.",
        views=views,
        axes=(QUANTITY_AXIS, checkpoint_axis(data), source_axis(data)),
        height=380,
        alt="Line chart over layers: how well labelled messages are told apart, centred and raw, with "
        "interval and null.",
    )


def _layers_view(data: ReportData, name: str, rows: pd.DataFrame) -> View:
    key, paint = f"c:{name}", ("checkpoint", data.checkpoint_names.index(name))
    centred, raw = (
        rows[rows["centred"] == kind].set_index("layer").reindex(list(data.layers))
        for kind in (1, 0)
    )

    def column(some: pd.DataFrame, which: str) -> list[float | None]:
        return [float(value) if np.isfinite(value) else None for value in some[which].astype(float)]

    def marks(some: pd.DataFrame) -> dict[str, Any]:
        return {"marker": {"size": np.where(some["p_corrected"] <= ALPHA, 11, 5).tolist()}}

    return {
        "data": [
            band(data.layers, column(centred, "lower"), column(centred, "upper"), paint, key=key),
            line(
                data.layers, column(centred, "estimate"), "centred", paint, key=key, **marks(centred)
            ),
            line(data.layers, column(raw, "estimate"), "raw", RAW, key=key, **marks(raw)),
            line(
                data.layers, column(centred, "null"), "null", INK, key=key, mode="lines", line=DOTTED
            ),
        ],
        "layout": axes("layer", "share", xaxis=layer_axis(), yaxis={"tickformat": ".0%"}),
    }  # fmt: skip


def _training(data: ReportData, table: pd.DataFrame) -> Figure:
    """The best layer of each checkpoint, with both kinds of cosine."""
    views: dict[str, View] = {}
    names = [plot_text(name) for name in data.checkpoint_names]
    for quantity, _ in QUANTITY_AXIS.options:
        rows = table[table["quantity"] == quantity]
        lines = []
        for kind, words, paint in ((1, "centred", ("checkpoint", 0)), (0, "raw", RAW)):
            some = rows[rows["centred"] == kind].set_index("checkpoint")
            some = some.reindex(list(data.checkpoint_names))
            middle, low, high = (
                some[which].to_numpy(dtype=float) for which in ("estimate", "lower", "upper")
            )
            bars = error_bars(middle, low, high)
            lines.append(
                line(
                    names,
                    middle,
                    words,
                    paint,
                    error_y=bars,
                    offsetgroup=str(kind),
                    hover="%{y:.3f}",
                )
            )
            if kind:
                null = some["null"].to_numpy(dtype=float)
                lines.append(line(names, null, "null", INK, mode="lines", line=DOTTED))
        layout = axes(
            "checkpoint", "share at the best layer", xaxis={"type": "category"},
            yaxis={"tickformat": ".0%"},
        )  # fmt: skip
        views[quantity] = {
            "data": lines,
            "layout": {**layout, "scattermode": "group", "scattergap": 0.8},
        }
    return Figure(
        id="fig-claims-training",
        title="Telling labels apart, checkpoint by checkpoint",
        note="At each checkpoint's best layer of the residual stream, with 95 % intervals. The choice "
        "of the best flatters; the tests below take it into account.",
        views=views,
        axes=(QUANTITY_AXIS,),
        height=320,
        alt="Points with intervals over checkpoints: how well labelled messages are told apart.",
    )
