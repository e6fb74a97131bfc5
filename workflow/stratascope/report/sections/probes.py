"""Probes: what of each label is linearly decodable, at which layer, since which checkpoint, how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.detail import cube
from stratascope.report.figure import Axis, Content
from stratascope.report.probing import LOSSES, MAIN, PROBE, best_rows, main_rows, since
from stratascope.report.sections.axes import training_steps
from stratascope.report.sections.probe_mistakes import mistakes
from stratascope.report.sections.probe_tokens import left_out, token_labels, token_views
from stratascope.report.sections.probe_words import label_findings
from stratascope.report.text import measure_name, source_name

COLUMNS = ("estimate", "lower", "upper", "majority", "shuffled_upper", "bag_of_tokens")
# Drawn, or shown when pointed at, for the measure that decides.
MORE = ("shuffled_mean", "control", "selectivity", "difference_of_means", "p", "p_max")
# Above this many numbers the page leaves out the other measures: the table has them.
MOST_NUMBERS = 120_000
# A site of the whole model has no layer.
NO_LAYER = -1


def build(data: ReportData) -> Content | None:
    """The section; None for a study without probes."""
    probes = data.table("probes")
    if probes.empty:
        return None
    probes = _without_gaps(probes, "layer")
    rest = not probes["measure"].isin(MAIN).all()
    complete = len(probes) * len(COLUMNS) <= MOST_NUMBERS
    kept = probes if complete else probes[probes["measure"].isin(MAIN)]
    wrong = mistakes(data)
    tokens = token_views(data)
    return Content(
        context={
            "findings": label_findings(data.table("probes")),
            "best": best_rows(main_rows(data.table("probes"))).to_dict("records"),
            "timelines": timelines(data.table("probes")),
            "label_axis": label_axis(probes),
            "left_out": rest and not complete,
            "with_predictions": bool(wrong["sets"]),
            "with_transfer": not data.table("probe_transfer").empty,
            "datasets": between_datasets(data.table("probe_transfer")),
            "token_labels": token_labels(data),
            "talks_left_out": left_out(data),
            "spaced": training_steps(_names(probes)) is not None,
        },
        arrays={"probes": {"sets": _sets(data, kept)}, "mistakes": wrong, "tokens": tokens},
        parts=(
            ("probes-found", "What is decodable"),
            ("probes-panel", "Layers and checkpoints"),
            ("probes-since", "Since when"),
            *((("probes-tokens", "Token by token"),) if tokens else ()),
            ("probes-numbers", "The numbers"),
        ),
    )


def _without_gaps(rows: pd.DataFrame, *layers: str) -> pd.DataFrame:
    return rows.assign(**{name: rows[name].fillna(NO_LAYER).astype(int) for name in layers})


def _names(probes: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(probes["checkpoint"]))


def label_axis(probes: pd.DataFrame) -> Axis:
    """One option a dataset and label, numbered: their names may hold anything."""
    keys = probes[PROBE].drop_duplicates().itertuples(index=False)
    several = probes["dataset"].nunique() > 1
    return Axis(
        "set",
        "Label",
        tuple(
            (str(number), f"{dataset}: {label}" if several else label)
            for number, (dataset, label) in enumerate(keys)
        ),
    )


def _sets(data: ReportData, probes: pd.DataFrame) -> list[dict[str, Any]]:
    transfer = data.table("probe_transfer")
    if not transfer.empty:
        transfer = transfer[transfer["dataset_to"] == transfer["dataset"]]
        transfer = _without_gaps(transfer, "layer_from", "layer_to")
    groups = {} if transfer.empty else dict(list(transfer.groupby(PROBE, sort=False)))
    return [_set(key, rows, groups.get(key)) for key, rows in probes.groupby(PROBE, sort=False)]


def between_datasets(transfer: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each label and other dataset the layer that does best there, by the deciding measure."""
    if transfer.empty:
        return []
    away = (transfer["dataset_to"] != transfer["dataset"]) & transfer["measure"].isin(MAIN)
    rows = transfer[away & transfer["estimate"].notna()]
    best = rows.groupby([*PROBE, "dataset_to"], sort=False)["estimate"].idxmax()
    return list(rows.loc[best].to_dict("records"))


