"""git and DVC together: what was recorded comes back, and only what changed runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PRODUCTS = ("results/tables/*.csv", "results/metrics.json", "results/report.html")
Repository = Any


def labels(folders: set[str]) -> set[str]:
    return {name.rsplit("-", 1)[0] for name in folders}


def test_a_clone_gets_everything_back(clone: Repository, history: Path) -> None:
    """clone + restore: every byte is there, nothing needs to run, `snakemake -n` and DVC are quiet."""
    assert "nothing needs to run" in clone.stratascope("restore")
    clone.is_quiet()
    recorded = type(clone)(history / "work").bytes_of("results/**/*")
    assert clone.bytes_of("results/**/*") == recorded
    assert "none is damaged" in clone.stratascope("verify")
    assert clone.git("status", "--short") == ""


def test_restore_says_what_was_never_recorded(clone: Repository) -> None:
    """A scenario that changed after the last `dvc repro` is named, and the exit code is not 0."""
    clone.edit("scenarios/calm.yaml", "rain", "snow")
    said = clone.stratascope("restore", fails=True)
    assert "missing  results/runs/calm@first-" in said
    assert "missing  results/runs/talk" not in said
    assert "snakemake makes them" in said


def test_restore_without_a_record_or_a_remote(clone: Repository) -> None:
    """Where nothing was recorded, or nobody can be asked, one line says so."""
    clone.dvc("remote", "modify", "storage", "url", clone.path / "nowhere")
    assert "whoever recorded it must `dvc push`" in clone.stratascope("restore", fails=True)
    (clone.path / "dvc.lock").unlink()
    assert "`dvc repro` makes and records them" in clone.stratascope("restore", fails=True)


def test_one_changed_scenario_is_captured_alone(history: Path, work: Repository) -> None:
    """`dvc repro` after one edit captures that scenario on each checkpoint; the old runs stay."""
    said = (history / "second.log").read_text()
    assert "[1/1] talk@first: done" in said
    assert "calm@" not in said
    work.git("checkout", "--quiet", "a")
    work.dvc("checkout")
    before = work.runs()
    work.git("checkout", "--quiet", "b")
    work.dvc("checkout")
    assert before < work.runs()
    assert labels(work.runs() - before) == {"talk@first", "talk@last"}


def test_an_older_commit_is_whole_again(work: Repository) -> None:
    """git checkout + dvc checkout of the older commit: quiet, and the report is that commit's."""
    newer = work.bytes_of(*PRODUCTS)
    work.git("checkout", "--quiet", "a")
    work.dvc("checkout")
    work.is_quiet()
    older = work.bytes_of(*PRODUCTS)
    assert older["results/report.html"] != newer["results/report.html"]
    # Made again from the same runs, it has the same bytes.
    (work.path / "results" / "report.html").unlink()
    for stamp in (work.path / "results" / "stamps").iterdir():
        stamp.unlink()
    work.snakemake()
    assert work.bytes_of(*PRODUCTS) == older


def test_a_new_checkpoint_adds_its_runs_alone(work: Repository, demo: list[Path]) -> None:
    """Another checkpoint: `dvc repro` adds its runs; not one byte of the others changes."""
    before = work.bytes_of("results/runs/*/*")
    work.run("cp", "-r", demo[len(demo) // 2], work.path / "models" / "middle")
    work.edit("config/config.yaml", "  last: ", "  middle: {id: models/middle}\n  last: ")
    work.dvc("repro")
    after = work.bytes_of("results/runs/*/*")
    assert {name: after[name] for name in before} == before
    new = {Path(name).parent.name for name in after if name not in before}
    assert labels(new) == {"talk@middle", "calm@middle"}


def test_a_new_title_recomputes_nothing(work: Repository) -> None:
    """Only the report's title: no capture, no metric is computed again."""
    kept = [*work.path.glob("results/tables/*"), *work.path.glob("results/runs/*/*")]
    times = {path: path.stat().st_mtime_ns for path in kept}
    metrics = work.bytes_of("results/metrics.json")
    work.edit("config/config.yaml", "A study with a history", "Another title")
    said = work.dvc("repro")
    assert "Rendering results/report.html" in said
    assert "Capturing" not in said
    assert "Comparing" not in said
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert work.bytes_of("results/metrics.json") == metrics
    assert "Another title" in (work.path / "results" / "report.html").read_text()


def test_two_commits_are_compared_by_dvc(work: Repository, tmp_path: Path) -> None:
    """metrics diff, plots diff and params diff between two commits show what a person can read."""
    changes = json.loads(work.dvc("metrics", "diff", "a", "b", "--json"))["results/metrics.json"]
    assert changes
    assert all({"old", "new"} <= set(change) for change in changes.values())
    said = work.dvc("plots", "diff", "a", "b", "--out", tmp_path / "plots", "--json")
    plots = json.loads(said)["data"]
    assert plots.pop("Probes over training") == []  # this study has no datasets
    shown = {name: plot[0] for name, plot in plots.items()}
    assert set(shown) == {
        "States through the layers",
        "References message by message",
        "Drift over training",
    }
    for plot in shown.values():
        content = (
            plot["content"] if isinstance(plot["content"], str) else json.dumps(plot["content"])
        )
        assert set(plot["revisions"]) == {"a", "b"}
        assert "<DVC_METRIC_TITLE>" not in content
    work.dvc("plots", "diff", "a", "b", "--out", tmp_path / "plots")
    page = (tmp_path / "plots" / "index.html").read_text()
    assert page.count("vega-lite/v5") >= 3
    assert '"panel"' in page


def test_an_experiment_changes_one_setting(work: Repository) -> None:
    """`dvc exp run -S` over layers: captured with them, shown beside the commit, undone by git."""
    work.dvc("exp", "run", "-n", "two", "-S", "config/config.yaml:+defaults.capture.layers=[0,2]")
    indices = [json.loads(p.read_text()) for p in work.path.glob("results/states/first-*.json")]
    assert [0, 2] in [index["layers"] for index in indices]
    shown = work.dvc("exp", "show", "--csv", "--only-changed")
    assert "two" in shown
    assert "layers" in shown.splitlines()[0]
    work.git("checkout", "--quiet", "--force", "b")
    work.dvc("checkout", "--force")
    work.is_quiet()


def test_the_lock_is_absent_or_true() -> None:
    """This repository's dvc.lock, if there is one, records what its files say now."""
    if not (ROOT / "dvc.lock").exists():
        return
    words = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    here = json.loads(done.stdout)
    changed = [
        change for changes in here.values() for change in changes if "changed deps" in change
    ]
    assert not changed, "dvc.lock is stale: run `dvc repro`, or remove it"
