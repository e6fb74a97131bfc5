"""Measure speed against what one would do instead, in one run, as ratios.

Ways to call it:
    python benchmarks/run.py                  all of them; writes benchmarks/results.md
    python benchmarks/run.py NAME...          some of them; prints the table
    python benchmarks/run.py --quick NAME...  at tiny sizes: does it work, do the sides agree?
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

# Before the libraries that read them are imported.
os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}

import accelerator
import all_pairs
import attention_weights
import capture_run
import dvc_many_runs
import extraction
import neurons
import noop
import one_more_scenario
import packed_snapshots
import probes
import scale
from bench import Bench
from race import Row, SkippedError
from sizes import FULL, QUICK, Sizes
from table import Result, render

RESULTS = Path(__file__).parent / "results.md"

# To add a benchmark: a file whose `measure` returns rows and whose docstring says what they mean.
BENCHMARKS: dict[str, Callable[[Bench], list[Row]]] = {
    "packed_snapshots": packed_snapshots.measure,
    "capture_run": capture_run.measure,
    "attention_weights": attention_weights.measure,
    "extraction": extraction.measure,
    "neurons": neurons.measure,
    "accelerator": accelerator.measure,
    "one_more_scenario": one_more_scenario.measure,
    "all_pairs": all_pairs.measure,
    "probes": probes.measure,
    "noop": noop.measure,
    "scale": scale.measure,
    "dvc_many_runs": dvc_many_runs.measure,
}


def run(names: Sequence[str], sizes: Sizes) -> list[Result]:
    """The results of the named benchmarks, in order."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(sizes, Path(folder))
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            measure = BENCHMARKS[name]
            meaning = sys.modules[measure.__module__].__doc__ or ""
            try:
                results.append(Result(name, meaning, measure(bench)))
            except SkippedError as reason:
                results.append(Result(name, meaning, [], str(reason)))
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line names; all of it, at full size, goes into results.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; writes no file")
    parsed = parser.parse_args(arguments)
    text = render(run(parsed.names or list(BENCHMARKS), QUICK if parsed.quick else FULL))
    print(text)
    if not parsed.names and not parsed.quick:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
