"""What drift.csv comes down to: how far the representation of a dataset's texts has moved."""

from __future__ import annotations

import pandas as pd

from stratascope.report.findings import Finding
from stratascope.report.inputs import ReportData
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
    low, high = rows.loc[rows["value"].idxmin()], rows.loc[rows["value"].idxmax()]
    most, least = (high, low) if row["measure"] in DISTANCES else (low, high)
    name = measure_name(row["measure"])
    words = (
        f"From {row['against_checkpoint']} to {row['checkpoint']} the representation of the texts of "
        f"{row['dataset']} changed most at layer {most['layer']:.0f} ({name} "
        f"{number(most['value'], DIGITS)}) and least at layer {least['layer']:.0f} "
        f"({number(least['value'], DIGITS)})."
    )
    if len(rows) == 1:
        words = (
            f"From {row['against_checkpoint']} to {row['checkpoint']} layer {row['layer']:.0f} represents "
            f"the texts of {row['dataset']} with {name} {number(row['value'], DIGITS)}."
        )
    same = "0 is no change" if row["measure"] in DISTANCES else "1 is no change"
    ends = [_interval(item) for item in ((most, least) if len(rows) > 1 else (most,))]
    sure = f"n = {plural(int(row['n']), 'text')}; {same}. "
    sure += f"95 % {' and '.join(ends)}." if all(ends) else "No interval."
    apart = _apart(most, least)
    return Finding(f"Drift of {row['dataset']}", words, sure, apart or len(rows) == 1)


def _interval(row: pd.Series) -> str:
    return interval(row["lower"], row["upper"], DIGITS) if pd.notna(row["lower"]) else ""


def _apart(one: pd.Series, two: pd.Series) -> bool:
    """Whether the two intervals share nothing: the order of the layers is then sure."""
    return bool(one["upper"] < two["lower"] or two["upper"] < one["lower"])
