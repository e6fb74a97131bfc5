"""Stored runs under the microscope: heads, layers against each other, neurons, pictures.

Each part imports its measures when it runs: a job that looks at one run takes less than they do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stratascope.analyses.attention import head_patterns, head_rows
from stratascope.analyses.trajectories import follow
from stratascope.store.commit import new_folder, write_json
from stratascope.store.hashes import recorded
from stratascope.store.traces import WEIGHTS, Trace, open_trace
from stratascope.study.looks import LookJob
from stratascope.study.microscope import Attention, CrossLayer, Heatmaps, Trajectory, neuron_of

if TYPE_CHECKING:
    from stratascope.analyses.heatmaps import Drawing

# So many pictures of a checkpoint are also kept small, as numbers: the report draws them.
MOST_GRIDS = 16


def look_at_runs(job: LookJob, runs: Path, target: Path) -> None:
    """Write the rows of a job's runs, run by run, to the index ``target``.

    ``runs`` is the folder that holds the runs. Attention leaves ``patterns``, too, of the first run.

    Raises:
        StratascopeError: a run without a layer, site or neuron that the job names.
    """
    content: dict[str, Any] = {"checkpoint": job.checkpoint.name, "digest": job.digest}
    rows = []
    for run in job.runs:
        trace = open_trace(runs / run.folder)
        found = ROWS[job.part](trace, job.spec)
        rows += [{"run": run.label, "checkpoint": job.checkpoint.name, **row} for row in found]
    if isinstance(job.spec, Attention):
        first = job.runs[0]
        patterns = head_patterns(open_trace(runs / first.folder), job.spec.layers)
        content["patterns"] = {"run": first.label, **patterns}
    write_json(target, content | {"rows": rows})


def draw_runs(job: LookJob, runs: Path, target: Path) -> None:
    """Draw a job's runs into the folder beside the index ``target``; the index records every picture.

    Raises:
        StratascopeError: a run without a layer or source that the job names, or no such colour map.
    """
    from stratascope.analyses.heatmaps import draw_heatmaps, small_pictures

    assert isinstance(job.spec, Heatmaps)
    final = target.with_suffix("")
    rows: list[dict[str, Any]] = []
    grids: list[dict[str, Any]] = []
    with new_folder(final) as folder:
        for run in job.runs:
            trace = open_trace(runs / run.folder)
            for source in job.spec.sources:
                drawing = _drawing(trace, job.spec, source)
                for row in draw_heatmaps(trace, folder / run.label, drawing):
                    file = Path(row["file"]).relative_to(folder).as_posix()
                    rows.append({"run": run.label, **row, "file": file})
                room = max(0, MOST_GRIDS - len(grids))
                small = small_pictures(trace, drawing, room)
                grids += [{"run": run.label, **grid} for grid in small]
    files = recorded(final.rglob("*.png"), final)
    content = {"checkpoint": job.checkpoint.name, "digest": job.digest, "files": files}
    write_json(target, content | {"rows": rows, "grids": grids})


def _drawing(trace: Trace, spec: Heatmaps, source: str) -> Drawing:
    """What is drawn of one run; it may have ended before a step that others have."""
    from stratascope.analyses.heatmaps import Drawing

    steps = [step for step in range(len(trace.steps)) if spec.steps == "all" or step in spec.steps]
    return Drawing(
        source,
        spec.layers,
        steps,
        spec.per_head and source == WEIGHTS,
        spec.normalize,
        spec.reduce,
        spec.cmap,
    )


def _attention(trace: Trace, spec: Attention) -> list[dict[str, Any]]:
    return head_rows(trace, spec.layers)


def _cross_layer(trace: Trace, spec: CrossLayer) -> list[dict[str, Any]]:
    from stratascope.analyses.cross_layer import layer_rows

    return layer_rows(trace, spec.site, spec.layers, range(len(trace)))


def _trajectory(trace: Trace, spec: Trajectory) -> list[dict[str, Any]]:
    return follow(trace, spec.site, [neuron_of(name) for name in spec.neurons], range(len(trace)))


# Rows of one trace, by a part's settings.
ROWS: dict[str, Callable[[Trace, Any], list[dict[str, Any]]]] = {
    "attention": _attention,
    "cross_layer": _cross_layer,
    "trajectory": _trajectory,
}
