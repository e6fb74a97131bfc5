"""The embedded study with nothing left to do: `snakemake --cores 2` against Snakemake's own start (on
an empty Snakefile), and `stratascope plan` against the start of Python."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import studies
from bench import Bench
from race import Row, race

NOTHING = "Nothing to be done"


def measure(bench: Bench) -> list[Row]:
    """Both commands against what they cannot be faster than."""
    return [_snakemake(bench), _plan(bench)]


def _snakemake(bench: Bench) -> Row:
    study = bench.study
    empty = bench.folder / "empty"
    empty.mkdir(exist_ok=True)
    (empty / "Snakefile").touch()

    def agree(ours: str, bare: str) -> str:
        assert NOTHING in ours, "there was something to do"
        assert NOTHING in bare, "Snakemake found something to do in an empty file"
        return ""

    sides = {
        "snakemake": lambda _: studies.snakemake(study),
        "empty Snakefile": lambda _: studies.snakemake(empty, empty / "Snakefile"),
    }
    done = race(sides, agree, bench.sizes.rounds)
    ours, bare = (statistics.median(seconds) for seconds in done.seconds.values())
    what = f"no-op of a study of {len(studies.plan(study))} runs"
    note = f"{ours - bare:.2f} s beyond Snakemake's own start"
    return done.row(what, *sides, reads="cost", target="at most 2 s beyond it", note=note)


def _plan(bench: Bench) -> Row:
    study = bench.study

    def agree(rows: list[dict[str, Any]], _: object) -> str:
        assert rows, "an empty plan"
        assert all(row["done"] for row in rows), "runs that are not captured"
        return f"{len(rows)} runs listed"

    def start(_: Path) -> object:
        return studies.command("-c", "pass")

    sides = {"stratascope plan": lambda _: studies.plan(study), "python -c pass": start}
    done = race(sides, agree, bench.sizes.rounds)
    return done.row("plan of a study", *sides, reads="cost")
