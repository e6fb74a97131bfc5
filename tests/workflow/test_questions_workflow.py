"""Benchmark questions in a real study: asked once, only what changed asked again, and known to every tool."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]
Hashed = Callable[..., dict[str, str]]
QUIZ = """\
name: quiz
questions:
  - group: name
    history:
      - {role: user, content: Hello! My name is Nora. I won first prize.}
      - {role: assistant, content: Hello Nora! How wonderful that you won first prize!}
    question: I am so glad. Do you remember my name?
    answer: Of course, your name is Nora.
  - group: feeling
    question: My dog ran away. I cried all night.
    choices: [I am so sorry that your dog ran away., How wonderful that your dog ran away!]
    answer: I am so sorry that your dog ran away.
generation: {max_new_tokens: 20}
"""
ASKED = "results/questions/*/*"
RUNS = "results/runs/*/*"
NOTHING = "Nothing to be done"


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def table(study: Path, name: str) -> list[dict[str, str]]:
    with (study / "results" / "tables" / f"{name}.csv").open(
        newline="", encoding="utf-8"
    ) as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def asked(
    finished: Path, made_once: Callable[..., Path], snakemake: Command, hashed: Hashed
) -> tuple[Path, dict[str, str]]:
    """The finished study, copied, with a quiz added and run; and what it had before."""

    def make(folder: Path) -> None:
        shutil.copytree(finished, folder, ignore=shutil.ignore_patterns(".snakemake", "logs"))
        (folder / "scenarios" / "quiz.yaml").write_text(QUIZ)
        done = snakemake(folder)
        assert done.returncode == 0, said(done)

    return made_once("asked", make), hashed(finished, RUNS, "results/tables/*.csv")


@pytest.fixture
def study(asked: tuple[Path, dict[str, str]], tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    shutil.copytree(asked[0], folder, ignore=shutil.ignore_patterns(".snakemake", "logs"))
    return folder


def test_questions_leave_everything_else_as_it_was(
    asked: tuple[Path, dict[str, str]], hashed: Hashed
) -> None:
    """No run is captured again for a quiz, and no table of conversations changes by a byte."""
    folder, before = asked
    changed = {f"results/tables/{name}.csv" for name in ("questions", "question_accuracy")}
    after = hashed(folder, RUNS, "results/tables/*.csv")
    assert {k: v for k, v in after.items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }


def test_the_trained_model_knows_what_the_first_does_not(
    asked: tuple[Path, dict[str, str]],
) -> None:
    """Tables, metrics and report agree on who was right."""
    folder, _ = asked
    rows = {(row["checkpoint"], row["id"]): row for row in table(folder, "questions")}
    assert len(rows) == 4
    assert rows["last", "1"]["generated"] == "Of course, your name is Nora."
    assert rows["last", "1"]["correct"] == "1"
    assert rows["first", "1"]["correct"] == "0"
    for row in table(folder, "question_accuracy"):
        mine = [r for (name, _), r in rows.items() if name == row["checkpoint"]]
        mine = [r for r in mine if row["group"] in ("all", r["group"])]
        assert (int(row["n"]), int(row["correct"])) == (
            len(mine),
            sum(int(r["correct"]) for r in mine),
        )
    metrics = json.loads((folder / "results" / "metrics.json").read_text())
    assert metrics["checkpoints"]["last"]["questions"]["quiz"]["n"] == 2
    assert "Benchmark questions" in (folder / "results" / "report.html").read_text()


def test_one_changed_question_asks_one_scenario_again(
    study: Path, snakemake: Command, stratascope: Command, hashed: Hashed
) -> None:
    """A comment asks nothing; a changed answer asks its scenario and no other; going back, nothing."""
    quiz = study / "scenarios" / "quiz.yaml"
    quiz.write_text("# A comment.\n" + QUIZ)
    assert NOTHING in said(snakemake(study, "-n"))
    runs, before = hashed(study, RUNS), hashed(study, ASKED)
    quiz.write_text(QUIZ.replace("answer: I am so sorry", "answer: How wonderful", 1).replace(
        "How wonderful that your dog ran away.", "How wonderful that your dog ran away!"
    ))  # fmt: skip
    done = snakemake(study)
    assert done.returncode == 0, said(done)
    assert hashed(study, RUNS) == runs
    after = hashed(study, ASKED)
    assert {name: after[name] for name in before} == before
    new = {name.split("/")[2].rsplit("-", 1)[0] for name in after if name not in before}
    assert new == {"quiz@first", "quiz@last"}
    assert {row["answer"] for row in table(study, "questions") if row["id"] == "2"} == {
        "How wonderful that your dog ran away!"
    }
    unused = stratascope(study, "prune", "--format", "json")
    paths = {row["path"] for row in json.loads(unused.stdout)["rows"] if row["what"] == "unused"}
    assert {p for p in paths if "/questions/" in p} == {str(Path(name).parent) for name in before}
    quiz.write_text(QUIZ)
    back = snakemake(study)
    assert back.returncode == 0, said(back)
    assert "loaded" not in said(back), "a model was loaded to ask nothing"
    assert hashed(study, ASKED) == after


def test_a_flipped_bit_is_found(study: Path, stratascope: Command) -> None:
    """verify knows every file of answered questions, from the manifest down to the tensors."""
    whole = stratascope(study, "verify")
    assert whole.returncode == 0, said(whole)
    folders = sorted((study / "results" / "questions").iterdir())
    for path in (folders[0] / "index.parquet", folders[1] / "questions.json"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    (folders[1] / "features-00000.safetensors").unlink()
    found = stratascope(study, "verify", "--format", "json")
    assert found.returncode == 1
    rows = json.loads(found.stdout)["rows"]
    bad = {row["file"] for row in rows if row["state"] in ("damaged", "missing")}
    assert {f"results/questions/{folders[0].name}/index.parquet",
            f"results/questions/{folders[1].name}/questions.json"} <= bad  # fmt: skip


def test_without_a_study(study: Path, stratascope: Command, tmp_path: Path) -> None:
    """`stratascope run` asks the questions of a file; `stratascope plan` lists those of a study."""
    planned = json.loads(stratascope(study, "plan", "--format", "json").stdout)["rows"]
    asked = {row["run"]: row for row in planned if row["questions"]}
    assert {name: (row["questions"], row["done"]) for name, row in asked.items()} == {
        "quiz@first": (2, True),
        "quiz@last": (2, True),
    }
    (tmp_path / "alone").mkdir()
    model = ["--model", str(study / "models" / "last"), "--dtype", "float32", "--threads", "1"]
    command = ["run", study / "scenarios" / "quiz.yaml", *model, "--format", "json"]
    (row,) = json.loads(stratascope(tmp_path / "alone", *command).stdout)["rows"]
    assert row["run"] == "quiz@last"
    assert Path(row["folder"]).parent == Path("results/questions")
    assert row["generated"].endswith(" of 2 right")
    again = stratascope(tmp_path / "alone", *command)
    assert json.loads(again.stdout)["rows"] == [row]
    assert "loaded" not in again.stderr


def test_diff_says_what_was_changed(
    asked: tuple[Path, dict[str, str]], study: Path, stratascope: Command
) -> None:
    """Two folders whose questions differ: the changed question is the reason, by its key."""
    path = next((study / "results" / "questions").glob("quiz@last-*")) / "questions.json"
    info = json.loads(path.read_text())
    info["scenario"]["questions"][1]["answer"] = ["other"]
    info["digest"] = "0" * 12
    path.write_text(json.dumps(info))
    path.parent.rename(path.parent.with_name("quiz@last-" + "0" * 12))
    (study / "scenarios" / "quiz.yaml").unlink()
    done = stratascope(study, "diff", asked[0], study, "--format", "json")
    assert done.returncode == 0, said(done)
    rows = json.loads(done.stdout)["rows"]
    assert [r["key"] for r in rows if r["kind"] == "changed"] == ["quiz@last"]
    (reason,) = (r for r in rows if r["kind"] == "reason")
    assert reason["measure"].startswith("questions[1].answer")


def test_a_study_of_questions_alone(
    unstarted: Path, snakemake: Command, stratascope: Command
) -> None:
    """Without any conversation the same commands ask, count, report, verify, and then do nothing."""
    for path in (unstarted / "scenarios").iterdir():
        path.unlink()
    (unstarted / "scenarios" / "quiz.yaml").write_text(QUIZ)
    done = snakemake(unstarted)
    assert done.returncode == 0, said(done)
    assert len(table(unstarted, "questions")) == 4
    html = (unstarted / "results" / "report.html").read_text()
    assert "Benchmark questions" in html
    assert NOTHING in said(snakemake(unstarted, "-n"))
    verified = stratascope(unstarted, "verify")
    assert verified.returncode == 0, said(verified)


def test_a_probe_asks_whether_it_knew(
    root: Path, demo: list[Path], stratascope: Command, tmp_path: Path
) -> None:
    """The embedded questions, answered: `stratascope probe` reads right and wrong off the state before."""
    model = ["--model", str(demo[-2]), "--dtype", "float32", "--threads", "1", "--format", "json"]
    done = stratascope(tmp_path, "run", root / "scenarios" / "does_it_know.yaml", *model)
    assert done.returncode == 0, said(done)
    (row,) = json.loads(done.stdout)["rows"]
    probed = stratascope(
        tmp_path, "probe", tmp_path / row["folder"], "--label", "correct", "--format", "json"
    )
    assert probed.returncode == 0, said(probed)
    rows = json.loads(probed.stdout)["rows"]
    assert {r["n"] for r in rows} == {32}
    assert {"accuracy", "auroc"} <= {r["measure"] for r in rows}
