"""What the explorers draw from: each run's conversation, steps and references, packed by detail.

A study of a thousand runs has more numbers than a file that one can mail. `DETAILS` lists what is
left out, first to last, until the packed data fits its budget; the report then says what it left out
and which table holds it. Nothing is thinned silently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stratascope.report.data import MEASURES, ReportData, Run
from stratascope.report.payload import ten_thousandths

LAYER_MEASURES = ("cosine", "centred_cosine")
ROLE_COLUMNS = (
    "user_mean", "assistant_mean", "difference", "lower", "upper",
    "difference_centred", "lower_centred", "upper_centred", "n_user", "n_assistant",
)  # fmt: skip


@dataclass(frozen=True)
class Detail:
    """How much of each run the report carries; ``omitted`` says what it does not, and where it is."""

    reference_positions: int
    top_k: int
    omitted: tuple[str, ...] = ()


_LAYERS_1 = (
    "Layer curves of single messages are drawn for the first snapshot position only; "
    "snapshot_reference.csv holds the others."
)
_LAYERS_0 = "Layer curves of single messages are left out; snapshot_reference.csv holds them."
DETAILS = (
    Detail(99, 20),
    Detail(99, 10, ("Of each step the 10 likeliest tokens are shown; steps.json holds all.",)),
    Detail(
        1, 10, ("Of each step the 10 likeliest tokens are shown; steps.json holds all.", _LAYERS_1)
    ),
    Detail(
        0, 5, ("Of each step the 5 likeliest tokens are shown; steps.json holds all.", _LAYERS_0)
    ),
    Detail(0, 0, ("The tokens of single steps are left out; steps.json holds them.", _LAYERS_0)),
)


class Strings:
    """Texts stored once: the same messages and tokens come back in run after run."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        """The place of a text among all, which it joins if it is new."""
        return self._places.setdefault(text, len(self._places))

    @property
    def all(self) -> list[str]:
        """Every text, in the order of places."""
        return list(self._places)


# By run label: what its snapshots have to do with its references; see `run_references`.
References = Mapping[str, Mapping[str, Any]]


def run_details(data: ReportData, detail: Detail, references: References) -> dict[str, Any]:
    """``runs`` in the study's order and the ``strings`` that they point into."""
    strings = Strings()
    runs = [
        {
            "label": run.label,
            "scenario": run.scenario,
            "checkpoint": data.checkpoint_names.index(run.checkpoint),
            "prompt_tokens": len(run.record.get("prompt_token_ids", ())),
            "generated": strings.place(run.generated),
            "messages": [_message(item, strings) for item in run.messages],
            "positions": _position_tokens(run, data.positions, strings),
            "skipped": [
                [item["index"], item["role"], strings.place(str(item["reason"]))]
                for item in run.record.get("snapshots", {}).get("skipped", ())
            ],
            "steps": _steps(run, strings, detail.top_k),
            "references": _references(references.get(run.label), detail),
        }
        for run in data.shown
    ]
    return {"runs": runs, "strings": strings.all}


def _message(item: Mapping[str, Any], strings: Strings) -> list[Any]:
    return [item["role"], strings.place(str(item["content"])), item["index"]]


def _position_tokens(
    run: Run, positions: tuple[str, ...], strings: Strings
) -> dict[str, list[list[int]]]:
    """For each position and message, the tokens whose states the snapshot read."""
    messages = run.record.get("snapshots", {}).get("messages", ())
    return {
        position: [
            [
                message["index"],
                *(strings.place(str(text)) for text in _token_texts(message, position)),
            ]
            for message in messages
        ]
        for position in positions
    }


def _token_texts(message: Mapping[str, Any], position: str) -> list[str]:
    return list(message.get("tokens", {}).get(position, {}).get("text", ()))


def _steps(run: Run, strings: Strings, top_k: int) -> dict[str, Any]:
    steps = run.steps
    return {
        "token": [strings.place(str(step["generated_token"])) for step in steps],
        "entropy": [step.get("entropy") for step in steps],
        "length": [step["seq_len"] for step in steps],
        "top": [
            [strings.place(str(item["token"])) for item in step["top_k"][:top_k]] for step in steps
        ],
        "p": [[math.exp(item["logprob"]) for item in step["top_k"][:top_k]] for step in steps],
        "chosen": [_rank(step) for step in steps],
    }


