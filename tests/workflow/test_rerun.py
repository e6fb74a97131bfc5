"""Only what changed runs again: seen with the real workflow on real checkpoints."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]
Hashed = Callable[..., dict[str, str]]
RUNS = "results/runs/*/*"
PRODUCTS = ("results/tables/*.csv", "results/metrics.json", "results/report.html")
NOTHING = "Nothing to be done"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def test_the_study_leaves_what_it_promises(finished: Path) -> None:
    """Every contracted file is there, and the tables begin with the contracted columns."""
    results = finished / "results"
    for name in ("report.html", "metrics.json"):
        assert (results / name).stat().st_size > 0
    pair = "state,pair,run_a,run_b,generated_a,generated_b,"
    summary = (
        "source,mean_cosine,std_cosine,median_cosine,min_cosine,most_divergent_layer,mean_MAE,"
        "std_MAE,median_MAE,max_MAE_layer,mean_overlap,std_overlap,median_overlap,min_overlap,"
        "min_overlap_layer"
    )
    for table, columns in {
        "intra_run_cosines": "run,source,layer,cosine,MAE,overlap",
        "intra_run_report": f"run,{summary}",
        "comparison_cosines": f"{pair}source,layer,cosine,MAE,overlap",
        "comparison_report": pair + summary,
        "snapshot_reference": "run,message,role,reference,position,source,layer,cosine,MAE,overlap",
    }.items():
        with (results / "tables" / f"{table}.csv").open(newline="") as stream:
            rows = list(csv.reader(stream))
        assert ",".join(rows[0]).startswith(columns)
        assert len(rows) > 1
    runs = sorted(path.name.rsplit("-", 1)[0] for path in (results / "runs").iterdir())
    assert runs == sorted(
        f"{name}@{checkpoint}"
        for name in ("steps_msg01", "steps_msg02", "steps_msg03", "talk")
        for checkpoint in ("first", "last")
    )


def test_no_run_folder_holds_anything_unfinished(finished: Path) -> None:
    """Nothing partial lies anywhere below results."""
    assert [p for p in (finished / "results").rglob("*") if p.name.startswith(".")] == []
    for folder in (finished / "results" / "runs").iterdir():
        assert sorted(p.name for p in folder.iterdir()) == [
            "activations.safetensors",
            "run.json",
            "snapshots.safetensors",
            "steps.json",
        ]


def test_a_clone_with_copied_results_has_nothing_to_do(study: Path, snakemake: Command) -> None:
    """Without Snakemake's records and with shuffled times, nothing runs."""
    assert NOTHING in said(snakemake(study, "-n"))


def test_rewriting_without_changing_does_nothing(study: Path, snakemake: Command) -> None:
    """A comment, other quotes, reordered keys and a touch are no change."""
    talk = study / "scenarios" / "talk.yaml"
    edit(talk, "name: talk\n", "# A comment.\n")
    talk.write_text(talk.read_text() + 'name: "talk"  # last\n')
    edit(
        talk,
        "{role: system, content: You are a warm friend.}",
        "{content: You are a warm friend., role: system}",
    )
    (study / "scenarios" / "steps.yaml").touch()
    (study / "models" / "last" / "config.json").touch()
    assert NOTHING in said(snakemake(study, "-n"))


def test_one_message_captures_one_scenario_and_reverting_it_nothing(
    study: Path, snakemake: Command, hashed: Hashed
) -> None:
    """Only the changed scenario is captured; the report follows; going back restores every byte."""
    runs, products = hashed(study, RUNS), hashed(study, *PRODUCTS)
    talk = study / "scenarios" / "talk.yaml"
    edit(talk, "broke my guitar", "found my guitar")
    done = snakemake(study)
    assert done.returncode == 0, said(done)
    after = hashed(study, RUNS)
    assert {name: after[name] for name in runs} == runs, "another run's folder changed"
    new = {name.split("/")[2].rsplit("-", 1)[0] for name in after if name not in runs}
    assert new == {"talk@first", "talk@last"}
    changed = hashed(study, *PRODUCTS)
    assert set(changed) == set(products)
    assert changed["results/report.html"] != products["results/report.html"]
    assert NOTHING in said(snakemake(study, "-n"))
    edit(talk, "found my guitar", "broke my guitar")
    back = snakemake(study)
    assert back.returncode == 0, said(back)
    assert "loaded" not in said(back), "a model was loaded to capture nothing"
    assert hashed(study, RUNS) == after
    assert hashed(study, *PRODUCTS) == products


def test_a_new_title_renders_and_nothing_else(
    study: Path, snakemake: Command, hashed: Hashed
) -> None:
    """The title is the report's alone: tables and captures stay untouched."""
    edit(study / "config" / "config.yaml", "A study of the tests", "Another title")
    before = {p: p.stat().st_mtime_ns for p in (study / "results").rglob("*.csv")}
    done = snakemake(study)
    assert done.returncode == 0, said(done)
    assert "Another title" in (study / "results" / "report.html").read_text()
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert "rule capture" not in said(done)


