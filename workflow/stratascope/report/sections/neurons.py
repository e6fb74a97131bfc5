"""Neurons: what the most selective ones of each layer respond to, with what chance would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.figure import Axis, Content
from stratascope.report.finding import Finding
from stratascope.report.neurons import NeuronIndex
from stratascope.report.text import joined, plural, source_name

# Examples of each neuron, and tokens of all examples of all neurons: beyond, fewer neurons are shown.
TOP, BOTTOM, MOST_TOKENS = 6, 3, 5_500
BINS = 48
# Rows of the table of the most selective.
ROWS = 30
# The share of false ones among those that are named.
RATE = 0.05
NUMBERS = ("count", "mean", "std", "min", "max", "median", "q05", "q95", "firing_rate", "kurtosis")
BEST = ("property", "class", "auroc", "correlation", "mutual_information", "z", "p", "q", "p_max")


def build(data: ReportData) -> Content | None:
    """The section; None for a study that counts no neurons."""
    if not data.neurons:
        return None
    words: dict[str, int] = {}
    table = data.table("neurons")
    most = MOST_TOKENS // len(data.neurons)
    sets = [_set(item, _of(table, item), words, most) for item in data.neurons]
    names = [f"{item.dataset} @ {item.checkpoint}" for item in data.neurons]
    rows = [
        row
        for i, item in enumerate(data.neurons)
        for row in _rows(_of(table, item), i, sets[i]["neurons"])
    ]
    return Content(
        context={
            "findings": [_finding(item, _of(table, item)) for item in data.neurons],
            "set_axis": Axis("set", "Neurons", tuple((str(i), n) for i, n in enumerate(names))),
            "rows": rows,
            "several": len(names) > 1,
            "labelled": bool(rows and rows[0]["property"]),
            "bottom": BOTTOM,
        },
        arrays={"neurons": {"sets": sets, "words": list(words)}},
        parts=(("neurons-found", "Which tell of labels"), ("neurons-one", "One by one")),
    )


def _of(table: pd.DataFrame, item: NeuronIndex) -> pd.DataFrame:
    own = (table["dataset"] == item.dataset) & (table["checkpoint"] == item.checkpoint)
    return table[own]


def _finding(item: NeuronIndex, table: pd.DataFrame) -> Finding:
    """How many neurons depend on which label, against how many tests there were."""
    content = item.content
    title = f"Neurons of {item.dataset} at {item.checkpoint}"
    dead = int(table["dead"].sum())
    counted = (
        f"{plural(len(table), 'neuron')} ({source_name(content['site'])}) over "
        f"{plural(content['tokens'], 'token')} of {plural(content['texts'], 'text')}; "
        f"{dead if dead else 'none'} never above 0."
    )
    found = [(label, n) for label, n in content["discoveries"].items() if n]
    none = [label for label, n in content["discoveries"].items() if not n]
    if not content["discoveries"]:
        return Finding(title, "Without labels there is nothing to hold neurons against.", counted)
    parts = []
    if found:
        listed = [f"{label} ({n})" for label, n in found]
        parts.append(f"Neurons depend on {joined(listed)}, each counted at its best label.")
    if none:
        parts.append(f"On {joined(none)}, none does.")
    shuffles = content["permutations"]
    beyond = int((table["p_max"] <= RATE).sum())
    sure = (
        f"{counted} At most 5 % of these are expected to be false, of {content['tests']:,} tests."
    )
    if shuffles:
        sure += (
            f" {plural(beyond, 'neuron lies', 'neurons lie')} beyond the best of all neurons in 95 % "
            f"of {shuffles} shuffles of the labels."
        )
    return Finding(title, " ".join(parts), sure, clear=bool(found) and (not shuffles or beyond > 0))


def _rows(
    table: pd.DataFrame, place: int, shown: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The most selective of those that are shown, the first of all first."""
    here = {(item["layer"], item["neuron"]) for item in shown}
    keys = list(zip(table["layer"], table["neuron"], strict=True))
    own = table[[key in here for key in keys]]
    by = own["z"].abs() if own["z"].notna().any() else own["kurtosis"]
    ordered = own.loc[by.sort_values(ascending=False, kind="stable").index].head(ROWS)
    return [
        {name: None if value != value else value for name, value in row.items()} | {"set": place}
        for row in ordered.to_dict("records")
    ]


def _set(
    item: NeuronIndex, table: pd.DataFrame, words: dict[str, int], most: int
) -> dict[str, Any]:
    content = item.content
    numbers = table.set_index(["layer", "neuron"])
    chosen = _chosen(item.shown, most)
    return {
        "name": f"{item.dataset} @ {item.checkpoint}",
        "site": source_name(content["site"]),
        "pool": content["pool"],
        "texts": content["texts"],
        "groups": content["groups"],
        "tests": content["tests"],
        "permutations": content["permutations"],
        "largest": content["largest_95"],
        "contrasts": content["contrasts"],
        "widths": content["widths"],
        "neurons": [
            _neuron(item, neuron, numbers.loc[(neuron["layer"], neuron["neuron"])], words)
            for neuron in chosen
        ],
    }


def _chosen(shown: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """As many of each layer as have at most so many tokens together, at least one."""
    layers: dict[Any, list[Mapping[str, Any]]] = {}
    for neuron in shown:
        layers.setdefault(neuron["layer"], []).append(neuron)

    def taken(count: int) -> list[Mapping[str, Any]]:
        return [neuron for some in layers.values() for neuron in some[:count]]

    def tokens(count: int) -> int:
        return sum(len(row["tokens"]) for n in taken(count) for row in n["top"][:TOP])

    longest = max(map(len, layers.values()), default=0)
    return taken(max((n for n in range(1, longest + 1) if tokens(n) <= most), default=1))


def _neuron(
    item: NeuronIndex, neuron: Mapping[str, Any], row: pd.Series, words: dict[str, int]
) -> dict[str, Any]:
    low, high = float(row["min"]), float(row["max"])

    def example(found: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "value": found["value"],
            "line": found["line"],
            "position": found["position"],
            "at": found["at"],
            "tokens": [words.setdefault(token, len(words)) for token in found["tokens"]],
            "values": [float(f"{v:.3g}") for v in found.get("values", ())],
        }

    return {
        "layer": neuron["layer"],
        "neuron": neuron["neuron"],
        "numbers": {name: float(row[name]) for name in NUMBERS},
        "best": {name: row[name] for name in BEST} if row["property"] else None,
        "aurocs": neuron["aurocs"],
        "near": neuron["neighbours"],
        "density": [float(f"{v:.3g}") for v in item.density(neuron, low, high, BINS)],
        "top": [example(found) for found in neuron["top"][:TOP]],
        "bottom": [example(found) for found in neuron["bottom"][:BOTTOM]],
    }
