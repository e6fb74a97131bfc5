"""What probes.csv comes down to: the best layers, what they must exceed, and since when they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stratascope.report.text import joined, source_name

# The measure that decides, by the kind of label: classes, quantities.
MAIN = ("accuracy", "r2")
# Of these less is better.
LOSSES = frozenset({"brier", "calibration_error"})
PROBE = ["dataset", "label"]
# What a probe must exceed to have found something in the features, and what that is called.
BASELINES = {
    "majority": "the most frequent class",
    "shuffled_upper": "shuffled labels",
    "bag_of_tokens": "the words alone",
}
CHANCE = ["majority", "shuffled_upper"]
# The best of many layers is as good as this often by chance alone: p_max counts them all.
LEVEL = 0.05


@dataclass(frozen=True)
class Since:
    """The first checkpoint at which a label is decodable, and whether it is at every later one."""

    checkpoint: str
    always: bool


def main_rows(probes: pd.DataFrame) -> pd.DataFrame:
    """The rows of the deciding measure, with ``bar``, the largest baseline, and what exceeds it.

    ``above_chance``: the interval lies above the most frequent class and above 95 % of shuffled
    labels, and no more than 1 in 20 shuffles is as good at any layer, site or checkpoint;
    ``decodable``: also above what the words alone give.
    """
    rows = probes[probes["measure"].isin(MAIN)]
    bar = rows[list(BASELINES)].max(axis=1)
    above = (rows["lower"] > rows[CHANCE].max(axis=1)) & ~_by_selection(rows["p_max"])
    return rows.assign(bar=bar, above_chance=above, decodable=above & (rows["lower"] > bar))


def _by_selection(p_max: Any) -> Any:
    """Whether shuffled labels do as well somewhere (False where nothing was shuffled)."""
    return p_max > LEVEL


def best_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Of `main_rows` the best layer and site for each dataset, label and checkpoint, in their order."""
    rows = rows[rows["estimate"].notna()]
    best = rows.groupby([*PROBE, "checkpoint"], sort=False)["estimate"].idxmax()
    return rows.loc[best.to_list()]


def since(rows: pd.DataFrame, checkpoints: Sequence[str], what: str = "decodable") -> Since | None:
    """Since which checkpoint ``what`` holds: ``rows`` of `main_rows`, one layer's, one a checkpoint."""
    found = dict(zip(rows["checkpoint"], rows[what], strict=True))
    names = [name for name in checkpoints if name in found]
    known = [bool(found[name]) for name in names]
    if not any(known):
        return None
    first = known.index(True)
    return Since(names[first], all(known[first:]))


def not_exceeded(row: pd.Series) -> str:
    """The baselines that the interval does not lie above, in words: ``the words alone (0.71)``."""
    low = [name for name in BASELINES if pd.notna(row[name]) and not row["lower"] > row[name]]
    named = [f"{baseline_name(row, name)} ({row[name]:.2f})" for name in low]
    if "shuffled_upper" not in low and _by_selection(row["p_max"]):
        named.append(f"the best layer of shuffled labels (p = {row['p_max']:.2g})")
    return joined(named)


def baseline_name(row: pd.Series, name: str) -> str:
    """A baseline in words; of quantities there is no most frequent class, but a mean."""
    return "the mean" if name == "majority" and row["measure"] == "r2" else BASELINES[name]


def place(row: pd.Series, several_sites: bool) -> str:
    """``layer 4``, or ``layer 4 (MLP out)`` where a dataset has several sites, or the site alone."""
    if pd.isna(row["layer"]):
        return source_name(row["site"])
    site = f" ({source_name(row['site'])})" if several_sites else ""
    return f"layer {row['layer']:.0f}{site}"
