"""Killed at random moments: the next command ends in the same bytes, and DVC's stores stay true.

STRATASCOPE_KILLS says how often (50 takes a quarter of an hour), STRATASCOPE_KILL_SEED with which seed.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Repository = Any
KILLS = int(os.environ.get("STRATASCOPE_KILLS", "1"))
SEED = os.environ.get("STRATASCOPE_KILL_SEED", "0")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
COMMAND = "dvc repro && dvc push"
SAME = ("results/tables/*", "results/plots/*", "results/metrics.json", "results/report.html",
        "results/runs/*/*.safetensors", "results/runs/*/steps.json", "results/states/*.safetensors",
        "results/references/*/*.safetensors")  # fmt: skip


def test_killed_at_random_moments(history: Path, work: Repository, tmp_path: Path) -> None:
    """Whichever moment and signal: one command later everything is as if nothing had happened."""
    unstarted = tmp_path / "unstarted"
    work.git("clone", "--quiet", history / "work", unstarted)
    start = type(work)(unstarted)
    start.git("checkout", "--quiet", "--detach", "unstarted")
    (unstarted / "scenarios" / "calm.yaml").unlink()
    (unstarted / "config/config.yaml").write_text(one_checkpoint(unstarted))
    whole = fresh(start, tmp_path / "undisturbed")
    began = time.monotonic()
    whole.run("bash", "-c", COMMAND)
    lasts = time.monotonic() - began
    expected = whole.bytes_of(*SAME)
    assert expected
    for number in range(KILLS):
        chosen = random.Random(f"{SEED}-{number}")
        sent, after = chosen.choice(SIGNALS), chosen.uniform(0, lasts)
        story = f"kill {number} of seed {SEED}: {sent.name} after {after:.2f} of {lasts:.1f} s"
        # Never the same path twice: DVC remembers by path what it pushed, and would trust that memory
        # about a remote that has been deleted since.
        study = fresh(start, tmp_path / f"disturbed-{number}")
        ended = interrupt(study, sent, after)
        stage = progress(study.path)
        study.run("bash", "-c", COMMAND)
        assert study.bytes_of(*SAME) == expected, story
        assert "up to date" in study.dvc("status"), story
        assert "in sync" in study.dvc("status", "--cloud"), story
        assert "none is damaged" in study.stratascope("verify"), story
        assert not list(study.path.glob("results/**/.partial-*")), story
        assert wrong_objects(study.path / ".dvc" / "cache") == [], story
        assert wrong_objects(study.path / "storage") == [], story
        shutil.rmtree(study.path)
        print(f"{story}, at: {stage}{' (had ended)' if ended else ''}: as undisturbed")


def one_checkpoint(folder: Path) -> str:
    """The study's config without its second checkpoint: half the time, the same stages."""
    lines = (folder / "config/config.yaml").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("  last:"))


def fresh(start: Repository, folder: Path) -> Repository:
    """A copy without results, with a cache and a remote of its own."""
    shutil.copytree(start.path, folder)
    repository = type(start)(folder)
    repository.dvc("remote", "modify", "--local", "storage", "url", folder / "storage")
    return repository


def interrupt(study: Repository, sent: signal.Signals, after: float) -> bool:
    """Start the command, send the signal to all its processes; whether it had ended before."""
    # Nobody reads what it says; a pipe that is full would stop it.
    process = study.start("bash", "-c", f"( {COMMAND} ) > interrupted.log 2>&1")
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, sent)
    else:
        return True
    process.wait(60)
    deadline = time.monotonic() + 60
    while alive(process.pid):
        assert time.monotonic() < deadline, "a process outlived its signal by a minute"
        time.sleep(0.05)
    return False


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def progress(study: Path) -> str:
    """How far the command came, for the record."""
    stages = {
        "pushed": "storage/files/md5/*",
        "recorded": "dvc.lock",
        "cached": ".dvc/cache/files/md5/*",
        "report": "results/report.html",
        "tables": "results/tables/*.csv",
        "states": "results/states/*.json",
        "captured": "results/captures/*.json",
        "a run": "results/runs/[a-z]*",
        "capturing": "results/r*/.partial-*",
    }
    return next((stage for stage, found in stages.items() if list(study.glob(found))), "start")


def wrong_objects(store: Path) -> list[str]:
    """Objects whose content does not hash to their name."""
    objects = [path for path in (store / "files" / "md5").glob("??/*") if path.is_file()]
    return [
        str(path)
        for path in objects
        if hashlib.md5(path.read_bytes()).hexdigest() != path.parent.name + path.stem
    ]