def _rank(step: Mapping[str, Any]) -> int:
    """The place of the generated token among the listed ones; -1 if it is not among them."""
    ids = [item["id"] for item in step["top_k"]]
    chosen = step["generated_token_id"]
    return ids.index(chosen) if chosen in ids else -1


def run_references(data: ReportData) -> References:
    """Similarity of each message's snapshot to each reference, of every run that is shown.

    ``mean`` holds, for each measure, positions x sources x messages x references (averaged over
    layers); ``layers`` the same with layers last, of which a page holds some.
    """
    shown = {run.label for run in data.shown}
    snapshots = _by_run(data.table("snapshot_reference"), "run", shown)
    roles = _by_run(_run_scope(data.table("role_averages")), "name", shown)
    return {
        run.label: _measured(data, run, snapshots[run.label], roles.get(run.label))
        for run in data.shown
        if run.label in snapshots
    }


def _measured(
    data: ReportData, run: Run, rows: pd.DataFrame, roles: pd.DataFrame | None
) -> dict[str, Any]:
    messages = sorted(int(item) for item in rows["message"].unique())
    labels = [label for label in run.reference_labels if label in set(rows["reference"])]
    labels = labels or list(dict.fromkeys(rows["reference"]))
    levels: tuple[tuple[str, tuple[Any, ...] | list[Any]], ...] = (
        ("position", data.positions), ("source", data.sources), ("message", messages),
        ("reference", labels), ("layer", data.layers),
    )  # fmt: skip
    cubes = {measure: cube(rows, measure, levels) for measure in MEASURES if measure in rows}
    return {
        "names": labels,
        "messages": messages,
        "mean": {measure: _layer_mean(values) for measure, values in cubes.items()},
        "layers": {measure: cubes[measure] for measure in LAYER_MEASURES if measure in cubes},
        "roles": _roles(data, labels, roles),
    }


def _references(found: Mapping[str, Any] | None, detail: Detail) -> dict[str, Any] | None:
    """What a page holds of it: layers of the first positions only, in ten-thousandths."""
    if found is None:
        return None
    kept = detail.reference_positions
    layers = {
        measure: ten_thousandths(values[:kept])
        for measure, values in found["layers"].items()
        if kept
    }
    return {**found, "layers": layers}


def cube(
    rows: pd.DataFrame, measure: str, levels: tuple[tuple[str, Any], ...]
) -> NDArray[np.float64]:
    """A long table as an array with one axis a level; a combination that is missing is NaN."""
    places = [pd.Index(values).get_indexer(rows[column].to_numpy()) for column, values in levels]
    known = np.all([place >= 0 for place in places], axis=0)
    full: NDArray[np.float64] = np.full([len(values) for _, values in levels], np.nan)
    full[tuple(place[known] for place in places)] = rows[measure].to_numpy(dtype=float)[known]
    return full


def _layer_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the last axis of the layers that are there; NaN where none is."""
    there = np.isfinite(values)
    count = there.sum(axis=-1)
    total = np.where(there, values, 0.0).sum(axis=-1)
    mean = np.full(count.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _roles(data: ReportData, labels: list[str], rows: pd.DataFrame | None) -> dict[str, Any] | None:
    """User and assistant averages: for each column, positions x sources x references."""
    if rows is None or rows.empty:
        return None
    levels = (("position", data.positions), ("source", data.sources), ("reference", labels))
    return {name: cube(rows, name, levels) for name in ROLE_COLUMNS if name in rows}


def _by_run(table: pd.DataFrame, column: str, shown: set[str]) -> dict[str, pd.DataFrame]:
    if table.empty:
        return {}
    some = table[table[column].isin(shown)]
    return {str(name): rows for name, rows in some.groupby(column, sort=False)}


def _run_scope(table: pd.DataFrame) -> pd.DataFrame:
    return table if table.empty else table[table["scope"] == "run"]
