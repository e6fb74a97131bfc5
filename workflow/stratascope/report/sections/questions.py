"""Benchmark questions: how many each checkpoint gets right, and what it said to each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.detail import cube
from stratascope.report.figure import Axis, Content, Figure, View, axes, error_bars, line
from stratascope.report.text import plot_text
from stratascope.study.questions import ALL_GROUPS

# Of a scenario, so many questions are listed: all of a hand-made set, the beginning of a benchmark.
LISTED = 120
# Of one text, so many characters are shown.
SHOWN = 400
BASELINES = (("chance", "chance"), ("majority", "always the most frequent answer"))


def build(data: ReportData) -> Content | None:
    """The section; None for a study without questions."""
    accuracy, answers = data.table("question_accuracy"), data.table("questions")
    if accuracy.empty:
        return None
    names = list(dict.fromkeys(accuracy["scenario"]))
    return Content(
        context={"scenarios": [_scenario(name, accuracy, answers) for name in names]},
        figures={"accuracy": _figure(names, accuracy)},
        parts=(
            ("questions-accuracy", "Accuracy"),
            ("questions-answers", "Every answer"),
        ),
    )


def _figure(scenarios: list[str], accuracy: pd.DataFrame) -> Figure:
    return Figure(
        id="fig-questions-accuracy",
        title="Right answers, checkpoint by checkpoint",
        note="Share of right answers with its 95 % Wilson interval; dashed: what needs no knowledge.",
        views={
            _value(place): _view(accuracy[accuracy["scenario"] == name])
            for place, name in enumerate(scenarios)
        },
        axes=(
            Axis("scenario", "Questions", tuple((_value(i), n) for i, n in enumerate(scenarios))),
        ),
        alt="Points with intervals over checkpoints, a colour a group of questions: share of right "
        "answers; dashed lines for chance and for the most frequent answer.",
    )


def _value(place: int) -> str:
    """A scenario's name may hold what separates the options of a figure; its number does not."""
    return f"s{place}"


def _view(rows: pd.DataFrame) -> View:
    checkpoints = list(dict.fromkeys(rows["checkpoint"]))
    groups = list(dict.fromkeys(rows["group"]))
    levels = (("group", groups), ("checkpoint", checkpoints))
    middle, low, high = (cube(rows, name, levels) for name in ("accuracy", "lower", "upper"))
    names = [plot_text(name) for name in checkpoints]
    lines = [
        line(
            names, middle[place], plot_text(group if group != ALL_GROUPS else "all questions"),
            ("plain", 1) if group == ALL_GROUPS else ("reference", place - 1),
            error_y=error_bars(middle[place], low[place], high[place]),
            line={"width": 3.5 if group == ALL_GROUPS else 1.5},
            hover="%{y:.3f}", offsetgroup=str(place),
        )
        for place, group in enumerate(groups)
    ]  # fmt: skip
    for column, words in BASELINES:
        level = cube(rows, column, levels)[groups.index(ALL_GROUPS)]
        if all(map(math.isfinite, level)):
            dash = {"width": 1.5, "dash": "dash" if column == "chance" else "dot"}
            more: dict[str, Any] = {
                "mode": "lines",
                "line": dash,
                "offsetgroup": str(groups.index(ALL_GROUPS)),
            }
            lines.append(line(names, level, words, ("plain", 0), hover="%{y:.3f}", **more))
    share = {"range": [-0.02, 1.02], "tickformat": ".0%"}
    layout = axes("checkpoint", "right answers", xaxis={"type": "category"}, yaxis=share)
    return {"data": lines, "layout": {**layout, "scattermode": "group", "scattergap": 0.6}}


def _scenario(name: str, accuracy: pd.DataFrame, answers: pd.DataFrame) -> dict[str, Any]:
    rows = answers[answers["scenario"] == name]
    checkpoints = list(dict.fromkeys(rows["checkpoint"]))
    said = {
        (row["id"], row["checkpoint"]): row
        for row in rows.to_dict("records")  # each id stands once for each checkpoint
    }
    ids = list(dict.fromkeys(rows["id"]))
    return {
        "name": name,
        "checkpoints": checkpoints,
        "accuracy": accuracy[accuracy["scenario"] == name].to_dict("records"),
        "grouped": bool((rows["group"] != "").any()),
        "count": len(ids),
        "questions": list(_listed(ids[:LISTED], checkpoints, said)),
    }


def _listed(
    ids: list[str], checkpoints: list[str], said: Mapping[tuple[str, str], Mapping[Any, Any]]
) -> Iterator[dict[str, Any]]:
    for name in ids:
        answers = [said.get((name, checkpoint)) for checkpoint in checkpoints]
        first = next(answer for answer in answers if answer is not None)
        yield {
            "id": name,
            **{key: _shown(first[key]) for key in ("group", "history", "question", "answer")},
            "answers": [None if answer is None else _answer(answer) for answer in answers],
        }


def _answer(row: Mapping[Any, Any]) -> dict[str, Any]:
    """What a checkpoint said: the prediction with its share of the choices, and the text generated."""
    return {
        "correct": bool(row["correct"]),
        "prediction": _shown(row["prediction"]),
        "share": _share(row["prediction"], json.loads(row["choice_logprobs"])),
        "generated": _shown(row["generated"].strip()) if row["choice_logprobs"] != "{}" else "",
    }


def _share(prediction: str, scores: Mapping[str, float | None]) -> float | None:
    """The prediction's share of the probability of all choices; None where there are none."""
    known = {text: score for text, score in scores.items() if score is not None}
    if prediction not in known:
        return None
    largest = max(known.values())
    weights = {text: math.exp(score - largest) for text, score in known.items()}
    return weights[prediction] / sum(weights.values())


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
