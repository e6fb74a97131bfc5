"""Between runs: how alike the states of two runs are, before and after they answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stratascope.report.data import MEASURES, ReportData
from stratascope.report.detail import cube
from stratascope.report.figure import Axis, Content, Figure, View, heatmap
from stratascope.report.sections.axes import MEASURE_AXIS, source_axis
from stratascope.report.sections.within import SUMMARY_OF
from stratascope.report.text import measure_name

STATES = ("initial", "final")
# Above this many runs a matrix has more cells than a screen has pixels to show them.
MATRIX_RUNS = 150
# Above this many numbers the page leaves out the pairs' layers, or even their means: the tables have
# them, and the statistics are always there.
MOST_NUMBERS = 500_000
STATE_AXIS = Axis("state", "State", (("final", "after answering"), ("initial", "before answering")))


def build(data: ReportData) -> Content | None:
    """The section; None for a single run."""
    report = data.table("comparison_report")
    if report.empty or len(data.runs) < 2:
        return None
    pairs = pair_list(data, report)
    numbers = len(pairs) * len(STATES) * len(MEASURES) * len(data.sources)
    with_means = numbers <= MOST_NUMBERS
    with_layers = numbers * len(data.layers) <= MOST_NUMBERS
    figures = {"matrix": _matrix(data)} if with_means and len(data.shown) <= MATRIX_RUNS else {}
    return Content(
        context={
            "count": len(report[["run_a", "run_b"]].drop_duplicates()),
            "statistics": statistics(data, report),
            "with_means": with_means,
            "with_layers": with_layers,
            "state_axis": STATE_AXIS,
            "measure_axis": MEASURE_AXIS,
            "source_axis": source_axis(data),
            "order_axis": Axis(
                "order", "Order", (("far", "farthest first"), ("name", "as in the study"))
            ),
        },
        figures=figures,
        arrays={
            "pairs": pairs if with_means else [],
            **(_means(data, report, pairs) if with_means else {}),
            **(_layers(data, pairs) if with_layers else {}),
        },
        parts=(
            ("pairs-overview", "Overview"),
            *((("pairs-matrix", "Run by run"),) if figures else ()),
            *((("pairs-layers", "Layer by layer"),) if with_layers else ()),
            *((("pairs-explorer", "Pair explorer"),) if with_means else ()),
        ),
    )


def pair_list(data: ReportData, report: pd.DataFrame) -> list[list[int]]:
    """Each compared pair once, as places of its two runs, sorted."""
    index = data.run_index
    both = report[["run_a", "run_b"]].drop_duplicates()
    known = both[both["run_a"].isin(index) & both["run_b"].isin(index)]
    pairs = {(index[a], index[b]) for a, b in known.itertuples(index=False)}
    return [list(pair) for pair in sorted(pairs)]


def _pair_level(data: ReportData, pairs: list[list[int]]) -> tuple[str, list[str]]:
    return "couple", [f"{data.shown[a].label}\n{data.shown[b].label}" for a, b in pairs]


def _with_couple(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(couple=table["run_a"] + "\n" + table["run_b"])


def _means(data: ReportData, report: pd.DataFrame, pairs: list[list[int]]) -> dict[str, Any]:
    """For each state, measure and source: the mean over layers of every pair."""
    level = _pair_level(data, pairs)
    rows = _with_couple(report)
    return {
        f"pairs/{state}/{measure}/{source}": cube(
            rows[(rows["state"] == state) & (rows["source"] == source)], column, (level,)
        )
        for state in STATES
        for measure, column in SUMMARY_OF.items()
        if column in rows
        for source in data.sources
    }


def _layers(data: ReportData, pairs: list[list[int]]) -> dict[str, Any]:
    """For each state, measure and source: pairs x layers."""
    rows = data.table("comparison_cosines")
    if rows.empty:
        return {}
    rows = _with_couple(rows)
    levels = (_pair_level(data, pairs), ("layer", data.layers))
    arrays: dict[str, Any] = {}
    for (state, source), part in rows.groupby(["state", "source"], sort=True):
        for measure in MEASURES:
            if measure in part:
                arrays[f"pairlayers/{state}/{measure}/{source}"] = cube(part, measure, levels)
    return arrays


def statistics(data: ReportData, report: pd.DataFrame) -> list[dict[str, Any]]:
    """For each state, measure and source: n, mean, spread, the closest and the farthest pair."""
    rows = []
    for state in STATES:
        for measure, column in SUMMARY_OF.items():
            for source in data.sources:
                part = report[(report["state"] == state) & (report["source"] == source)]
                part = part[part[column].notna()] if column in part else part.iloc[:0]
                if part.empty:
                    continue
                values = part[column].to_numpy(dtype=float)
                order = np.argsort(values if measure == "MAE" else -values, kind="stable")
                near, far = part.iloc[int(order[0])], part.iloc[int(order[-1])]
                rows.append(
                    {
                        "state": state,
                        "measure": measure,
                        "source": source,
                        "n": len(values),
                        "mean": float(values.mean()),
                        "std": float(values.std(ddof=1)) if len(values) > 1 else None,
                        "closest": (near["run_a"], near["run_b"], float(values[order[0]])),
                        "farthest": (far["run_a"], far["run_b"], float(values[order[-1]])),
                    }
                )
    return rows


def _matrix(data: ReportData) -> Figure:
    keys = [run.key for run in data.shown]
    views: dict[str, View] = {
        f"{state}/{measure}/{source}": {
            "data": [
                heatmap(
                    {"ref": f"pairs/{state}/{measure}/{source}", "as": "matrix"},
                    [],
                    measure,
                    f"%{{y}}<br>%{{x}}<br>mean {measure_name(measure)} %{{z:.4f}}",
                    rows=keys,
                    cols=keys,
                )
            ],
            "layout": {},
        }
        for state in STATES
        for measure in MEASURES
        for source in data.sources
    }
    return Figure(
        id="fig-pairs-matrix",
        title="Every run against every other",
        note="Mean over layers. Pairs that were not compared stay empty, and so does the diagonal.",
        views=views,
        axes=(
            STATE_AXIS,
            MEASURE_AXIS,
            source_axis(data),
        ),
        height=max(320, 170 + 18 * len(data.shown)),
        alt="Symmetric heatmap: similarity of the states of every two runs.",
    )
