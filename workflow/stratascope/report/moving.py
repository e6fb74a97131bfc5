"""What drift.csv comes down to: how far the representation of a dataset's texts has moved."""

from __future__ import annotations

import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.finding import Finding
from stratascope.report.text import interval, measure_name, number, plural

# Measures that are 0 for two equal representations and grow with their difference.
DISTANCES = frozenset({"procrustes", "angular"})
# Measures that differ when the two sides change places.
ONE_SIDED = frozenset({"pwcca"})
SITE = "hidden_out"
DIGITS = 2


def main_drift(drift: pd.DataFrame) -> pd.DataFrame:
    """Against the first checkpoint: of each dataset the first measure, at the main site."""
    rows = drift[drift["against"] == "first"]
    by_dataset = rows.groupby("dataset", sort=False)
    rows = rows[rows["measure"] == by_dataset["measure"].transform("first")]
    first = rows.groupby("dataset", sort=False)["site"].transform("first")
    has_main = (rows["site"] == SITE).groupby(rows["dataset"]).transform("any")
    return rows[rows["site"] == first.where(~has_main, SITE)]


def drift_findings(data: ReportData) -> list[Finding]:
    """For each dataset: the layers that moved most and least from the first to the last checkpoint."""
    table = data.table("drift")
    if table.empty:
        return []
    rows = main_drift(table)
    last = rows.groupby("dataset", sort=False)["checkpoint"].transform("last")
    rows = rows[(rows["checkpoint"] == last) & rows["value"].notna()]
    return [_finding(some) for _, some in rows.groupby("dataset", sort=False)]


def _finding(rows: pd.DataFrame) -> Finding:
    row = rows.iloc[0]
    distance = row["measure"] in DISTANCES
    low, high = rows.loc[rows["value"].idxmin()], rows.loc[rows["value"].idxmax()]
    most, least = (high, low) if distance else (low, high)
    ways = f"From {row['against_checkpoint']} to {row['checkpoint']} the representation of the texts of"
    name, n = measure_name(row["measure"]), plural(int(row["n"]), "text")
    sure = f"{name}, n = {n}; {0 if distance else 1} is no change. 95 %: "
    if len(rows) == 1:
        words = f"{ways} {row['dataset']} has changed at {_value(row)}."
        sure += f"{_interval(row)}."
    elif _apart(most, least):
        words = f"{ways} {row['dataset']} has changed most at {_value(most)} and least at {_value(least)}."
        sure += f"{_interval(most)} and {_interval(least)}."
    else:
        words = (
            f"{ways} {row['dataset']} has changed, no layer clearly more than all others: from "
            f"{_value(most)} to {_value(least)}."
        )
        sure += f"{_interval(most)} and {_interval(least)}."
    changed = least["lower"] > 0 if distance else least["upper"] < 1
    return Finding(f"Drift of {row['dataset']}", words, sure, bool(changed))


def _value(row: pd.Series) -> str:
    return f"layer {row['layer']:.0f} ({number(row['value'], DIGITS)})"


def _interval(row: pd.Series) -> str:
    return interval(row["lower"], row["upper"], DIGITS) if pd.notna(row["lower"]) else "no interval"


def _apart(one: pd.Series, two: pd.Series) -> bool:
    """Whether the two intervals share nothing: the order of the layers is then sure."""
    return bool(one["upper"] < two["lower"] or two["upper"] < one["lower"])
