"""Reading what a report is made from: the tables, the states' manifests and each run's records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stratascope.errors import StratascopeError
from stratascope.report.data import Checkpoint, ReportData, Run
from stratascope.report.extracted import Extracted
from stratascope.report.neurons import NeuronIndex
from stratascope.report.readings import readings_of
from stratascope.report.shown import chosen_scenarios, shown_scenarios

TABLES = (
    "intra_run_report",
    "intra_run_cosines",
    "comparison_report",
    "comparison_cosines",
    "snapshot_reference",
    "role_averages",
    "discrimination",
    "recognition",
    "claims",
    "checkpoints",
    "questions",
    "question_accuracy",
    "probes",
    "probe_predictions",
    "probe_transfer",
    "similarity",
    "drift",
    "neurons",
    "logit_lens",
    "residual",
    "attention",
    "induction",
    "cross_layer",
    "trajectory",
)
# Columns whose values are names: a run called "1e3" must stay "1e3".
TEXT_COLUMNS = (
    "run", "run_a", "run_b", "pair", "name", "checkpoint", "reference", "position", "source",
    "generated_a", "generated_b", "state", "scope", "role",
    "scenario", "id", "group", "history", "question", "answer", "generated", "prediction", "grade",
    "choice_logprobs", "choice_logprobs_per_token",
    "dataset", "label", "site", "measure", "truth", "predicted", "checkpoint_from", "checkpoint_to",
    "checkpoint_a", "checkpoint_b", "against", "against_checkpoint",
    "claim", "quantity", "verdict", "property", "class",
    "token", "argmax_token", "final_token", "next_token", "target_token", "against_token", "top",
    "head_logits",
)  # fmt: skip

# The one table that is read in parts: it is as long as all others together.
PAIR_LAYERS = "comparison_cosines"
_ROWS_AT_ONCE = 200_000


def read_inputs(
    study: Mapping[str, Any],
    tables: Path,
    states: Sequence[Path],
    runs: Path,
    metrics: Path,
    features: Sequence[Path] = (),
    readings: Sequence[Path] = (),
    looks: Sequence[Path] = (),
    neurons: Sequence[Path] = (),
    chosen: Sequence[str] = (),
) -> ReportData:
    """Read all that a report shows; of runs one by one only those of ``chosen`` scenarios, if any.

    Raises StratascopeError naming a file, or a scenario, that is not there.
    """
    seen = [read_json(path) for path in looks]
    manifests = sorted(
        ((path, read_json(path.with_suffix(".json"))) for path in states),
        key=lambda item: (item[1].get("order", 0), item[1]["checkpoint"]),
    )
    manifest_data = [data for _, data in manifests]
    found = [(data, entry) for data in manifest_data for entry in data["runs"]]
    picked = chosen_scenarios([entry for _, entry in found], chosen)
    names = picked or shown_scenarios([entry["scenario"] for _, entry in found])
    labels = {entry["label"] for _, entry in found if entry["scenario"] in names}
    read = {name: read_table(tables / f"{name}.csv") for name in TABLES if name != PAIR_LAYERS}
    read[PAIR_LAYERS] = read_pairs(
        tables / f"{PAIR_LAYERS}.csv", labels if len(labels) < len(found) else None
    )
    if not manifests and read["questions"].empty:
        raise StratascopeError("report: no states given; give results/states/*.json")
    if manifests and not found:
        raise StratascopeError("report: the states hold no run; capture a scenario first")
    return ReportData(
        title=str(study.get("title") or "Untitled study"),
        description=str(study.get("description") or ""),
        checkpoints=tuple(_checkpoint(path, data) for path, data in manifests),
        runs=tuple(
            _read_run(index, data, entry, runs, entry["scenario"] in names)
            for index, (data, entry) in enumerate(found)
        ),
        positions=_main_first(_union([data["positions"] for data in manifest_data])),
        sources=_union([data["sources"] for data in manifest_data]),
        layers=tuple(sorted(_union([data["layers"] for data in manifest_data]))),
        tables=read,
        metrics=read_json(metrics) if metrics.is_file() else {},
        features=tuple(Extracted.open(folder) for folder in features),
        readings=tuple(found for path in readings for found in readings_of(read_json(path))),
        neurons=tuple(NeuronIndex(read_json(path)) for path in neurons),
        patterns=tuple(index["patterns"] for index in seen if "patterns" in index),
        # The last checkpoint's pictures: those of all would be too many.
        chosen=picked,
        grids=tuple(([index["grids"] for index in seen if "grids" in index] or [[]])[-1]),
    )


def read_json(path: Path) -> Any:
    """The content of a JSON file; StratascopeError if it is not there or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StratascopeError(f"{path}: not there, but the report needs it") from None
    except json.JSONDecodeError as error:
        raise StratascopeError(f"{path}: not JSON ({error}); make it again") from None


def read_table(path: Path) -> pd.DataFrame:
    """One CSV; a table with only a header, or none at all, is an empty frame."""
    if not path.is_file():
        return pd.DataFrame()
    return pd.read_csv(path, **_reading(path))


def read_pairs(path: Path, labels: set[str] | None) -> pd.DataFrame:
    """A CSV of pairs of runs, of a large study only those between the runs in ``labels``."""
    if labels is None or not path.is_file():
        return read_table(path)
    with pd.read_csv(path, chunksize=_ROWS_AT_ONCE, **_reading(path)) as parts:
        some = [part[part["run_a"].isin(labels) & part["run_b"].isin(labels)] for part in parts]
    return pd.concat(some, ignore_index=True)


def _reading(path: Path) -> dict[str, Any]:
    return {
        "dtype": dict.fromkeys(TEXT_COLUMNS, "str"),
        "keep_default_na": False,
        "na_values": _numeric_gaps(path),
        "encoding": "utf-8",
    }


def _numeric_gaps(path: Path) -> dict[str, list[str]]:
    """An empty cell is a gap in a number, but an empty text in a text."""
    header = pd.read_csv(path, nrows=0, encoding="utf-8").columns
    return {name: ["", "nan", "NaN"] for name in header if name not in TEXT_COLUMNS}


def _checkpoint(path: Path, data: Mapping[str, Any]) -> Checkpoint:
    name = data["checkpoint"]
    return Checkpoint(
        name=name,
        model=str(data["model"].get("id", "")),
        revision=data["model"].get("revision"),
        digest=path.stem.removeprefix(f"{name}-"),
        layers=tuple(data["layers"]),
        hidden_size=int(data["hidden_size"]),
        num_layers=int(data["num_layers"]),
    )


def _read_run(
    index: int, data: Mapping[str, Any], entry: Mapping[str, Any], runs: Path, shown: bool
) -> Run:
    folder = runs / entry["folder"]
    sets = data.get("reference_sets") or []
    chosen = entry.get("reference_set")
    return Run(
        index=index,
        label=entry["label"],
        scenario=entry["scenario"],
        parent=entry.get("parent") or entry["scenario"],
        checkpoint=data["checkpoint"],
        folder=entry["folder"],
        record=read_json(folder / "run.json") if shown else {},
        steps=read_json(folder / "steps.json")["steps"] if shown else (),
        messages=entry["messages"],
        reference_labels=tuple(sets[chosen]["labels"]) if chosen is not None else (),
    )


def _main_first(positions: tuple[str, ...]) -> tuple[str, ...]:
    """The tables' first position is ``generation_prompt`` where it was captured."""
    return tuple(sorted(positions, key=lambda position: position != "generation_prompt"))


def _union(lists: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(item for items in lists for item in items))
