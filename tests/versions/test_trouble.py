"""Full disks, read-only results, two processes at once: a clear error, and nothing lost."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Repository = Any
RUNS = "results/runs/*/*"


def test_a_disk_that_is_too_small(work: Repository, small_disk: Callable[[str], None]) -> None:
    """What will not fit is not begun: the error says how much is needed; nothing else changes."""
    small_disk("size=40m")
    before = work.bytes_of("results/**/*")
    work.edit("scenarios/talk.yaml", "my guitar", "his guitar")
    said = work.snakemake(fails=True)
    assert "not enough disk" in said
    assert "Traceback" not in said
    assert work.bytes_of("results/**/*") == before


def test_a_disk_that_fills_up(work: Repository, small_disk: Callable[[str], None]) -> None:
    """It fills up half-way: the error says so, every run is kept; with room, it ends as it should."""
    expected = work.bytes_of("results/**/*")
    small_disk("size=100m")
    results = work.path / "results"
    for folder in ("states", "stamps"):
        shutil.rmtree(results / folder)
    ballast = results / "ballast"
    with ballast.open("wb") as stream:
        stream.write(bytes(shutil.disk_usage(results).free - 8192))
    said = work.snakemake(fails=True)
    assert "the disk is full" in said
    assert "Traceback" not in said
    runs = {name: content for name, content in expected.items() if name.startswith("results/runs")}
    assert work.bytes_of(RUNS) == runs
    ballast.unlink()
    work.snakemake()
    after = work.bytes_of("results/**/*")
    # The earlier version's states are needed by nobody, so they are not made again.
    assert {Path(name).parts[1] for name in set(expected) - set(after)} == {"states"}
    assert {name: expected[name] for name in after} == after
    assert not list(results.rglob(".partial-*"))


def test_a_disk_that_fills_up_in_the_middle_of_a_run(
    work: Repository, small_disk: Callable[[str], None]
) -> None:
    """Somebody else fills the disk while a run is written: that run is not there, all others are."""
    small_disk("size=100m")
    results = work.path / "results"
    before = work.bytes_of(RUNS)
    work.edit("scenarios/talk.yaml", "my guitar", "his guitar")
    process = work.start("snakemake", "--cores", "2")
    deadline = time.monotonic() + 90
    while not list(results.glob("runs/.partial-*")):
        assert time.monotonic() < deadline
        assert process.poll() is None, "ended before the disk could be filled"
        time.sleep(0.001)
    ballast = results / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    said = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "the disk is full" in said or "not enough disk" in said
    assert "Traceback" not in said
    after = work.bytes_of(RUNS)
    assert {name: after[name] for name in before} == before
    ballast.unlink()
    work.snakemake()
    assert "none is damaged" in work.stratascope("verify")


def test_read_only_results(work: Repository, small_disk: Callable[[str], None]) -> None:
    """Results that cannot be written: Snakemake names the files, and nothing is lost."""
    small_disk("size=100m")
    before = work.bytes_of("results/**/*")
    work.edit("scenarios/talk.yaml", "my guitar", "his guitar")
    subprocess.run(["mount", "-o", "remount,ro", str(work.path / "results")], check=True)
    said = work.snakemake(fails=True)
    assert "write-protected" in said.lower()
    assert re.search(r"affected files:\s+results/", said)
    assert "Traceback" not in said
    assert work.bytes_of("results/**/*") == before


def test_two_at_once(work: Repository) -> None:
    """The second snakemake says that the first is at work; the first ends well; results are whole."""
    work.edit("scenarios/talk.yaml", "my guitar", "his guitar")
    first = work.start("snakemake", "--cores", "2")
    locks = work.path / ".snakemake" / "locks"
    deadline = time.monotonic() + 60
    while not list(locks.glob("*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = work.snakemake(fails=True)
    assert "locked" in second
    assert "is at work" in work.stratascope("prune", "--yes", fails=True)
    said = first.communicate(timeout=120)[0]
    assert first.returncode == 0, said
    assert "none is damaged" in work.stratascope("verify")
    assert "Nothing to be done" in work.snakemake("-n")
