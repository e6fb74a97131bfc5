"""The tables that are compared: what names a row, and how much a number moves by chance.

To compare another table: an entry in `TABLES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from stratascope.report.inputs import read_table

# A column `SPREAD + measure` holds the spread that a change of the measure is held against.
SPREAD = "~"
_BACKGROUND = {"cosine": "background_std", "centred_cosine": "centred_background_std"}
_SUMMARY = {
    "mean_cosine": "background_std",
    "median_cosine": "background_std",
    "min_cosine": "background_std",
    "mean_centred_cosine": "centred_background_std",
}


@dataclass(frozen=True)
class Compared:
    """A table: the columns that name a row, and what its measures' spreads come from.

    ``intervals`` gives for a measure the columns of its interval's bounds. ``background`` gives for
    a measure the column of intra_run_cosines with the spread of unrelated states, averaged over
    what ``per`` does not name. ``averaged``: rows that share a key are averaged first.
    """

    keys: tuple[str, ...]
    intervals: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    background: Mapping[str, str] = field(default_factory=dict)
    per: tuple[str, ...] = ()
    averaged: tuple[str, ...] = ()


TABLES: dict[str, Compared] = {
    "intra_run_report": Compared(
        ("run", "source"), background=_SUMMARY, per=("checkpoint", "source")
    ),
    "comparison_report": Compared(
        ("state", "run_a", "run_b", "source"), background=_SUMMARY, per=("checkpoint", "source")
    ),
    "role_averages": Compared(
        ("scope", "name", "reference", "position", "source"),
        intervals={
            "difference": ("lower", "upper"),
            "difference_centred": ("lower_centred", "upper_centred"),
        },
    ),
    "discrimination": Compared(
        ("checkpoint", "position", "source", "layer"),
        intervals={"centred_discrimination": ("lower", "upper")},
    ),
    "checkpoints": Compared(
        ("checkpoint", "source", "layer"),
        background=_BACKGROUND,
        per=("checkpoint", "source", "layer"),
    ),
    "snapshot_reference": Compared(
        ("run", "reference", "source"),
        averaged=("cosine", "MAE", "overlap", "centred_cosine", "preferred"),
    ),
    "question_accuracy": Compared(
        ("scenario", "checkpoint", "group"), intervals={"accuracy": ("lower", "upper")}
    ),
}
BACKGROUNDS = "intra_run_cosines"
READ = (*TABLES, BACKGROUNDS)
_CHUNK = 500_000


def read_compared(folder: Path, checkpoint: str | None) -> dict[str, pd.DataFrame]:
    """Every table of `TABLES` with its spreads, one row a key; a missing file is an empty frame.

    With a ``checkpoint``, only what it alone gave, and runs are named by their scenario: so two
    checkpoints' rows have the same keys.
    """
    background = _backgrounds(read_table(folder / f"{BACKGROUNDS}.csv"))
    frames = {}
    for name, spec in TABLES.items():
        path = folder / f"{name}.csv"
        frame = _averaged(path, spec) if spec.averaged else read_table(path)
        if not frame.empty:
            frame = _with_spreads(_pairs_in_order(frame), spec, background)
            frame = _NARROW[name](frame, checkpoint) if checkpoint is not None else frame
            frame = frame.drop_duplicates(list(spec.keys)).reset_index(drop=True)
        frames[name] = frame
    return frames


def checkpoint_of(labels: pd.Series) -> pd.Series:
    """The checkpoint in ``<scenario>@<checkpoint>``."""
    return labels.str.rsplit("@", n=1).str[-1]


def scenario_of(labels: pd.Series) -> pd.Series:
    """The scenario in ``<scenario>@<checkpoint>``."""
    return labels.str.rsplit("@", n=1).str[0]


def _averaged(path: Path, spec: Compared) -> pd.DataFrame:
    """Means over the rows that share a key, read in pieces: the file may be larger than memory."""
    if not path.is_file():
        return pd.DataFrame()
    keys, measures = list(spec.keys), list(spec.averaged)
    parts = [
        part.groupby(keys, sort=False)[measures].agg(["sum", "count"])
        for part in pd.read_csv(
            path,
            usecols=[*keys, *measures],
            dtype=dict.fromkeys(keys, "str"),
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN"] for name in measures},
            chunksize=_CHUNK,
        )
    ]
    total = pd.concat(parts).groupby(level=keys, sort=False).sum()
    means = {name: total[name, "sum"] / total[name, "count"] for name in measures}
    return pd.DataFrame(means).reset_index()


def _pairs_in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """A pair has no direction: the study's order of checkpoints must not give it another key."""
    if "run_a" not in frame:
        return frame
    a, b = frame["run_a"], frame["run_b"]
    return frame.assign(run_a=a.where(a <= b, b), run_b=b.where(a <= b, a))