def _set(key: Any, rows: pd.DataFrame, transfer: pd.DataFrame | None) -> dict[str, Any]:
    """All that the figures draw of one label: cubes are checkpoints x layers."""
    dataset, label = key
    checkpoints = _names(rows)
    sites = {
        site: sorted(some["layer"].unique().tolist())
        for site, some in rows.groupby("site", sort=False)
    }
    sizes = rows.drop_duplicates("checkpoint").set_index("checkpoint")
    return {
        "dataset": dataset,
        "label": label,
        "checkpoints": checkpoints,
        "steps": training_steps(checkpoints),
        "sites": [[site, source_name(site), layers] for site, layers in sites.items()],
        "n": sizes["n"].to_list(),
        "groups": sizes["groups"].to_list(),
        "measures": [
            _measure(str(measure), some, checkpoints, sites)
            for measure, some in rows.groupby("measure", sort=False)
        ],
        "transfer": {} if transfer is None else _transfer(transfer, checkpoints),
    }


def _measure(
    measure: str, rows: pd.DataFrame, checkpoints: Sequence[str], sites: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    wanted = (*COLUMNS, *MORE) if measure in MAIN else COLUMNS
    found: dict[str, Any] = {}
    for site, layers in sites.items():
        levels = (("checkpoint", checkpoints), ("layer", layers))
        some = rows[rows["site"] == site]
        cubes = {name: cube(some, name, levels) for name in wanted}
        found[site] = {name: values for name, values in cubes.items() if np.isfinite(values).any()}
    return {
        "name": measure,
        "words": measure_name(measure),
        "loss": measure in LOSSES,
        "sites": found,
    }


def _transfer(rows: pd.DataFrame, checkpoints: Sequence[str]) -> dict[str, Any]:
    """``checkpoints``: cubes layers x fitted on x applied to; ``layers``: of one checkpoint, the same.

    Each by measure and site; absent where the study asked for none.
    """
    away = rows["checkpoint_from"] != rows["checkpoint_to"]
    found: dict[str, Any] = {}
    if away.any():
        layers = sorted(rows.loc[away, "layer_from"].unique().tolist())
        pair = [("checkpoint_from", checkpoints), ("checkpoint_to", checkpoints)]
        cubes = _by_measure(rows[away], (("layer_from", layers), *pair))
        found["checkpoints"] = {"layers": layers, "cubes": cubes}
    if not away.all():
        inside = rows[~away]
        inside = inside[inside["checkpoint_from"] == inside["checkpoint_from"].iloc[-1]]
        layers = sorted({*inside["layer_from"], *inside["layer_to"]})
        cubes = _by_measure(inside, (("layer_from", layers), ("layer_to", layers)))
        name = str(inside["checkpoint_from"].iloc[0])
        found["layers"] = {"layers": layers, "checkpoint": name, "cubes": cubes}
    return found


def _by_measure(rows: pd.DataFrame, levels: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for (measure, site), some in rows.groupby(["measure", "site"], sort=False):
        cubes = {name: cube(some, name, levels) for name in ("estimate", "lower", "upper")}
        found.setdefault(str(measure), {})[str(site)] = cubes
    return found


def timelines(probes: pd.DataFrame) -> list[dict[str, Any]]:
    """For each dataset a table: since which checkpoint each label is decodable, layer by layer."""
    rows = main_rows(probes)
    return [
        {
            "dataset": dataset,
            "checkpoints": _names(some),
            "layers": sorted(some["layer"].dropna().astype(int).unique().tolist()),
            "several_sites": some["site"].nunique() > 1,
            "rows": [
                _timeline(str(label), str(site), each, _names(some))
                for (label, site), each in some.groupby(["label", "site"], sort=False)
            ],
        }
        for dataset, some in rows[rows["layer"].notna()].groupby("dataset", sort=False)
    ]


def _timeline(label: str, site: str, rows: pd.DataFrame, checkpoints: list[str]) -> dict[str, Any]:
    last = rows[rows["checkpoint"] == rows["checkpoint"].iloc[-1]]
    return {
        "label": label,
        "site": site,
        "bar": float(last["bar"].max()),
        "since": {int(layer): _cell(some, checkpoints) for layer, some in rows.groupby("layer")},
    }


def _cell(rows: pd.DataFrame, checkpoints: list[str]) -> dict[str, Any] | None:
    """Since when a layer is above every baseline; if it never is, since when it is above chance."""
    beyond = since(rows, checkpoints)
    found = beyond or since(rows, checkpoints, "above_chance")
    if found is None:
        return None
    # From 1, the first checkpoint, down to almost nothing.
    early = 1 - checkpoints.index(found.checkpoint) / len(checkpoints)
    return {
        "checkpoint": found.checkpoint,
        "always": found.always,
        "early": early if beyond else None,
    }
