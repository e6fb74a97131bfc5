"""Within a run: how far the state moves from the last prompt token to the end of the answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stratascope.report.data import MEASURES, ReportData
from stratascope.report.detail import cube
from stratascope.report.figure import Axis, Content, Figure, View, axes, heatmap, layer_axis
from stratascope.report.sections.axes import MEASURE_AXIS, position_axis, source_axis
from stratascope.report.text import measure_name

SUMMARY_OF = {
    "cosine": "mean_cosine",
    "centred_cosine": "mean_centred_cosine",
    "MAE": "mean_MAE",
    "overlap": "mean_overlap",
}


def build(data: ReportData) -> Content | None:
    """The section; None where no run has both states."""
    report = data.table("intra_run_report")
    layers = data.table("intra_run_cosines")
    if report.empty or layers.empty:
        return None
    figure = _heatmap_figure(data)
    return Content(
        context={
            "overview": overview(data, report),
            "statistics": statistics(data, report),
            "moved": len(set(report["run"])),
            "position_axis": position_axis(data),
            "measure_axis": Axis(
                "measure", "Cosines", (("centred_cosine", "Centred"), ("cosine", "Raw"))
            ),
        },
        figures={"layers": figure},
        arrays=layer_arrays(data, layers),
        parts=(
            ("within-overview", "Overview"),
            ("within-layers", "Layer by layer"),
            ("explorer", "Run explorer"),
        ),
    )


def overview(data: ReportData, report: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a run: the mean of each measure over layers, for each source."""
    table = {(row["run"], row["source"]): row for row in report.to_dict("records")}
    return [
        {
            "run": run,
            "cells": [
                {
                    measure: _value(table.get((run.label, source)), column)
                    for measure, column in SUMMARY_OF.items()
                }
                for source in data.sources
            ],
        }
        for run in data.shown
    ]


def _value(row: Any, column: str) -> float | None:
    value = None if row is None else row.get(column)
    return None if value is None or not np.isfinite(value) else float(value)


def statistics(data: ReportData, report: pd.DataFrame) -> list[dict[str, Any]]:
    """Over all runs, for each measure and source: n, mean, spread, median, range, the extreme run."""
    rows = []
    for measure, column in SUMMARY_OF.items():
        if column not in report:
            continue
        for source in data.sources:
            part = report[(report["source"] == source) & report[column].notna()]
            if part.empty:
                continue
            values = part[column].to_numpy(dtype=float)
            far = int(np.argmax(values) if measure == "MAE" else np.argmin(values))
            rows.append(
                {
                    "measure": measure,
                    "source": source,
                    "n": len(values),
                    "mean": float(values.mean()),
                    "std": float(values.std(ddof=1)) if len(values) > 1 else None,
                    "median": float(np.median(values)),
                    "lowest": float(values.min()),
                    "highest": float(values.max()),
                    "extreme": part["run"].iloc[far],
                }
            )
    return rows


def array_name(measure: str, source: str) -> str:
    """What the payload calls runs x layers of one measure at one source."""
    return f"intra/{measure}/{source}"


def layer_arrays(data: ReportData, layers: pd.DataFrame) -> dict[str, Any]:
    """Runs x layers for each measure and source; heatmaps and the run explorer share them."""
    labels = [run.label for run in data.shown]
    measures = [name for name in (*MEASURES, "background_cosine") if name in layers]
    levels = (("run", labels), ("layer", data.layers))
    return {
        array_name(measure, source): cube(layers[layers["source"] == source], measure, levels)
        for measure in measures
        for source in data.sources
    }


def _heatmap_figure(data: ReportData) -> Figure:
    views: dict[str, View] = {
        f"{measure}/{source}": {
            "data": [
                heatmap(
                    {"ref": array_name(measure, source)},
                    data.layers,
                    measure,
                    f"%{{y}}<br>layer %{{x}}: {measure_name(measure)} %{{z:.4f}}",
                    rows=[run.key for run in data.shown],
                )
            ],
            "layout": axes("layer", "", xaxis=layer_axis()),
        }
        for measure in MEASURES
        for source in data.sources
    }
    return Figure(
        id="fig-within-layers",
        title="Initial to final state, layer by layer",
        note="One row a run. Left: near the embeddings; right: near the output.",
        views=views,
        axes=(
            MEASURE_AXIS,
            source_axis(data),
        ),
        height=140 + 22 * len(data.shown),
        alt="Heatmap with one row a run and one column a layer: similarity of the state at the "
        "last "
        "prompt token to the state at the end of the answer.",
    )
