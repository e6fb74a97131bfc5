"""Across checkpoints: how every measure moves from the first to the last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.detail import cube
from stratascope.report.figure import (
    Axis,
    Content,
    Figure,
    View,
    axes,
    error_bars,
    heatmap,
    layer_axis,
    line,
)  # fmt: skip
from stratascope.report.sections.axes import KIND_AXIS, MEASURE_AXIS, position_axis, source_axis
from stratascope.report.sections.within import SUMMARY_OF
from stratascope.report.text import measure_name, plot_text

BASES = (("first", "first"), ("previous", "previous"), ("last", "last"))
DRIFTS = (("cosine", "Cosine"), ("centred_cosine", "Centred cosine"))
SPREADS = (("centred_discrimination", "Centred"), ("raw_discrimination", "Raw"))


def build(data: ReportData) -> Content | None:
    """The section; None for a study of one checkpoint."""
    if len(data.checkpoints) < 2:
        return None
    figures = {
        name: figure
        for name, figure in (
            ("within", _within(data)),
            ("drift", _drift(data)),
            ("discrimination", _discrimination(data)),
            ("roles", _roles(data)),
        )
        if figure is not None
    }
    titles = {
        "within": "Change within a run",
        "drift": "Drift",
        "discrimination": "Telling references apart",
        "roles": "User and assistant",
    }
    return Content(
        context={"scenarios": list(dict.fromkeys(run.scenario for run in data.shown))},
        figures=figures,
        parts=(
            *((f"checkpoints-{name}", titles[name]) for name in figures),
            ("checkpoints-texts", "Same prompt, side by side"),
        ),
    )


def _names(data: ReportData) -> list[str]:
    return [plot_text(name) for name in data.checkpoint_names]


def _within(data: ReportData) -> Figure | None:
    """A thin line a scenario, a thick one for their mean."""
    report = data.table("intra_run_report")
    if report.empty:
        return None
    scenarios = list(dict.fromkeys(run.scenario for run in data.runs))
    place = {run.label: run for run in data.runs}
    rows = report.assign(
        scenario=[place[label].scenario for label in report["run"]],
        checkpoint=[place[label].checkpoint for label in report["run"]],
    )
    levels = (("scenario", scenarios), ("checkpoint", data.checkpoint_names))
    views: dict[str, View] = {}
    for measure, column in SUMMARY_OF.items():
        for source in data.sources:
            values = cube(rows[rows["source"] == source], column, levels)
            views[f"{measure}/{source}"] = _scenario_lines(data, scenarios, values, measure)
    return Figure(
        id="fig-checkpoints-within",
        title="Initial to final state, checkpoint by checkpoint",
        note="A thin line a prompt, the thick line their mean; each a mean over layers.",
        views=views,
        axes=(
            MEASURE_AXIS,
            source_axis(data),
        ),
        alt="Line chart: similarity of initial and final state over checkpoints, for each "
        "scenario and on average.",
    )


def _scenario_lines(
    data: ReportData, scenarios: list[str], values: np.ndarray[Any, Any], measure: str
) -> View:
    names, shown = _names(data), {run.scenario for run in data.shown}
    lines = [
        line(
            names, values[place], plot_text(scenario), ("plain", 0),
            key=f"s:{scenario}", thin=True, showlegend=False,
        )
        for place, scenario in enumerate(scenarios) if scenario in shown
    ]  # fmt: skip
    there = np.isfinite(values).all(axis=0)
    mean = np.where(there, np.where(there, values, 0.0).mean(axis=0), np.nan)
    lines.append(line(names, mean, "mean of all prompts", ("plain", 1), line={"width": 3.5}))
    layout = axes("checkpoint", measure_name(measure), xaxis={"type": "category"})
    return {"data": lines, "layout": layout, "closest": True}


def _drift(data: ReportData) -> Figure | None:
    table = data.table("checkpoints")
    columns = [f"drift_{base}_{measure}" for base, _ in BASES for measure, _ in DRIFTS]
    if table.empty or table[columns].isna().all(axis=None):
        return None
    levels = (("checkpoint", data.checkpoint_names), ("layer", data.layers))
    views: dict[str, View] = {}
    for base, words in BASES:
        for measure, _ in DRIFTS:
            for source in data.sources:
                part = table[table["source"] == source]
                values = cube(part, f"drift_{base}_{measure}", levels)
                lines = [
                    line(
                        data.layers, values[i], plot_text(name), ("checkpoint", i), key=f"c:{name}"
                    )
                    for i, name in enumerate(data.checkpoint_names)
                    if np.isfinite(values[i]).any()
                ]
                views[f"{base}/{measure}/{source}"] = {
                    "data": lines,
                    "layout": axes(
                        "layer",
                        f"{measure_name(measure).lower()} with the {words}",
                        xaxis=layer_axis(),
                    ),
                }
    return Figure(
        id="fig-checkpoints-drift",
        title="Where the same prompt's state went",
        note="Cosine between the state at the last prompt token on one checkpoint and on "
        "another; mean over prompts.",
        views=views,
        axes=(
            Axis("base", "Against", BASES),
            Axis("measure", "Measure", DRIFTS),
            source_axis(data),
        ),
        alt="Line chart over layers, a line a checkpoint: cosine with the same prompt's state on "
        "another checkpoint.",
    )


def _discrimination(data: ReportData) -> Figure | None:
    table = data.table("discrimination")
    if table.empty:
        return None
    levels = (("checkpoint", data.checkpoint_names), ("layer", data.layers))
    views: dict[str, View] = {}
    for kind, words in SPREADS:
        for position in data.positions:
            for source in data.sources:
                rows = table[(table["position"] == position) & (table["source"] == source)]
                hover = f"%{{y}}<br>layer %{{x}}: {words.lower()} spread %{{z:.4f}}"
                trace = heatmap(
                    cube(rows, kind, levels), data.layers, "spread", hover,
                    rows=[f"c:{name}" for name in data.checkpoint_names],
                )  # fmt: skip
                views[f"{kind}/{position}/{source}"] = {
                    "data": [trace],
                    "layout": axes("layer", "", xaxis=layer_axis()),
                }
    return Figure(
        id="fig-checkpoints-discrimination",
        title="Where references come apart, layer by checkpoint",
        note="Spread of a message's cosines across references: the larger, the better a layer "
        "tells them apart.",
        views=views,
        axes=(Axis("kind", "Cosines", SPREADS), position_axis(data), source_axis(data)),
        height=140 + 34 * len(data.checkpoints),
        alt="Heatmap, one row a checkpoint and one column a layer: how far the references are "
        "told apart.",
    )


def _roles(data: ReportData) -> Figure | None:
    table = data.table("role_averages")
    rows = table if table.empty else table[table["scope"] == "checkpoint"]
    if rows.empty:
        return None
    levels = (("reference", data.reference_labels), ("name", data.checkpoint_names))
    views: dict[str, View] = {}
    for kind, suffix in (("centred", "_centred"), ("raw", "")):
        for source in data.sources:
            part = rows[rows["source"] == source]
            views[f"{kind}/{source}"] = _role_view(data, part, suffix, levels)
    return Figure(
        id="fig-checkpoints-roles",
        title="User minus assistant, by reference and checkpoint",
        note="Mean cosine of user messages minus that of assistant messages; bars are 95 % "
        "intervals. A bar that crosses 0 shows no clear difference.",
        views=views,
        axes=(KIND_AXIS, source_axis(data)),
        alt="Points with intervals over checkpoints, a colour a reference: user minus assistant "
        "similarity.",
    )


def _role_view(
    data: ReportData, part: pd.DataFrame, suffix: str, levels: tuple[tuple[str, Any], ...]
) -> View:
    middle = cube(part, f"difference{suffix}", levels)
    low, high = cube(part, f"lower{suffix}", levels), cube(part, f"upper{suffix}", levels)
    lines = [
        line(
            _names(data), middle[r], plot_text(label), ("reference", r),
            error_y=error_bars(middle[r], low[r], high[r]),
            line={"width": 1},
        )
        for r, label in enumerate(data.reference_labels)
        if np.isfinite(middle[r]).any()
    ]  # fmt: skip
    layout = axes(
        "checkpoint",
        "user − assistant",
        xaxis={"type": "category"},
        yaxis={"zeroline": True, "zerolinewidth": 2},
    )
    return {"data": lines, "layout": {**layout, "scattermode": "group", "scattergap": 0.6}}
