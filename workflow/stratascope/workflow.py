"""What the workflow's rules do: each makes one target of the plan, or says why it cannot."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol, TypeVar

from stratascope.errors import StratascopeError
from stratascope.store.commit import disk_errors, write_json
from stratascope.store.features import is_whole
from stratascope.store.hashes import recorded, sha256
from stratascope.store.layout import TABLES, Layout
from stratascope.store.questions import QUESTIONS, QuestionFolder
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.features import FeatureSet
from stratascope.study.jobs import CaptureJob
from stratascope.study.plan import Plan

LAYOUT = Layout.of_study()


class _Named(Protocol):
    @property
    def name(self) -> str: ...


J = TypeVar("J", bound=_Named)


def use_this_package() -> None:
    """Let shell commands that follow use this package and the Python that runs now.

    Also where the environment is not activated, or another copy of the package is installed in it.
    """
    here = Path(__file__).resolve().parents[1]
    for name, first in (("PYTHONPATH", here), ("PATH", Path(sys.executable).parent)):
        parts = [part for part in os.environ.get(name, "").split(os.pathsep) if part]
        os.environ[name] = os.pathsep.join(dict.fromkeys([str(first), *parts]))


# Held open as long as this process lives: that is what the lock below means.
_ALIVE: list[IO[str]] = []


def forget_killed_process(records: Path) -> None:
    """Let the same command go on after a ``kill -9``: drop what the killed Snakemake left locked.

    ``records`` is the study's ``.snakemake``. Snakemake cannot tell a lock of a dead process from
    one of a living one, and asks for ``--unlock`` and ``--rerun-incomplete``. We can: each Snakemake
    holds a lock of the system's, which ends with its process. And what lies under a final name is
    whole (store/commit.py), so a file marked incomplete that is there is complete.
    """
    import fcntl

    records.mkdir(exist_ok=True)
    alive = (records / "stratascope.lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        alive.close()  # somebody lives (or the file system knows no locks): Snakemake will say so
        return
    _ALIVE.append(alive)
    for name in ("locks", "incomplete"):
        for left in (records / name).rglob("*"):
            if left.is_file():
                left.unlink()


def capture_target(plan: Plan, root: Path, target: Path, say: Callable[[str], None]) -> None:
    """Capture what a job asks for and is not there yet; then write its manifest."""
    from stratascope.capture.gpus import own_gpus
    from stratascope.capture.job import Item, capture_missing

    job = _job(plan.captures, target)
    items = [Item(item, root / LAYOUT.references / item.folder) for item in job.references]
    items += [Item(run, root / LAYOUT.runs / run.folder) for run in job.runs]
    items += [Item(asked, root / LAYOUT.questions / asked.folder) for asked in job.questions]
    with own_gpus(_gpus(plan, job.checkpoint), say):
        capture_missing(items, say, plan.study.limits)
    write_json(root / target, _left(job, root))


def _gpus(plan: Plan, checkpoint: Checkpoint) -> int:
    """How many of this machine's GPUs a job takes; 0 leaves all to it, or none."""
    if checkpoint.model.device_map is not None:
        return plan.study.capture.gpus or 0
    return int(checkpoint.model.device in ("auto", "cuda"))


def _left(job: CaptureJob, root: Path) -> dict[str, object]:
    """The manifest of a capture job: what it left, with the hash of what records the rest."""

    def listed(folder: Path, index: str) -> dict[str, str]:
        return {"folder": folder.name, "sha256": sha256(root / folder / index)}

    left: dict[str, object] = {
        "checkpoint": job.checkpoint.name,
        "digest": job.digest,
        "runs": [
            {"run": run.label, **listed(LAYOUT.runs / run.folder, "run.json")} for run in job.runs
        ],
        "references": [
            listed(LAYOUT.references / item.folder, "references.json") for item in job.references
        ],
    }
    if job.questions:
        left["questions"] = [
            {"run": asked.label, **listed(LAYOUT.questions / asked.folder, QUESTIONS)}
            for asked in job.questions
        ]
    return left