def _backgrounds(cosines: pd.DataFrame) -> pd.DataFrame:
    """The spread of unrelated states by checkpoint, source and layer."""
    if cosines.empty:
        return cosines
    return (
        cosines.assign(checkpoint=checkpoint_of(cosines["run"]))
        .groupby(["checkpoint", "source", "layer"], sort=False)[
            ["background_std", "centred_background_std"]
        ]
        .mean()
        .reset_index()
    )


def _with_spreads(frame: pd.DataFrame, spec: Compared, background: pd.DataFrame) -> pd.DataFrame:
    halves = {
        SPREAD + measure: (frame[upper] - frame[lower]) / 2
        for measure, (lower, upper) in spec.intervals.items()
    }
    frame = frame.assign(**halves)
    if not spec.background or background.empty:
        return frame
    columns = sorted(set(spec.background.values()))
    spreads = background.groupby(list(spec.per), sort=False)[columns].mean().reset_index()
    found = _place(frame)[list(spec.per)].merge(spreads, how="left", on=list(spec.per))
    return frame.assign(
        **{
            SPREAD + measure: found[column].to_numpy()
            for measure, column in spec.background.items()
        }
    )


def _place(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with its checkpoint; a pair across checkpoints has none, so it finds no spread."""
    if "checkpoint" in frame:
        return frame
    if "run" in frame:
        return frame.assign(checkpoint=checkpoint_of(frame["run"]))
    a, b = checkpoint_of(frame["run_a"]), checkpoint_of(frame["run_b"])
    return frame.assign(checkpoint=a.where(a == b, ""))


def _only_runs(*columns: str) -> Callable[[pd.DataFrame, str], pd.DataFrame]:
    def narrow(frame: pd.DataFrame, checkpoint: str) -> pd.DataFrame:
        for column in columns:
            frame = frame[checkpoint_of(frame[column]) == checkpoint]
        scenarios = {column: scenario_of(frame[column]) for column in columns}
        return frame.assign(**scenarios)

    return narrow


def _only_checkpoint(frame: pd.DataFrame, checkpoint: str) -> pd.DataFrame:
    # Drift is against other checkpoints, so it says nothing about two of them side by side.
    drift = [name for name in frame if name.startswith("drift_") or name == "order"]
    return frame[frame["checkpoint"] == checkpoint].assign(checkpoint="").drop(columns=drift)


def _only_scope(frame: pd.DataFrame, checkpoint: str) -> pd.DataFrame:
    whole = frame["scope"] == "checkpoint"
    own = frame["name"].where(whole, checkpoint_of(frame["name"])) == checkpoint
    names = scenario_of(frame["name"]).mask(whole, "")
    return frame.assign(name=names)[own]


_NARROW: dict[str, Callable[[pd.DataFrame, str], pd.DataFrame]] = {
    "intra_run_report": _only_runs("run"),
    "comparison_report": _only_runs("run_a", "run_b"),
    "role_averages": _only_scope,
    "discrimination": _only_checkpoint,
    "checkpoints": _only_checkpoint,
    "snapshot_reference": _only_runs("run"),
    "question_accuracy": _only_checkpoint,
}
