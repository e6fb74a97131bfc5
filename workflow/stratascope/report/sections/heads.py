"""Single runs under the microscope: attention heads, layers against each other, neurons, pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    heatmap,
    line,
)
from stratascope.report.sections.detectors import detector_maps, strongest
from stratascope.report.text import number, plot_text, source_name

SCORES = (
    ("previous", "Previous token"),
    ("first", "First token"),
    ("self", "Same token"),
    ("entropy", "Entropy"),
    ("distance", "Distance"),
)
MEASURES = (("centred", "Centred cosine"), ("cosine", "Cosine"), ("cka", "CKA"))
# Of each figure so many numbers are drawn: the tables and pictures have the rest.
MOST_NUMBERS = {
    "heads": 40_000,
    "layers": 30_000,
    "neurons": 12_000,
    "patterns": 130_000,
    "pictures": 20_000,
}


def build(data: ReportData) -> Content | None:
    """The section; None for a study that looks at nothing of this kind."""
    found = (
        ("heads", "Attention heads", _heads(data)),
        ("patterns", "What a head looks at", _patterns(data)),
        ("detectors", "Induction heads", detector_maps(data)),
        ("strongest", "Induction heads over checkpoints", strongest(data)),
        ("layers", "Layers against each other", _layers(data)),
        ("neurons", "Neurons, token by token", _neurons(data)),
        ("pictures", "Tensors as pictures", _pictures(data)),
    )
    figures = {name: figure for name, _, figure in found if figure is not None}
    if not figures:
        return None
    return Content(
        context={
            "titles": {name: title for name, title, _ in found},
            "left_out": _left_out(data),
        },
        figures=figures,
        parts=tuple((f"heads-{name}", title) for name, title, _ in found if name in figures),
    )


def _runs(table: pd.DataFrame, figure: str, numbers: int) -> list[str]:
    """The runs that a figure shows: those of the last checkpoint first, as many as there is room for."""
    order = list(dict.fromkeys(table["checkpoint"]))[::-1]
    runs = table[["run", "checkpoint"]].drop_duplicates()
    ordered = [run for name in order for run in runs.loc[runs["checkpoint"] == name, "run"]]
    each = max(1, len(table) * numbers // max(1, len(ordered)))
    return ordered[: max(1, MOST_NUMBERS[figure] // each)]


def _left_out(data: ReportData) -> list[str]:
    """Which figures do not show every run, with the table that does."""
    found = []
    for name, figure, numbers in (
        ("attention", "heads", len(SCORES)),
        ("cross_layer", "layers", len(MEASURES)),
        ("trajectory", "neurons", 1),
    ):
        table = data.table(name)
        if not table.empty:
            runs = table["run"].nunique()
            shown = len(_runs(table, figure, numbers))
            if shown < runs:
                found.append(f"{shown} of {runs} runs; {name}.csv has all")
    return found


def _run_axis(runs: Sequence[str]) -> Axis:
    return Axis("run", "Run", tuple((run, run) for run in runs))


def _heads(data: ReportData) -> Figure | None:
    table = data.table("attention")
    if table.empty:
        return None
    runs = _runs(table, "heads", len(SCORES))
    views: dict[str, View] = {}
    for score, words in SCORES:
        for run in runs:
            rows = table[table["run"] == run]
            # One end for all runs: a colour means the same in each.
            views[f"{score}/{run}"] = _head_map(rows, score, words, float(table[score].max()))
    return Figure(
        id="fig-heads",
        title="Every head of every layer",
        note="Means over the tokens of a run; hovering says what uniform attention scores.",
        views=views,
        axes=(Axis("score", "Score", SCORES), _run_axis(runs)),
        alt="Heatmap: a score of each attention head, layers down and heads across.",
    )


def _head_map(rows: pd.DataFrame, score: str, words: str, most: float) -> View:
    layers, heads = (sorted(rows[name].unique().tolist()) for name in ("layer", "head"))
    values = cube(rows, score, (("layer", layers), ("head", heads)))
    uniform = number(float(rows[f"{score}_uniform"].iloc[0]))
    n = rows["n"].iloc[0]
    hover = f"layer %{{y}}, head %{{x}}<br>{words}: %{{z:.3f}} (uniform: {uniform})<br>n = {n}"
    trace = heatmap(values, list(map(str, heads)), score, hover, y=list(map(str, layers)))
    trace["ends"] = [0, most]
    layout = axes("head", "layer", xaxis={"type": "category"})
    return {"data": [trace], "layout": layout, "height": 130 + 34 * max(4, len(layers))}


def _patterns(data: ReportData) -> Figure | None:
    """Attention among the first tokens of one run a checkpoint, head by head; the last one first."""
    found = [item for item in reversed(data.patterns) if item["weights"]]
    size = sum(len(text) // 2 for item in found[:1] for text in item["weights"])
    found = found[: max(1, MOST_NUMBERS["patterns"] // max(1, size))]
    if not found or size > MOST_NUMBERS["patterns"]:
        return None
    first = found[0]
    views = {
        f"{item['run']}/{layer}/{head}": _pattern(item, i * item["heads"] + head)
        for item in found
        for i, layer in enumerate(item["layers"])
        for head in range(item["heads"])
    }
    alike = [i for i in found if (i["layers"], i["heads"]) == (first["layers"], first["heads"])]
    kept = {item["run"] for item in alike}
    return Figure(
        id="fig-head-patterns",
        title="Attention weights",
        note=f"Each row is a token and what it looks at, among the first {len(first['tokens'])}.",
        views={key: view for key, view in views.items() if key.split("/")[0] in kept},
        axes=(
            _run_axis([item["run"] for item in alike]),
            Axis("layer", "Layer", tuple((str(n), str(n)) for n in first["layers"])),
            Axis("head", "Head", tuple((str(n), str(n)) for n in range(first["heads"]))),
        ),
        height=520,
        alt="Heatmap: attention weights of one head, query tokens down and key tokens across.",
    )


def _pattern(item: Mapping[str, Any], place: int) -> View:
    count = len(item["tokens"])
    weights = np.full((count, count), np.nan)
    levels = np.frombuffer(bytes.fromhex(item["weights"][place]), np.uint8)
    # Hundredths: what a colour can show.
    weights[np.tril_indices(count)] = np.rint(levels / 2.55) / 100
    names = [plot_text(f"{i} {token}") for i, token in enumerate(item["tokens"])]
    trace = heatmap(weights, names, "weight", "%{y}<br>looks at %{x}: %{z:.2f}", y=names)
    trace |= {"ends": [0, 1], "xgap": 0, "ygap": 0}
    return {"data": [trace], "layout": axes("", "", xaxis={"type": "category"})}


def _layers(data: ReportData) -> Figure | None:
    table = data.table("cross_layer")
    if table.empty:
        return None
    runs = _runs(table, "layers", len(MEASURES))
    views = {
        f"{measure}/{run}": _layer_map(table[table["run"] == run], measure, words)
        for measure, words in MEASURES
        for run in runs
    }
    return Figure(
        id="fig-cross-layer",
        title="Every layer against every other, over the tokens of a run",
        note="Cosines ask whether directions stay, CKA whether tokens relate to each other alike.",
        views=views,
        axes=(Axis("measure", "Measure", MEASURES), _run_axis(runs)),
        alt="Heatmap: similarity of each pair of layers within one run.",
    )


def _layer_map(rows: pd.DataFrame, measure: str, words: str) -> View:
    layers = sorted(rows["layer_a"].unique().tolist())
    values = cube(rows, measure, (("layer_a", layers), ("layer_b", layers)))
    site = source_name(rows["site"].iloc[0])
    hover = f"layers %{{y}} and %{{x}} ({plot_text(site)})<br>{words}: %{{z:.3f}}<br>n = {rows['n'].iloc[0]}"
    trace = heatmap(values, list(map(str, layers)), measure, hover, y=list(map(str, layers)))
    if measure == "cka":
        trace |= {"scale": "sequential", "ends": [0, 1]}
    layout = axes("layer", "layer", xaxis={"type": "category"})
    return {"data": [trace], "layout": layout, "height": min(720, 130 + 34 * max(4, len(layers)))}


def _neurons(data: ReportData) -> Figure | None:
    table = data.table("trajectory")
    if table.empty:
        return None
    runs = _runs(table, "neurons", 1)
    views = {run: _curves(table[table["run"] == run]) for run in runs}
    return Figure(
        id="fig-trajectories",
        title="What neurons do along a run",
        note="A line a neuron, layer:index; the tokens stand below.",
        views=views,
        axes=(_run_axis(runs),),
        alt="Line chart: the activation of single neurons over the tokens of a run.",
    )


def _curves(rows: pd.DataFrame) -> View:
    lines = []
    for i, ((layer, neuron), some) in enumerate(rows.groupby(["layer", "neuron"], sort=False)):
        names = [
            plot_text(f"{p} {t}") for p, t in zip(some["position"], some["token"], strict=True)
        ]
        values = some["value"].to_numpy()
        lines.append(
            line(names, values, f"{layer}:{neuron}", ("checkpoint", i), hover="%{x}: %{y:.3f}")
        )
    site = plot_text(str(rows["site"].iloc[0]))
    layout = axes("token", site, xaxis={"type": "category", "nticks": 12})
    return {"data": lines, "layout": layout, "closest": True}


def _pictures(data: ReportData) -> Figure | None:
    """The pictures of the last checkpoint, made small: a block of numbers is their mean."""
    views: dict[str, View] = {}
    for name, grid in _grids(data):
        values = np.array(grid["values"], dtype=np.float64)
        trace = heatmap(
            values,
            list(map(str, grid["columns"])),
            "value",
            "token %{y}, from column %{x}<br>mean %{z:.3g}",
            y=list(map(str, grid["tokens"])),
        )
        most = float(np.abs(values).max())
        trace |= {"xgap": 0, "ygap": 0, "ends": [0, most]}
        if values.min() < 0:
            trace |= {"scale": "diverging", "ends": [-most, most]}
        layout = axes("dimension, or key", "token", xaxis={"type": "category"})
        views[name] = {"data": [trace], "layout": layout}
    if not views:
        return None
    return Figure(
        id="fig-pictures",
        title="What the pictures show",
        note="Made small: each cell is the mean of a block of numbers. results/heatmaps has them all.",
        views=views,
        axes=(Axis("picture", "Picture", tuple((name, name) for name in views)),),
        height=420,
        alt="Heatmap: the numbers of one tensor at one step, tokens down and dimensions across.",
    )


def _grids(data: ReportData) -> Iterator[tuple[str, Mapping[str, Any]]]:
    room = MOST_NUMBERS["pictures"]
    for grid in data.grids:
        room -= len(grid["values"]) * len(grid["values"][0])
        if room < 0:
            return
        layer = "" if grid["layer"] is None else f", layer {grid['layer']}"
        head = "" if grid["head"] is None else f", head {grid['head']}"
        yield f"{grid['site']}{layer}{head}, step {grid['step']} of {grid['run']}", grid