def features_target(plan: Plan, root: Path, target: Path, say: Callable[[str], None]) -> None:
    """Extract a job's shards that are not there yet; then write its manifest."""
    from stratascope.capture.features.job import extract_missing
    from stratascope.capture.gpus import own_gpus

    job = _job(plan.features, target)
    with own_gpus(_gpus(plan, job.checkpoint), say):
        left = extract_missing(job, root, root / LAYOUT.features, say, plan.study.limits)
    write_json(
        root / target,
        {"checkpoint": job.checkpoint.name, "digest": job.digest, "features": left},
    )


def probes_target(plan: Plan, root: Path, target: Path) -> None:
    """Fit the probes of a dataset on a checkpoint; leaves ``target`` and the files beside it."""
    from stratascope.analyses.probes import fit_probes

    job = _job(plan.probes, target)
    fit_probes(job, _extracted(root, job.features), root / target)


def readings_target(plan: Plan, root: Path, target: Path) -> None:
    """Apply a dataset's probes to every token of the checkpoint's conversations."""
    from stratascope.analyses.readings import read_tokens

    job = _job(plan.readings, target)
    read_tokens(job, root / LAYOUT.probes, root / LAYOUT.runs, root / target)


def transfer_target(plan: Plan, root: Path, target: Path) -> None:
    """Judge a dataset's probes on other checkpoints or layers."""
    from stratascope.analyses.transfer import measure_transfer

    job = _job(plan.transfers, target)
    measure_transfer(job, _extracted(root, *job.sets), root / target)


def similarity_target(plan: Plan, root: Path, target: Path) -> None:
    """Compare how the checkpoints represent a dataset."""
    from stratascope.analyses.similarity import measure_similarity

    job = _job(plan.similarities, target)
    measure_similarity(job, _extracted(root, *job.sets), root / target)


def selectivity_target(plan: Plan, root: Path, target: Path) -> None:
    """Measure what the neurons of a set do; leaves ``target`` and the table beside it."""
    from stratascope.analyses.neuron_files import write_neurons

    job = _job(plan.neurons, target)
    write_neurons(job, _extracted(root, job.neurons), root / target)


def look_target(plan: Plan, root: Path, target: Path) -> None:
    """Look at a checkpoint through a part of the microscope."""
    from stratascope.microscope import look

    job = _job(tuple(item for item in plan.looks if item.part == target.parent.name), target)
    for run in job.runs:
        _captured(root / LAYOUT.runs / run.folder, Path)
    look(job, root / LAYOUT.runs, root / target)


def states_target(plan: Plan, root: Path, target: Path) -> None:
    """Write a checkpoint's state vectors beside their index ``target``."""
    from stratascope.store.runs import RunFolder
    from stratascope.store.states import extract_states

    job = _job(plan.states, target)
    runs = [
        (
            _captured(root / LAYOUT.runs / run.folder, RunFolder.open),
            root / LAYOUT.references / run.references.folder if run.references else None,
        )
        for run in job.runs
    ]
    extract_states(job.checkpoint.name, job.order, runs, (root / target).with_suffix(""))


