"""Snapshots and references: at which layers messages tell the references apart, and for whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.detail import cube
from stratascope.report.figure import (
    Content,
    Figure,
    View,
    axes,
    band,
    error_bars,
    layer_axis,
    line,
)
from stratascope.report.sections.axes import (
    KIND_AXIS,
    checkpoint_axis,
    position_axis,
    source_axis,
)
from stratascope.report.text import plot_text, source_name

GREY, INK = ("plain", 0), ("plain", 1)
THIN = {"width": 1.3}
DOTTED = {"dash": "dot", "width": 1.6}


def build(data: ReportData) -> Content | None:
    """The section; None for a study without references."""
    table = data.table("discrimination")
    roles = data.table("role_averages")
    if table.empty and roles.empty:
        return None
    figures = {}
    if not table.empty:
        figures["discrimination"] = _discrimination(data, table)
    closest = preferred(data)
    if closest is not None:
        figures["preferred"] = closest
    across = roles if roles.empty else roles[roles["scope"] == "checkpoint"]
    if not across.empty:
        figures["roles"] = _roles(data, across)
    return Content(
        context={
            "roles": across.to_dict("records"),
            "used": _used(table),
            "position": data.main_position,
        },
        figures=figures,
        parts=(
            *((("references-layers", "By layer"),) if "discrimination" in figures else ()),
            *((("references-closest", "Which is closest"),) if "preferred" in figures else ()),
            *((("references-roles", "User and assistant"),) if "roles" in figures else ()),
        ),
    )


def _used(table: pd.DataFrame) -> tuple[int, int] | None:
    """Most messages and conversations that a number here rests on."""
    if table.empty:
        return None
    return int(table["n"].max()), int(table["conversations"].max())


def _discrimination(data: ReportData, table: pd.DataFrame) -> Figure:
    views: dict[str, View] = {}
    for name in data.checkpoint_names:
        for position in data.positions:
            for source in data.sources:
                rows = table[
                    (table["checkpoint"] == name)
                    & (table["position"] == position)
                    & (table["source"] == source)
                ].set_index("layer")
                views[f"{name}/{position}/{source}"] = _spread_view(data, name, rows)
    return Figure(
        id="fig-references-layers",
        title="Telling references apart, layer by layer",
        note="The band is the 95 % interval of the centred spread (whole conversations "
        "resampled). The dotted null is "
        "what references turned to point elsewhere would give: a layer counts where the band "
        "lies above it.",
        views=views,
        axes=(checkpoint_axis(data), position_axis(data), source_axis(data)),
        height=400,
        alt="Line chart over layers: spread of a message's cosines across references, with "
        "interval and null.",
    )


def _spread_view(data: ReportData, name: str, rows: pd.DataFrame) -> View:
    rows = rows.reindex(list(data.layers))
    paint = ("checkpoint", data.checkpoint_names.index(name))
    key = f"c:{name}"
    layout = axes(
        "layer", "spread across references", xaxis=layer_axis(), yaxis={"rangemode": "tozero"}
    )

    def column(which: str) -> list[float | None]:
        return [float(value) if np.isfinite(value) else None for value in rows[which].astype(float)]

    return {
        "data": [
            band(data.layers, column("lower"), column("upper"), paint, key=key),
            line(data.layers, column("centred_discrimination"), "centred spread", paint, key=key),
            line(data.layers, column("raw_discrimination"), "raw spread", GREY, key=key, line=THIN),
            line(data.layers, column("null"), "null", INK, key=key, mode="lines", line=DOTTED),
        ],
        "layout": layout,
    }


def _roles(data: ReportData, rows: pd.DataFrame) -> Figure:
    """A forest plot: a row a reference, a colour a source."""
    views: dict[str, View] = {}
    levels = (("source", data.sources), ("reference", data.reference_labels))
    for name in data.checkpoint_names:
        for kind, _ in KIND_AXIS.options:
            suffix = "_centred" if kind == "centred" else ""
            part = rows[rows["name"] == name]
            cubes = [
                cube(part, f"{which}{suffix}", levels) for which in ("difference", "lower", "upper")
            ]
            views[f"{name}/{kind}"] = {
                "data": [
                    _forest(data, f"c:{name}", s, *(values[s] for values in cubes))
                    for s in range(len(data.sources))
                ],
                "layout": _forest_layout(data),
                "closest": True,
            }
    return Figure(
        id="fig-references-roles",
        title="User minus assistant, by reference",
        note="Mean cosine of user messages minus that of assistant messages, with 95 % "
        "intervals. An interval that covers 0 shows no clear difference.",
        views=views,
        axes=(checkpoint_axis(data), KIND_AXIS),
        height=130 + 62 * len(data.reference_labels),
        alt="Points with intervals, a row a reference and a colour a source: user minus "
        "assistant similarity.",
    )


def _forest(
    data: ReportData, key: str, place: int, middle: Any, low: Any, high: Any
) -> dict[str, Any]:
    name = source_name(data.sources[place])
    count, row = len(data.sources), np.arange(len(data.reference_labels))
    # Sources stand a little apart within a reference's row.
    y = row + (place - (count - 1) / 2) * 0.16
    labels = [plot_text(label) for label in data.reference_labels]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": middle,
        "y": y,
        "name": name,
        "paint": ["source", place],
        "key": key,
        "marker": {"symbol": ["circle", "square", "diamond", "triangle-up"][place % 4], "size": 8},
        "error_x": error_bars(middle, low, high),
        "customdata": labels,
        "hovertemplate": f"%{{customdata}}, {name}: %{{x:.4f}}<extra></extra>",
    }


def _forest_layout(data: ReportData) -> dict[str, Any]:
    labels = [plot_text(label) for label in data.reference_labels]
    return axes(
        "user − assistant", "",
        xaxis={"zeroline": True, "zerolinewidth": 2},
        yaxis={
            "tickmode": "array", "tickvals": list(range(len(labels))), "ticktext": labels,
            "range": [len(labels) - 0.5, -0.5], "showgrid": False, "zeroline": False,
        },
    )  # fmt: skip


def preferred(data: ReportData) -> Figure | None:
    """For each role, how often each reference is the closest: over distinct messages and layers."""
    table = data.table("snapshot_reference")
    if table.empty or "preferred" not in table or len(data.reference_labels) < 2:
        return None
    rows = _distinct(data, table)
    shares = rows.groupby(["checkpoint", "position", "source", "role", "reference"], sort=False)[
        "preferred"
    ].mean()
    counts = rows.groupby(["checkpoint", "role"], sort=False)["prefix"].nunique()
    views: dict[str, View] = {
        f"{name}/{position}/{source}": _shares_view(data, shares, counts, (name, position, source))
        for name in data.checkpoint_names
        for position in data.positions
        for source in data.sources
    }
    return Figure(
        id="fig-references-preferred",
        title="Which reference is closest",
        note="Share of messages and layers where a reference has the largest centred cosine. n "
        "counts distinct messages.",
        views=views,
        axes=(checkpoint_axis(data), position_axis(data), source_axis(data)),
        height=250,
        alt="Stacked bars, one a role: the share of messages and layers at which each reference "
        "is the closest.",
    )


def _distinct(data: ReportData, table: pd.DataFrame) -> pd.DataFrame:
    """Each conversation prefix once a checkpoint: runs that share messages share their states."""
    places = {
        (run.label, int(item["index"])): (run.checkpoint, item["prefix"])
        for run in data.runs
        for item in run.messages
    }
    keys = [places[key] for key in zip(table["run"], table["message"].astype(int), strict=True)]
    named = table.assign(checkpoint=[a for a, _ in keys], prefix=[b for _, b in keys])
    once = ["checkpoint", "prefix", "reference", "position", "source", "layer"]
    return named.drop_duplicates(once)


def _shares_view(data: ReportData, shares: Any, counts: Any, at: tuple[str, str, str]) -> View:
    roles = [role for role in ("user", "assistant", "system") if (at[0], role) in counts.index]
    names = [f"{role} (n = {counts[at[0], role]})" for role in roles]
    bars = [
        {
            "type": "bar",
            "orientation": "h",
            "y": names,
            "x": [float(shares.get((*at, role, label), np.nan)) for role in roles],
            "name": plot_text(label),
            "paint": ["reference", place],
            "key": f"c:{at[0]}",
            "hovertemplate": f"%{{y}}, {plot_text(label)}: %{{x:.1%}}<extra></extra>",
        }
        for place, label in enumerate(data.reference_labels)
    ]
    layout = axes(
        "share",
        "",
        xaxis={"range": [0, 1], "tickformat": ".0%"},
        yaxis={"type": "category", "autorange": "reversed"},
    )
    return {"data": bars, "layout": {**layout, "barmode": "stack", "bargap": 0.35}, "closest": True}
