"""What the summary says of benchmark questions: how many are answered right, against what chance gives."""

from __future__ import annotations

import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.finding import Finding
from stratascope.report.text import number, plural
from stratascope.study.questions import ALL_GROUPS

# So many scenarios have a finding of their own; the section has them all.
MOST = 3


def asked(data: ReportData) -> int:
    """How many questions the study asks."""
    table = data.table("questions")
    return 0 if table.empty else len(table[["scenario", "id"]].drop_duplicates())


def known(data: ReportData) -> list[Finding]:
    """A finding for each of the first question scenarios; none without questions."""
    table = data.table("question_accuracy")
    if table.empty:
        return []
    every = table[table["group"] == ALL_GROUPS]
    return [_finding(rows) for _, rows in list(every.groupby("scenario", sort=False))[:MOST]]


def _finding(rows: pd.DataFrame) -> Finding:
    """``rows`` are of one scenario, a checkpoint each, in the study's order."""
    first, last = rows.iloc[0], rows.iloc[-1]
    words = f"Of {last['scenario']}, {last['checkpoint']} answers {_right(last)} right"
    if len(rows) > 1:
        words += f", {first['checkpoint']} {_right(first)}"
    baselines = [("blind choice", last["chance"]), ("the most frequent answer", last["majority"])]
    name, level = max((b for b in baselines if pd.notna(b[1])), key=lambda b: b[1])
    clear = bool(last["lower"] > level)
    if clear:
        words += f"; {name} would give {100 * level:.0f} %."
    else:
        words += f"; that is not clearly more than the {100 * level:.0f} % that {name} would give."
    sure = (
        f"95 % Wilson interval {number(last['lower'])} to {number(last['upper'])}, as if each question "
        f"stood for itself; {plural(int(last['n']), 'question')}."
    )
    return Finding("What it knows", words, sure, clear)


def _right(row: pd.Series) -> str:
    return f"{row['correct']:.0f} of {row['n']:.0f} ({100 * row['accuracy']:.0f} %)"
