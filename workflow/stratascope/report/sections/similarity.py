"""Similarity: how alike layers and checkpoints represent the same texts, and how far each has moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stratascope.report.data import ReportData
from stratascope.report.detail import cube
from stratascope.report.figure import Axis, Content
from stratascope.report.moving import DISTANCES, ONE_SIDED, drift_findings
from stratascope.report.sections.axes import training_steps
from stratascope.report.text import measure_name, source_name

# Above this many numbers the page leaves out intervals and nulls, and then all measures but the first:
# the table has them.
MOST_NUMBERS = 100_000
ENDS = ("lower", "upper", "null_upper", "p")
PAIR = ["checkpoint_a", "checkpoint_b"]


def build(data: ReportData) -> Content | None:
    """The section; None for a study that compares no features."""
    pairs, drift = data.table("similarity"), data.table("drift")
    if pairs.empty and drift.empty:
        return None
    with_ends = len(pairs) * (1 + len(ENDS)) <= MOST_NUMBERS
    every = len(pairs) <= MOST_NUMBERS or pairs["measure"].nunique() == 1
    pairs = pairs if every else pairs[pairs["measure"] == pairs["measure"].iloc[0]]
    names = list(dict.fromkeys([*_datasets(pairs), *_datasets(drift)]))
    sets = [_set(data, name, _of(pairs, name), _of(drift, name), with_ends) for name in names]
    return Content(
        context={
            "findings": drift_findings(data),
            "dataset_axis": Axis("set", "Dataset", tuple((str(i), n) for i, n in enumerate(names))),
            "with_ends": with_ends,
            "every_measure": every,
            "with_pairs": not pairs.empty,
            "with_drift": not drift.empty,
            "spaced": any(item["drift"] and item["drift"]["steps"] for item in sets),
        },
        arrays={"similarity": sets},
        parts=(
            *((("similarity-layers", "Layer by layer"),) if not pairs.empty else ()),
            *((("similarity-drift", "Drift"),) if not drift.empty else ()),
        ),
    )


def _datasets(table: pd.DataFrame) -> list[str]:
    return [] if table.empty else list(dict.fromkeys(table["dataset"]))


def _of(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    return table if table.empty else table[table["dataset"] == dataset]


def _set(
    data: ReportData, dataset: str, pairs: pd.DataFrame, drift: pd.DataFrame, with_ends: bool
) -> dict[str, Any]:
    both = [table for table in (pairs, drift) if not table.empty]
    sites = dict.fromkeys(site for table in both for site in table["site"])
    measures = dict.fromkeys(name for table in both for name in table["measure"])
    return {
        "dataset": dataset,
        "sites": [[site, source_name(site)] for site in sites],
        "measures": [[name, measure_name(name), name in DISTANCES] for name in measures],
        "pairs": [] if pairs.empty else list(_pairs(pairs, with_ends)),
        "drift": None if drift.empty else _drift(data, drift),
    }


def _pairs(rows: pd.DataFrame, with_ends: bool) -> Iterator[dict[str, Any]]:
    """Within each checkpoint, the last first; then between checkpoints, in the table's order."""
    found = [(str(a), str(b), some) for (a, b), some in rows.groupby(PAIR, sort=False)]
    within = [item for item in found if item[0] == item[1]]
    for a, b, some in [*reversed(within), *(item for item in found if item[0] != item[1])]:
        sides = [sorted(some[name].unique().tolist()) for name in ("layer_a", "layer_b")]
        if a == b:
            sides = [sorted({*sides[0], *sides[1]})] * 2
        yield {
            "a": a,
            "b": b,
            "layers": sides,
            "n": int(some["n"].max()),
            "values": _matrices(some, sides, a == b, with_ends),
        }


def _matrices(
    rows: pd.DataFrame, sides: Sequence[Sequence[int]], within: bool, with_ends: bool
) -> dict[str, Any]:
    """For each measure and site: the value, with intervals and null, layers of a x layers of b."""
    levels = (("layer_a", sides[0]), ("layer_b", sides[1]))
    found: dict[str, Any] = {}
    for (measure, site), some in rows.groupby(["measure", "site"], sort=False):
        cubes = {name: cube(some, name, levels) for name in ("value", *(ENDS if with_ends else ()))}
        if within and measure not in ONE_SIDED:
            cubes = {name: _mirrored(values) for name, values in cubes.items()}
        known = {name: each for name, each in cubes.items() if np.isfinite(each).any()}
        found.setdefault(str(measure), {})[str(site)] = known
    return found


def _mirrored(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The table has each pair of layers once."""
    return np.where(np.isfinite(values), values, values.T)


def _drift(data: ReportData, rows: pd.DataFrame) -> dict[str, Any]:
    """For each side, measure and site: checkpoints x layers. A checkpoint against itself is known."""
    among = {*rows["checkpoint"], *rows["against_checkpoint"]}
    order = [name for name in data.checkpoint_names if name in among]
    checkpoints = [*order, *sorted(among - {*order})]
    layers = sorted(rows["layer"].unique().tolist())
    levels = (("checkpoint", checkpoints), ("layer", layers))
    found: dict[str, Any] = {}
    for (against, measure, site), some in rows.groupby(["against", "measure", "site"], sort=False):
        cubes = {name: cube(some, name, levels) for name in ("value", "lower", "upper")}
        itself = checkpoints.index(some["against_checkpoint"].iloc[0])
        for values in cubes.values():
            values[itself] = 0.0 if measure in DISTANCES else 1.0
        found.setdefault(str(against), {}).setdefault(str(measure), {})[str(site)] = cubes
    return {
        "checkpoints": checkpoints,
        "steps": training_steps(checkpoints),
        "layers": layers,
        "n": int(rows["n"].max()),
        "against": [
            [against, str(rows.loc[rows["against"] == against, "against_checkpoint"].iloc[0])]
            for against in dict.fromkeys(rows["against"])
        ],
        "values": found,
    }
