"""The lens and the residual stream over the runs of a checkpoint, into one index each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stratascope.analyses.lens import Asked, lens_rows
from stratascope.analyses.places import rows_in_steps
from stratascope.analyses.readout import End, Text
from stratascope.analyses.residual import choose, residual_rows
from stratascope.store.commit import write_json
from stratascope.store.traces import Trace, open_trace
from stratascope.study.looks import LookJob
from stratascope.study.microscope import Lens, OfTokens, Residual

# Rows of one trace, by a job's settings.
Look = Callable[[Trace, End, Any, Text], Iterator[dict[str, Any]]]


def look(job: LookJob, runs: Path, end: End, text: Text, target: Path) -> None:
    """Write the rows of a job's runs, run by run, to the index ``target``.

    ``runs`` is the folder that holds the runs, ``end`` the end of their model.

    Raises:
        StratascopeError: a run without a layer or site that the job reads.
    """
    rows = []
    for run in job.runs:
        trace = open_trace(runs / run.folder)
        end.check(trace)
        found = LOOKS[job.part](trace, end, job.spec, text)
        rows += [{"run": run.label, "checkpoint": job.checkpoint.name, **row} for row in found]
    write_json(target, {"checkpoint": job.checkpoint.name, "digest": job.digest, "rows": rows})


def _lens(trace: Trace, end: End, spec: Lens, text: Text) -> Iterator[dict[str, Any]]:
    for site in spec.sites:
        layers = trace.chosen_layers(spec.layers, site)
        yield from lens_rows(trace, end, Asked(_rows(trace, spec), layers, site, spec.top_k), text)


def _residual(trace: Trace, end: End, spec: Residual, text: Text) -> Iterator[dict[str, Any]]:
    chosen = choose(trace, end, _rows(trace, spec))
    yield from residual_rows(
        trace, end, chosen, text, trace.chosen_layers(spec.layers, "hidden_out")
    )


LOOKS: dict[str, Look] = {"lens": _lens, "residual": _residual}


def _rows(trace: Trace, spec: OfTokens) -> list[int]:
    """Runs may end early: a step that one has not is left out there, if it has any of them."""
    there = None if spec.steps == "all" else [s for s in spec.steps if s < len(trace.steps)]
    wanted = list(spec.steps) if there == [] and spec.steps != "all" else there
    return rows_in_steps(trace, wanted, [-1] if spec.positions == "last" else None)
