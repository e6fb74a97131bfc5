"""Benchmark questions in a comparison: changed like runs, moved like any table, read at a revision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from stratascope.compare.diff import compare
from stratascope.report.tables import TABLES
from stratascope.study.config import read_scenarios, read_study
from stratascope.study.digest import digest as digest_of

QUESTIONS = [
    {"question": "Capital of France?", "answer": "Paris"},
    {"question": "2+2?", "answer": "4", "choices": ["3", "4"]},
]


def add_quiz(study: Path, right: int, questions: list[dict[str, Any]] = QUESTIONS) -> None:
    """A set of questions and its answers, as a study with ``early`` and ``late`` would leave them."""
    (study / "data").mkdir(exist_ok=True)
    (study / "data" / "quiz.jsonl").write_text("\n".join(map(json.dumps, questions)))
    path = study / "scenarios" / "quiz.yaml"
    path.write_text("name: quiz\nquestions: {file: data/quiz.jsonl}\n")
    (file,) = (f for f in read_scenarios(study, read_study(study)) if f.scenario.name == "quiz")
    rows = []
    for name in ("early", "late"):
        digest = digest_of(questions)
        folder = study / "results" / "questions" / f"quiz@{name}-{digest}"
        folder.mkdir(parents=True)
        info = {
            "label": f"quiz@{name}",
            "digest": digest,
            "scenario": file.scenario.model_dump(mode="json") | {"model": {"id": name}},
            "model": {"id": name, "revision": None, "identity": "f" * 64},
            "created_at": "2026-01-01T00:00:00+00:00",
        }
        (folder / "questions.json").write_text(json.dumps(info))
        (folder / "features-00000.safetensors").write_bytes(b"never asked for")
        rows.append(
            {"scenario": "quiz", "checkpoint": name, "group": "all", "n": 2, "correct": right,
             "accuracy": right / 2, "lower": right / 2 - 0.1, "upper": right / 2 + 0.1,
             "chance": 0.25, "majority": 0.5}
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(TABLES["question_accuracy"].columns))
    table.to_csv(study / "results" / "tables" / "question_accuracy.csv", index=False)


def test_a_changed_question_is_the_reason(made: Any, tmp_path: Path) -> None:
    """What differs in the questions is said once for all checkpoints; accuracy moves by its interval."""
    for name, right, answer in (("a", 0, "4"), ("b", 1, "3")):
        made.write(tmp_path / name)
        add_quiz(tmp_path / name, right, [QUESTIONS[0], {**QUESTIONS[1], "answer": answer}])
    found = compare(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path)
    assert [run.label for run in found.runs.changed] == ["quiz@early", "quiz@late"]
    assert [str(reason) for reason in found.runs.shared] == ['questions[1].answer[0]: "4" -> "3"']
    assert not {"quiz@early", "quiz@late"} & {*found.runs.new, *found.runs.gone}
    (table,) = (table for table in found.tables if table.table == "question_accuracy")
    moved = table.moved.set_index(["key", "measure"])
    row = moved.loc["scenario=quiz checkpoint=early group=all", "accuracy"]
    assert (row["change"], round(row["times"])) == (0.5, 5)
    kinds = dict(zip(table.moved["measure"], table.moved["kind"], strict=True))
    assert kinds == {
        "accuracy": "measure",
        "lower": "secondary",
        "upper": "secondary",
        "correct": "count",
    }


def test_two_checkpoints_have_one_key(made: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Of two checkpoints the accuracy on the same questions stands in one row."""
    made.write(tmp_path)
    add_quiz(tmp_path, 1)
    table = tmp_path / "results" / "tables" / "question_accuracy.csv"
    table.write_text(table.read_text().replace("late,all,2,1,0.5", "late,all,2,2,1.0"))
    found = compare("checkpoint:early", "checkpoint:late", tmp_path)
    (accuracy,) = (t for t in found.tables if t.table == "question_accuracy")
    assert (accuracy.rows, accuracy.only_a, accuracy.only_b) == (1, 0, 0)
    assert set(accuracy.moved["measure"]) == {"accuracy", "correct"}


def test_questions_are_read_at_a_revision(repository: Any, shell: Any) -> None:
    """A commit's questions are found, those of a file of their own included, and why they changed."""
    add_quiz(repository.study, 1)
    dvc_add(repository)
    first = shell.commit(repository.root, "questions")
    other = [QUESTIONS[0], {**QUESTIONS[1], "question": "1+3?"}]
    add_quiz(repository.study, 1, other)
    dvc_add(repository)
    shell.commit(repository.root, "others")
    found = compare(first, "HEAD", repository.study)
    assert found.notes == ()
    assert [run.label for run in found.runs.changed] == ["quiz@early", "quiz@late"]
    assert [reason.path for reason in found.runs.shared] == ["questions[1].question"]
    assert not found.runs.new


def dvc_add(repository: Any) -> None:
    from dvc.repo import Repo

    with Repo(str(repository.root)) as repo:
        repo.add([str(repository.study / "results")])
