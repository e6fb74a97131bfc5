"""What is found of each label, in a sentence that is never stronger than the numbers."""

from __future__ import annotations

import pandas as pd

from stratascope.report.finding import Finding
from stratascope.report.probing import PROBE, best_rows, main_rows, not_exceeded, place
from stratascope.report.text import first_upper, interval, measure_name, number, plural

DIGITS = 2


def label_findings(probes: pd.DataFrame) -> list[Finding]:
    """One for each dataset and label, in the table's order, at the last checkpoint and the first."""
    found = []
    for _, rows in main_rows(probes).groupby(PROBE, sort=False):
        best = best_rows(rows)
        if best.empty:
            continue
        last = best.iloc[-1]
        chosen_from = int((rows["checkpoint"] == last["checkpoint"]).sum())
        found.append(_finding(best.iloc[0], last, rows["site"].nunique() > 1, chosen_from))
    return found


def _finding(first: pd.Series, last: pd.Series, several_sites: bool, count: int) -> Finding:
    label = first_upper(last["label"])
    where = f"{place(last, several_sites)} of {last['checkpoint']}"
    score = f"{_score(last)}, {_size(last)}"
    if last["decodable"]:
        words = f"{label} is decodable at {where}: {_measure(last)} {score})."
    elif last["above_chance"]:
        words = (
            f"{label} is decodable at {where}, but no better than from {not_exceeded(last)}: "
            f"{_measure(last)} {score})."
        )
    else:
        words = (
            f"{label} is not decodable on {last['checkpoint']}: even at {place(last, several_sites)}, "
            f"the best, {_measure(last)} {score}) is no better than {not_exceeded(last)}."
        )
    if first["checkpoint"] != last["checkpoint"]:
        words += f" {_at_first(first, several_sites)}"
    return Finding(
        f"{last['dataset']}: {last['label']}", words, _sure(last, count), bool(last["decodable"])
    )


def _at_first(first: pd.Series, several_sites: bool) -> str:
    verdict = "" if first["decodable"] else f", no better than {not_exceeded(first)}"
    return f"At {first['checkpoint']}: {_score(first)}; {place(first, several_sites)}){verdict}."


def _measure(row: pd.Series) -> str:
    name = measure_name(row["measure"])
    return name if row["measure"] == "r2" else name.lower()


def _score(row: pd.Series) -> str:
    """``0.93 (0.90 to 0.95``: the bracket stays open for what else belongs there."""
    ends = interval(row["lower"], row["upper"], DIGITS) if pd.notna(row["lower"]) else "no interval"
    return f"{number(row['estimate'], DIGITS)} ({ends}"


def _size(row: pd.Series) -> str:
    size = f"n = {plural(int(row['n']), 'text')}"
    return size if row["groups"] == row["n"] else f"{size} in {plural(int(row['groups']), 'group')}"


def _sure(row: pd.Series, count: int) -> str:
    majority = "mean" if row["measure"] == "r2" else "majority"
    parts = [
        _part(majority, row["majority"]),
        _part("words alone", row["bag_of_tokens"]),
        _part("difference of means", row["difference_of_means"]),
        _shuffled(row),
        _part("control task", row["control"]),
        _part("selectivity", row["selectivity"]),
        _chance(row),
    ]
    told = first_upper("; ".join(part for part in parts if part))
    return f"{told}. The best of {count}, which flatters it." if count > 1 else f"{told}."


def _part(words: str, value: float) -> str:
    return f"{words} {number(value, DIGITS)}" if pd.notna(value) else ""


def _shuffled(row: pd.Series) -> str:
    if pd.isna(row["shuffled_mean"]):
        return ""
    return (
        f"shuffled labels {number(row['shuffled_mean'], DIGITS)} "
        f"(95 % below {number(row['shuffled_upper'], DIGITS)})"
    )


def _chance(row: pd.Series) -> str:
    if pd.isna(row["p"]):
        return ""
    return f"p = {number(row['p'])}, {number(row['p_max'])} among all layers and checkpoints"
