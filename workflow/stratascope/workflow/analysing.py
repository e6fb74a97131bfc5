"""Targets that read what models left: probes, similarity, neurons, the microscope, states."""

from __future__ import annotations

from pathlib import Path

from stratascope.study.plan import Plan
from stratascope.workflow.targets import LAYOUT, captured, extracted, job_of


def probes_target(plan: Plan, root: Path, target: Path) -> None:
    """Fit the probes of a dataset on a checkpoint; leaves ``target`` and the files beside it."""
    from stratascope.analyses.probes import fit_probes

    job = job_of(plan.probes, target)
    fit_probes(job, extracted(root, job.features), root / target)


def readings_target(plan: Plan, root: Path, target: Path) -> None:
    """Apply a dataset's probes to every token of the checkpoint's conversations."""
    from stratascope.analyses.readings import read_tokens

    job = job_of(plan.readings, target)
    read_tokens(job, root / LAYOUT.probes, root / LAYOUT.runs, root / target)


def transfer_target(plan: Plan, root: Path, target: Path) -> None:
    """Judge a dataset's probes on other checkpoints or layers."""
    from stratascope.analyses.transfer import measure_transfer

    job = job_of(plan.transfers, target)
    measure_transfer(job, extracted(root, *job.sets), root / target)


def similarity_target(plan: Plan, root: Path, target: Path) -> None:
    """Compare how the checkpoints represent a dataset."""
    from stratascope.analyses.similarity import measure_similarity

    job = job_of(plan.similarities, target)
    measure_similarity(job, extracted(root, *job.sets), root / target)


def selectivity_target(plan: Plan, root: Path, target: Path) -> None:
    """Measure what the neurons of a set do; leaves ``target`` and the table beside it."""
    from stratascope.analyses.neuron_files import write_neurons

    job = job_of(plan.neurons, target)
    write_neurons(job, extracted(root, job.neurons), root / target)


def look_target(plan: Plan, root: Path, target: Path) -> None:
    """Look at a checkpoint through a part of the microscope."""
    from stratascope.workflow.microscope import look

    job = job_of(tuple(item for item in plan.looks if item.part == target.parent.name), target)
    for run in job.runs:
        captured(root / LAYOUT.runs / run.folder, Path)
    look(job, root / LAYOUT.runs, root / target)


def states_target(plan: Plan, root: Path, target: Path) -> None:
    """Write a checkpoint's state vectors beside their index ``target``."""
    from stratascope.store.runs import RunFolder
    from stratascope.store.states import extract_states

    job = job_of(plan.states, target)
    runs = [
        (
            captured(root / LAYOUT.runs / run.folder, RunFolder.open),
            root / LAYOUT.references / run.references.folder if run.references else None,
        )
        for run in job.runs
    ]
    extract_states(job.checkpoint.name, job.order, runs, (root / target).with_suffix(""))