@pytest.mark.parametrize("kill", [os.killpg, os.kill], ids=["with its jobs", "alone"])
def test_killed_in_the_middle_and_resumed_equals_undisturbed(
    unstarted: Path,
    finished: Path,
    snakemake: Command,
    hashed: Hashed,
    root: Path,
    kill: Callable[[int, int], None],
) -> None:
    """kill -9 during capture, then the same command: finished runs are kept, the bytes are equal.

    Killed alone, Snakemake leaves a job behind that still captures beside the next one.
    """
    fixed = [sys.executable, "-m", "snakemake", "-s", root / "Snakefile", "--cores", "1"]
    process = subprocess.Popen(
        [*fixed, "--directory", unstarted],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    runs = unstarted / "results" / "runs"
    deadline = time.monotonic() + 120
    while not list(runs.glob("[a-z]*/run.json")):
        assert time.monotonic() < deadline, "no run was ever finished"
        assert process.poll() is None, "the workflow ended before it could be killed"
        time.sleep(0.002)
    kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in runs.glob("[a-z]*/run.json")}
    assert len(kept) < 8, "everything was done before the kill"
    done = snakemake(unstarted)
    assert done.returncode == 0, said(done)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert hashed(unstarted, *PRODUCTS) == hashed(finished, *PRODUCTS)
    tensors = ("results/runs/*/*.safetensors", "results/runs/*/steps.json")
    assert hashed(unstarted, *tensors) == hashed(finished, *tensors)
    assert not list(unstarted.rglob(".partial-*"))


def test_a_failing_scenario_names_itself_and_costs_no_other(
    study: Path, snakemake: Command, hashed: Hashed
) -> None:
    """One scenario too long for the model fails by name; a good new one beside it is captured."""
    runs = hashed(study, RUNS)
    good = (study / "scenarios" / "talk.yaml").read_text().replace("name: talk", "name: good")
    (study / "scenarios" / "good.yaml").write_text(good)
    bad = good.replace("name: good", "name: endless").replace("guitar", "guitar " * 3000)
    (study / "scenarios" / "endless.yaml").write_text(bad)
    done = snakemake(study, "--keep-going")
    assert done.returncode != 0
    assert "endless@first" in said(done)
    assert "Traceback" not in said(done)
    after = hashed(study, RUNS)
    assert {name: after[name] for name in runs} == runs
    new = {name.split("/")[2].rsplit("-", 1)[0] for name in after if name not in runs}
    assert new == {"good@first", "good@last"}
    (study / "scenarios" / "endless.yaml").unlink()
    mended = snakemake(study)
    assert mended.returncode == 0, said(mended)
    assert "loaded" not in said(mended), "what was captured beside the failure was captured again"


def test_neither_jobs_nor_cores_change_a_byte(
    unstarted: Path, finished: Path, snakemake: Command, hashed: Hashed
) -> None:
    """Two capture jobs a checkpoint, on one core, leave what one job leaves on two cores."""
    edit(unstarted / "config" / "config.yaml", "threads: 1", "threads: 1, jobs: 2")
    done = snakemake(unstarted, "--cores", "1")
    assert done.returncode == 0, said(done)
    assert len(list((unstarted / "results" / "captures").iterdir())) == 4
    same = (*PRODUCTS, "results/runs/*/*.safetensors")
    assert hashed(unstarted, *same) == hashed(finished, *same)


def test_snakemakes_own_views_work(study: Path, snakemake: Command, tmp_path: Path) -> None:
    """--lint, --rulegraph and --report work on a finished study."""
    lint = snakemake(study, "--lint")
    assert lint.returncode == 0, said(lint)
    graph = snakemake(study, "--rulegraph")
    for rule in ("capture", "states", "tables", "report"):
        assert f'label = "{rule}"' in graph.stdout
    report = snakemake(study, "--report", tmp_path / "report.zip")
    assert report.returncode == 0, said(report)
    assert (tmp_path / "report.zip").stat().st_size > 0


def test_settings_on_the_command_line_are_refused(study: Path, snakemake: Command) -> None:
    """Results follow from files; --config is refused with the reason."""
    done = snakemake(study, "-n", "--config", "threads=1")
    assert done.returncode != 0
    assert "config/config.yaml alone" in said(done)


def test_the_plan_says_what_is_done(study: Path, stratascope: Command) -> None:
    """`stratascope plan` lists each run with its digest and whether it is captured."""
    edit(study / "scenarios" / "talk.yaml", "broke my guitar", "lost my guitar")
    done = stratascope(study, "plan", "--format", "json")
    rows = json.loads(done.stdout)["rows"]
    assert {row["run"]: row["done"] for row in rows if row["scenario"] == "talk"} == {
        "talk@first": False,
        "talk@last": False,
    }
    assert sum(row["done"] for row in rows) == 6


def test_a_lost_run_folder_is_named(study: Path, snakemake: Command) -> None:
    """If a captured run was deleted by hand, the stage that needs it says so, with the remedy."""
    victim = next((study / "results" / "runs").glob("talk@first-*"))
    shutil.rmtree(victim)
    for stage in ("states", "stamps"):
        shutil.rmtree(study / "results" / stage)
    done = snakemake(study)
    assert done.returncode != 0
    assert victim.name in said(done)
    assert "delete the manifests" in said(done)
