"""Small tables for `dvc plots`: a few curves out of tables that may be large.

DVC puts every row of a plotted file into its page, once a revision, so the plots are not drawn from
results/tables themselves. All have the columns ``panel`` and ``line``, one x and one y:

- ``layers.csv``: final against initial state, mean over runs; a panel a source, a line a checkpoint;
- ``references.csv``: message against reference at the last layer, mean over conversations; a panel a
  checkpoint, a line a reference;
- ``drift.csv``: initial states on a checkpoint against the first one; a panel a source, a line a layer;
- ``probes.csv``: the best layer's score of each label; a panel a dataset, a line a label. Without rows
  where nothing was probed.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stratascope.errors import StratascopeError
from stratascope.store.commit import new_file
from stratascope.store.layout import RESULTS, Layout

PLOTS = RESULTS / "plots"
SOURCE = "hidden_out"
MEASURES = ["centred_cosine", "cosine"]
# What a probe is judged by: of classes, of quantities.
DECIDING = ("accuracy", "r2")


def write_curves(root: Path) -> list[Path]:
    """Write results/plots/*.csv of the study in ``root``; the same tables give the same bytes."""
    tables = root / Layout.of_study().tables
    checkpoints = _read(tables / "checkpoints.csv")
    similarity = _read(tables / "snapshot_reference.csv")
    curves = {
        "layers": layers(checkpoints),
        "references": references(similarity),
        "drift": drift(checkpoints),
        "probes": probes(tables / "probes.csv"),
    }
    written = []
    for name, frame in curves.items():
        path = root / PLOTS / f"{name}.csv"
        with new_file(path) as partial:
            frame.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")
        written.append(path)
    return written


def layers(checkpoints: pd.DataFrame) -> pd.DataFrame:
    """``panel, line, layer`` and the measures, out of checkpoints.csv."""
    named = checkpoints.rename(columns={"source": "panel", "checkpoint": "line"})
    return _curve(named, "layer")


def references(similarity: pd.DataFrame) -> pd.DataFrame:
    """``panel, line, message`` and the measures, out of snapshot_reference.csv.

    A conversation's beginning that several runs share (``run_at_each_message``) counts once: its
    rows agree in every digit that matters.
    """
    rows = similarity[similarity["source"] == SOURCE]
    rows = rows[rows["layer"] == rows.groupby("run")["layer"].transform("max")]
    rows = rows[rows["position"].isin(rows["position"].head(1))]
    named = rows.assign(
        panel=rows["run"].str.rsplit("@", n=1).str[-1],
        line=rows["reference"],
        rounded=rows["cosine"].round(5),
    ).drop_duplicates(["panel", "line", "message", "rounded"])
    mean = named.groupby(["panel", "line", "message"], sort=False)[MEASURES].mean().reset_index()
    return _curve(mean, "message")


def drift(checkpoints: pd.DataFrame) -> pd.DataFrame:
    """``panel, line, checkpoint`` and the measures, out of checkpoints.csv, in the study's order."""
    rows = checkpoints.assign(
        panel=checkpoints["source"],
        line="layer " + checkpoints["layer"].astype(str).str.zfill(2),
        **{name: checkpoints[f"drift_first_{name}"] for name in MEASURES},
    )
    # A state against itself: the table leaves it out, a line that starts there is easier to read.
    rows.loc[rows["order"] == 0, MEASURES] = 1.0
    return _curve(rows, "checkpoint")


def probes(path: Path) -> pd.DataFrame:
    """``panel, line, checkpoint, estimate``, and the interval and the words alone, out of probes.csv."""
    columns = ["estimate", "lower", "upper", "bag_of_tokens"]
    if not path.is_file():
        return pd.DataFrame(columns=["panel", "line", "checkpoint", *columns])
    rows = _read(path)
    rows = rows[rows["measure"].isin(DECIDING) & rows["estimate"].notna()]
    best = rows.groupby(["dataset", "label", "checkpoint"], sort=False)["estimate"].idxmax()
    named = rows.loc[best].assign(panel=rows["dataset"], line=rows["label"])
    return named[["panel", "line", "checkpoint", *columns]]


def _curve(rows: pd.DataFrame, x: str) -> pd.DataFrame:
    return rows[["panel", "line", x, *MEASURES]].dropna(subset=MEASURES[:1])


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise StratascopeError(f"{path}: not there; run snakemake first")
    # A reference or a checkpoint may be called `null` or `1e5`.
    names = dict.fromkeys(("run", "checkpoint", "reference", "dataset", "label"), str)
    return pd.read_csv(path, dtype=names, keep_default_na=False, na_values=[""])
