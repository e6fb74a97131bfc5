"""What the summary says of datasets: which labels can be decoded from each, and which cannot."""

from __future__ import annotations

import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.finding import Finding
from stratascope.report.probing import best_rows, main_rows, place
from stratascope.report.text import first_upper, joined, number, plural


def decoded(data: ReportData) -> list[Finding]:
    """A finding for each dataset that was probed; none without probes."""
    probes = data.table("probes")
    if probes.empty:
        return []
    found = main_rows(probes).groupby("dataset", sort=False)
    return [_finding(str(name), rows) for name, rows in found]


def _finding(dataset: str, rows: pd.DataFrame) -> Finding:
    best = best_rows(rows)
    names = list(dict.fromkeys(rows["checkpoint"]))
    last = best[best["checkpoint"] == names[-1]]
    first = best[best["checkpoint"] == names[0]]
    several = rows["site"].nunique() > 1
    clear = last[last["decodable"]]
    words_do = last[last["above_chance"] & ~last["decodable"]]
    neither = last[~last["above_chance"]]
    parts = []
    if not clear.empty:
        listed = [
            f"{row['label']} ({number(row['estimate'], 2)}, {place(row, several)})"
            for _, row in clear.iterrows()
        ]
        parts.append(f"{joined(listed)} can be decoded from {names[-1]}, beyond chance and words")
    if not words_do.empty:
        parts.append(f"{joined(list(words_do['label']))} no better than from the words alone")
    if not neither.empty:
        parts.append(f"{joined(list(neither['label']))} not at all")
    sure = (
        f"Cross-validated linear probes of {plural(len(last), 'label')}, "
        f"n = {plural(int(last['n'].max()), 'text')}; each at its best layer."
    )
    if len(names) > 1:
        sure += f" At {names[0]} so much holds for {first['decodable'].sum()} of {len(first)}."
    return Finding(
        f"Decodable in {dataset}", first_upper("; ".join(parts)) + ".", sure, not clear.empty
    )