def tables_target(plan: Plan, root: Path, target: Path) -> None:
    """Write every table, metrics.json, and the stamp ``target``."""
    from stratascope.report.headline import write_headline
    from stratascope.report.tables import write_tables
    from stratascope.report.tables.states import Analyses

    _start(root, target, f"tables-{plan.tables_digest}")
    states = [root / LAYOUT.states / f"{job.name}.json" for job in plan.states]
    questions = [
        _captured(root / LAYOUT.questions / asked.folder, QuestionFolder.open)
        for asked in plan.questions
    ]
    analyses = Analyses(
        probes=tuple(root / LAYOUT.probes / f"{job.name}.json" for job in plan.probes),
        transfers=tuple(root / LAYOUT.transfer / f"{job.name}.json" for job in plan.transfers),
        similarities=tuple(
            root / LAYOUT.similarity / f"{job.name}.json" for job in plan.similarities
        ),
        neurons=tuple(root / LAYOUT.neurons / f"{job.name}.json" for job in plan.neurons),
        lenses=_looks(plan, root, "lens"),
        residuals=_looks(plan, root, "residual"),
        attention=_looks(plan, root, "attention"),
        inductions=_looks(plan, root, "induction"),
        cross_layers=_looks(plan, root, "cross_layer"),
        trajectories=_looks(plan, root, "trajectory"),
    )
    with disk_errors(root / LAYOUT.tables):
        written = write_tables(states, root / LAYOUT.tables, questions, analyses, plan.told)
        write_headline(written, root / LAYOUT.metrics)
    tables = [root / LAYOUT.tables / f"{name}.csv" for name in TABLES]
    computed = [*analyses.probes, *analyses.transfers, *analyses.similarities]
    computed += [*analyses.neurons, *analyses.lenses, *analyses.residuals]
    computed += [
        *analyses.attention,
        *analyses.inductions,
        *analyses.cross_layers,
        *analyses.trajectories,
    ]
    _stamp(root, target, [*states, *computed, *tables, root / LAYOUT.metrics])


def report_target(plan: Plan, root: Path, target: Path) -> None:
    """Render the report and write the stamp ``target``."""
    from stratascope.report.build import build_report

    _start(root, target, f"report-{plan.report_digest}")
    readings = [root / LAYOUT.readings / f"{job.name}.json" for job in plan.readings]
    looks = [*_looks(plan, root, "attention"), *_looks(plan, root, "heatmaps")]
    with disk_errors(root / LAYOUT.report):
        build_report(
            study={
                "title": plan.study.report.title,
                "description": plan.study.report.description,
                "checkpoints": [job.checkpoint.name for job in plan.states],
            },
            tables=root / LAYOUT.tables,
            states=[root / LAYOUT.states / f"{job.name}.json" for job in plan.states],
            runs=root / LAYOUT.runs,
            metrics=root / LAYOUT.metrics,
            features=[root / LAYOUT.features / item.folder for item in plan.feature_sets],
            readings=readings,
            looks=looks,
            neurons=[root / LAYOUT.neurons / f"{job.name}.json" for job in plan.neurons],
            out=root / LAYOUT.report,
        )
    _stamp(root, target, [*readings, *looks, root / LAYOUT.report])


def _job(jobs: tuple[J, ...], target: Path) -> J:
    for job in jobs:
        if job.name == target.stem:
            return job
    raise StratascopeError(
        f"{target}: not a target of the plan; the study may have changed since: run snakemake again"
    )


def _looks(plan: Plan, root: Path, part: str) -> tuple[Path, ...]:
    return tuple(root / LAYOUT.of_look(job) for job in plan.looks if job.part == part)


def _start(root: Path, target: Path, stem: str) -> None:
    """Check the target, and remove the stage's stamps before its files change under them.

    A stamp says what lies under the fixed names; killed half-way, no stamp must say it wrongly.
    """
    if target.stem != stem:
        raise StratascopeError(
            f"{target}: the plan now asks for {stem}; the study changed since: run snakemake again"
        )
    for old in (root / LAYOUT.stamps).glob(f"{stem.split('-')[0]}-*.json"):
        old.unlink()


T = TypeVar("T")


def _captured(folder: Path, opened: Callable[[Path], T]) -> T:
    if not folder.is_dir():
        raise StratascopeError(
            f"{folder}: captured once, and gone since; delete the manifests in {LAYOUT.captures} and "
            "run snakemake again"
        )
    return opened(folder)


def _extracted(root: Path, *sets: FeatureSet) -> Path:
    """The folder of all features, if those of ``sets`` lie in it with all their files."""
    place = root / LAYOUT.features
    for item in sets:
        if not is_whole(place / item.folder):
            raise StratascopeError(
                f"{place / item.folder}: extracted once, and gone since, or part of it; delete the "
                f"manifests in {LAYOUT.extractions} and run snakemake again"
            )
    return place


def _stamp(root: Path, target: Path, files: list[Path]) -> None:
    """Record what was written under the fixed names."""
    write_json(root / target, recorded(files, root))
