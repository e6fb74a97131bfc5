"""Targets that need a model: runs, answered questions, features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stratascope.store.commit import write_json
from stratascope.store.hashes import sha256
from stratascope.store.questions import QUESTIONS
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.jobs import CaptureJob
from stratascope.study.plan import Plan
from stratascope.workflow.targets import LAYOUT, job_of


def capture_target(plan: Plan, root: Path, target: Path, say: Callable[[str], None]) -> None:
    """Capture what a job asks for and is not there yet; then write its manifest."""
    from stratascope.capture.gpus import own_gpus
    from stratascope.capture.job import Item, capture_missing

    job = job_of(plan.captures, target)
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

    job = job_of(plan.features, target)
    with own_gpus(_gpus(plan, job.checkpoint), say):
        left = extract_missing(job, root, root / LAYOUT.features, say, plan.study.limits)
    write_json(
        root / target,
        {"checkpoint": job.checkpoint.name, "digest": job.digest, "features": left},
    )
