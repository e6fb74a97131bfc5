"""The tables of answered questions against numbers worked out by hand, and their section of the report."""

from __future__ import annotations

import json
import math
import re
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stratascope.errors import StratascopeError
from stratascope.report.build import build_report
from stratascope.report.headline import write_headline
from stratascope.report.inputs import read_inputs, read_table
from stratascope.report.known import known
from stratascope.report.sections.questions import LISTED, build
from stratascope.report.tables import TABLES, write_tables
from stratascope.store.questions import QuestionFolder


def table(results: Any, name: str) -> pd.DataFrame:
    return read_table(results.root / "tables" / f"{name}.csv")


def test_every_answer_has_a_row(results: Any, texts: Any) -> None:
    """Scenario by scenario and checkpoint by checkpoint, as asked; texts survive letter by letter."""
    rows = table(results, "questions")
    assert list(rows.columns) == list(TABLES["questions"].columns)
    names = results.study["checkpoints"]
    assert list(rows["checkpoint"]) == [name for name in names for _ in range(4)]
    assert list(rows["id"]) == ["1", "2", "3", "4"] * len(names)
    assert list(rows["correct"]) == [0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0]
    hostile = rows[rows["id"] == "3"].iloc[0]
    assert hostile["question"] == texts.hostile
    assert hostile["history"] == f"user: I am Nora. {texts.hostile}"
    assert hostile["answer"] == f"{texts.hostile} | Nora"
    assert hostile["generated"] == texts.hostile + texts.long
    assert json.loads(rows.iloc[0]["choice_logprobs"]) == {"3": -2.5, "4": -1.5, "5": -2.5}


