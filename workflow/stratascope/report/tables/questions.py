"""Every answer with its grade, and how many of a checkpoint's answers are right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from stratascope.measure.proportion import wilson
from stratascope.report.tables.states import Study
from stratascope.study.grading import normal_form
from stratascope.study.questions import ALL_GROUPS

QUESTIONS = (
    "scenario", "checkpoint", "id", "group", "history", "question", "answer",
    "generated", "prediction", "grade", "correct",
    "logprob", "logprob_per_token", "choice_logprobs", "choice_logprobs_per_token",
)  # fmt: skip
ACCURACY = (
    "scenario", "checkpoint", "group", "n", "correct", "accuracy", "lower", "upper",
    "chance", "majority",
)  # fmt: skip
_NUMBERS = ("correct", "logprob", "logprob_per_token")

Row = Mapping[str, Any]


def questions(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`questions` and `question_accuracy`, a scenario and checkpoint at a time."""
    for folder in study.questions:
        scenario, _, checkpoint = folder.info["label"].rpartition("@")
        place = {"scenario": scenario, "checkpoint": checkpoint}
        asked = folder.info["scenario"]["questions"]
        rows = [
            {
                **place,
                **row,
                "history": _history(item["history"]),
                "accepted": tuple(item["answer"]),
            }
            for row, item in zip(folder.rows, asked, strict=True)
        ]
        yield {
            "questions": _frame(rows, QUESTIONS),
            "question_accuracy": _frame([{**place, **row} for row in _accuracy(rows)], ACCURACY),
        }


def _history(messages: Sequence[Mapping[str, str]]) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _frame(rows: Sequence[Row], columns: Sequence[str]) -> pd.DataFrame:
    """Texts as categories, as every table has them; ``correct`` as 1 or 0."""
    return pd.DataFrame(
        {
            name: _column([row[name] for row in rows], text=isinstance(rows[0][name], str))
            for name in columns
        }
    )


def _column(values: list[Any], *, text: bool) -> object:
    if text:
        return pd.Categorical(values)
    return np.array([int(v) if isinstance(v, bool) else v for v in values])


def _accuracy(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """A row for all questions, and one for each group in the order of first naming."""
    groups = dict.fromkeys(row["group"] for row in rows if row["group"])
    for group in (ALL_GROUPS, *groups):
        some = [row for row in rows if group in (ALL_GROUPS, row["group"])]
        right = sum(row["correct"] for row in some)
        lower, upper = wilson(right, len(some))
        yield {
            "group": group,
            "n": len(some),
            "correct": right,
            "accuracy": right / len(some),
            "lower": lower,
            "upper": upper,
            "chance": _chance(some),
            "majority": _majority(some),
        }


def _chance(rows: Sequence[Row]) -> float:
    """How often blind choice is right. Of answers in free words none is; NaN if all are such."""
    choices = [row for row in rows if row["grade"] == "multiple_choice"]
    right = [len(set(r["accepted"])) / len(json.loads(r["choice_logprobs"])) for r in choices]
    return sum(right) / len(rows) if choices else np.nan


def _majority(rows: Sequence[Row]) -> float:
    """How often the answer that is right most often would be right, given to every question."""
    counts = Counter(
        answer for row in rows for answer in {normal_form(text) for text in row["accepted"]}
    )
    return max(counts.values()) / len(rows)
