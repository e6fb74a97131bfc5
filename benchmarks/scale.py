"""1,000 scenarios on 5 checkpoints, copies of the smallest demo step: `stratascope plan` and the dry run of
`snakemake` (plan and DAG) against the start of Python and of Snakemake on an empty file, before anything
is there and with nothing left to do; then tables and report, against copying the states and tables (a
floor that nothing reaches). Runs and states are made up: what is measured is everything but capture."""

from __future__ import annotations

import re
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import large_study
import studies
from bench import Bench
from race import Row
from stratascope.report.build import FILE_BUDGET

MOST_JOBS = 200
NOTHING = "Nothing to be done"

# One way to do the work. It returns a remark for the table, and raises AssertionError if it did not.
Side = Callable[[], str]


def measure(bench: Bench) -> list[Row]:
    """Plan and DAG, tables and report, then the no-op."""
    sizes, study, empty = bench.sizes, bench.folder / "large", bench.folder / "large-empty"
    large_study.write_study(study, sizes)
    empty.mkdir()
    (empty / "Snakefile").touch()
    what = f"of {sizes.many_scenarios} scenarios on {sizes.many_checkpoints} checkpoints"
    runs = sizes.many_scenarios * sizes.many_checkpoints
    bare = ("empty Snakefile", lambda: _bare(empty))
    python = ("python -c pass", lambda: studies.command("-c", "pass").stdout)
    plan, dag = (
        ("stratascope plan", lambda: _plan(study, runs)),
        ("snakemake -n", lambda: _dag(study)),
    )
    make, copy = ("snakemake", lambda: _make(study)), ("copy", lambda: _copy(study))
    rows = [
        _row(f"plan {what}", plan, python, sizes.rounds, "with the DAG at most 5 s"),
        _row(f"DAG {what}", dag, bare, sizes.rounds, "with the plan at most 5 s"),
    ]
    large_study.write_captured(study, sizes)
    rows.append(_row(f"tables and report {what}", make, copy, 1))
    noop = ("snakemake", lambda: _noop(study))
    return [*rows, _row(f"no-op {what}", noop, bare, sizes.rounds, "at most 10 s")]


def _row(
    what: str, ours: tuple[str, Side], other: tuple[str, Side], rounds: int, target: str = ""
) -> Row:
    """Both sides in turn; what the first says is the remark. No round is for warming up alone."""
    seconds: dict[str, list[float]] = {ours[0]: [], other[0]: []}
    remarks = []
    for _ in range(rounds):
        for name, side in (ours, other):
            start = time.perf_counter()
            remarks.append(side())
            seconds[name].append(time.perf_counter() - start)
    first, second = seconds.values()
    more = statistics.median(first) - statistics.median(second)
    note = f"{remarks[0]}, {more:.2f} s beyond it".removeprefix(", ")
    names = (ours[0], other[0])
    times = (tuple(first), tuple(second))
    return Row(what, *names, *times, reads="cost", target=target, note=note)


def _plan(study: Path, runs: int) -> str:
    assert len(studies.plan(study)) == runs, "not every run is planned"
    return f"{runs} runs"


def _dag(study: Path) -> str:
    found = re.search(
        r"^total\s+(\d+)$",
        studies.snakemake(study, studies.CLONE / "Snakefile", "-n"),
        re.MULTILINE,
    )
    assert found is not None, "a dry run without a count of jobs"
    assert int(found[1]) < MOST_JOBS, f"{found[1]} jobs"
    return f"{found[1]} jobs"


def _bare(empty: Path) -> str:
    assert NOTHING in studies.snakemake(empty, empty / "Snakefile"), "an empty file has jobs"
    return ""


def _make(study: Path) -> str:
    studies.snakemake(study)
    size = (study / "results" / "report.html").stat().st_size
    assert size <= FILE_BUDGET, f"the report has {size} bytes"
    tables = sum(path.stat().st_size for path in (study / "results" / "tables").iterdir())
    return f"report {size / 1e6:.1f} MB, tables {tables / 1e6:.0f} MB"


def _copy(study: Path) -> str:
    for name in ("states", "tables"):
        shutil.copytree(study / "results" / name, study.with_name("large-copy") / name)
    shutil.rmtree(study.with_name("large-copy"))
    return ""


def _noop(study: Path) -> str:
    assert NOTHING in studies.snakemake(study), "there was something to do"
    return ""