def test_accuracy_by_hand(results: Any) -> None:
    """All questions and each named group: share, Wilson interval, chance, most frequent answer."""
    rows = table(results, "question_accuracy")
    last = rows[rows["checkpoint"] == "step-1000"].set_index("group")
    assert list(last.index) == ["all", "sums", "names"]
    assert list(last["n"]) == [4, 2, 1]
    assert list(last["correct"]) == [2, 2, 0]
    assert list(last["accuracy"]) == [0.5, 1.0, 0.0]
    # Chance: a third, a half, and nothing for the two answers in free words.
    assert last["chance"]["all"] == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert last["chance"]["sums"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert math.isnan(last["chance"]["names"])
    assert list(last["majority"]) == [0.25, 0.5, 1.0]
    # 2 of 4: (0.5 + z^2/8) / (1 + z^2/4) -+ z / (1 + z^2/4) * sqrt(1/16 + z^2/64), z = 1.959964.
    assert last["lower"]["all"] == pytest.approx(0.150, abs=5e-4)
    assert last["upper"]["all"] == pytest.approx(0.850, abs=5e-4)
    assert last["upper"]["sums"] == 1
    assert last["lower"]["names"] == 0


def test_metrics_have_the_accuracy(results: Any) -> None:
    """metrics.json says for each checkpoint what it got right, so that `dvc metrics diff` does."""
    metrics = json.loads((results.root / "metrics.json").read_text())
    found = {name: item["questions"]["quiz"] for name, item in metrics["checkpoints"].items()}
    accuracies = {name: item["accuracy"] for name, item in found.items()}
    assert accuracies == {"step-0": 0, "step-500": 0.25, "step-1000": 0.5}
    assert found["step-0"] == {
        "accuracy": 0,
        "lower": 0,
        "upper": pytest.approx(0.489891, abs=1e-5),
        "chance": pytest.approx(0.208333),
        "n": 4,
    }


def test_a_study_without_questions_keeps_its_bytes(results: Any, tmp_path: Path) -> None:
    """Without questions the other tables are the same; the two of questions are headers alone."""
    write_tables(results.states, tmp_path)
    for name, spec in TABLES.items():
        found = (tmp_path / f"{name}.csv").read_bytes()
        if name in ("questions", "question_accuracy"):
            assert found.decode() == ",".join(spec.columns) + "\n"
        else:
            assert found == (results.root / "tables" / f"{name}.csv").read_bytes()


# The section


def section(report: Path) -> str:
    html = report.read_text(encoding="utf-8")
    found = re.search(r'<section[^>]*id="questions".*?</section>', html, re.S)
    assert found
    return found[0]


def test_the_report_shows_what_each_checkpoint_said(report: Path, texts: Any) -> None:
    """Every question with its answer and each prediction, right or wrong, as text and not as markup."""
    html = section(report)
    assert html.count(">right<") == 3
    assert html.count(">wrong<") == 9
    assert "<script" not in html
    assert "<img" not in html
    shown = unescape(re.sub(r"<[^>]+>", " ", html))
    assert texts.hostile in shown
    assert texts.long in shown
    assert f"user: I am Nora. {texts.hostile}" in shown
    # Of three choices the right one has 1 / (1 + 2/e) of the probability.
    assert "58%" in shown


def test_a_study_without_questions_has_no_such_section(results: Any, tmp_path: Path) -> None:
    """Without questions there is neither the section nor a link to it."""
    write_tables(results.states, tmp_path / "tables")
    data = read_inputs(
        results.study, tmp_path / "tables", results.states, results.root / "runs", tmp_path / "none"
    )
    assert build(data) is None


def test_questions_alone_make_a_report(results: Any, tmp_path: Path) -> None:
    """A study without conversations has tables and a report of its questions, and no empty sections."""
    folders = sorted((results.root / "questions").iterdir())
    asked = [QuestionFolder.open(folder) for folder in folders]
    write_headline(write_tables([], tmp_path / "tables", asked), tmp_path / "metrics.json")
    rows = read_table(tmp_path / "tables" / "questions.csv")
    assert len(rows) == len(table(results, "questions"))
    out = tmp_path / "report.html"
    build_report(results.study, tmp_path / "tables", [], tmp_path, tmp_path / "metrics.json", out)
    html = out.read_text(encoding="utf-8")
    assert re.findall(r'<section[^>]*id="([a-z]+)"', html) == ["summary", "questions", "methods"]
    assert 'id="runs"' not in html
    assert 'href="#runs"' not in html
    write_tables([], tmp_path / "none")
    with pytest.raises(StratascopeError, match="no states given"):
        read_inputs(results.study, tmp_path / "none", [], tmp_path, tmp_path / "metrics.json")


def test_a_long_benchmark_is_listed_in_part(results: Any, tmp_path: Path) -> None:
    """Of thousands of questions the first are shown, and the reader is told where the others are."""
    rows = table(results, "questions")
    many = pd.concat([rows.assign(id=rows["id"] + f"-{i}") for i in range(LISTED)])
    tables = tmp_path / "tables"
    write_tables(results.states, tables)
    many.to_csv(tables / "questions.csv", index=False)
    table(results, "question_accuracy").to_csv(tables / "question_accuracy.csv", index=False)
    data = read_inputs(
        results.study, tables, results.states, results.root / "runs", tmp_path / "none"
    )
    content = build(data)
    assert content is not None
    (shown,) = content.context["scenarios"]
    assert (shown["count"], len(shown["questions"])) == (4 * LISTED, LISTED)


def test_the_summary_says_how_sure_it_is(results: Any, report: Path, tmp_path: Path) -> None:
    """The finding names the last and the first checkpoint, the better baseline, and whether it is clear."""
    data = read_inputs(
        results.study,
        results.root / "tables",
        results.states,
        results.root / "runs",
        results.root / "metrics.json",
    )
    (finding,) = known(data)
    assert finding.words == (
        "Of quiz, step-1000 answers 2 of 4 (50 %) right, step-0 0 of 4 (0 %); that is not clearly more "
        "than the 25 % that the most frequent answer would give."
    )
    assert not finding.clear
    assert "0.150 to 0.850" in finding.sure
    assert finding.words in unescape(report.read_text(encoding="utf-8"))
