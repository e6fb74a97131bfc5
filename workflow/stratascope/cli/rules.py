"""The workflow's rules: each makes one target of the plan."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path

import click

from stratascope.cli.options import DIRECTORY, plan_of, say
from stratascope.store.alone import alone

TARGET = click.argument("target", type=click.Path(path_type=Path))


def by_itself(rule: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    """While no other process makes the same target."""

    @wraps(rule)
    def made(target: Path, directory: Path) -> None:
        with alone(directory, target, say):
            rule(target, directory)

    return made


@click.command()
@TARGET
@DIRECTORY
@by_itself
def capture(target: Path, directory: Path) -> None:
    """[workflow] Capture what a job of the plan still lacks, then write its manifest TARGET."""
    from stratascope.workflow.capturing import capture_target

    capture_target(plan_of(directory), directory, target, say)


@click.command()
@TARGET
@DIRECTORY
@by_itself
def features(target: Path, directory: Path) -> None:
    """[workflow] Extract the shards of a dataset that a job still lacks, then write TARGET."""
    from stratascope.workflow.capturing import features_target

    features_target(plan_of(directory), directory, target, say)


@click.command()
@TARGET
@DIRECTORY
@by_itself
def probes(target: Path, directory: Path) -> None:
    """[workflow] Fit the probes of a dataset on a checkpoint, into TARGET and beside it."""
    from stratascope.workflow.analysing import probes_target

    probes_target(plan_of(directory), directory, target)


@click.command()
@TARGET
@DIRECTORY
@by_itself
def readings(target: Path, directory: Path) -> None:
    """[workflow] Apply a dataset's probes to every token of the runs, into TARGET."""
    from stratascope.workflow.analysing import readings_target

    readings_target(plan_of(directory), directory, target)


@click.command()
@TARGET
@DIRECTORY
@by_itself
def transfer(target: Path, directory: Path) -> None:
    """[workflow] Judge a dataset's probes on other checkpoints or layers, into TARGET."""
    from stratascope.workflow.analysing import transfer_target

    transfer_target(plan_of(directory), directory, target)


@click.command()
@TARGET
@DIRECTORY
@by_itself
def representations(target: Path, directory: Path) -> None:
    """[workflow] Compare how layers and checkpoints represent a dataset, into TARGET."""
    from stratascope.workflow.analysing import similarity_target

    similarity_target(plan_of(directory), directory, target)


@click.command()
@TARGET
@DIRECTORY
@by_itself
def look(target: Path, directory: Path) -> None:
    """[workflow] Look at a checkpoint's runs through a part of the microscope, into TARGET."""
    from stratascope.workflow.analysing import look_target

    look_target(plan_of(directory), directory, target)


@click.command()
@TARGET
@DIRECTORY
@by_itself
def selectivity(target: Path, directory: Path) -> None:
    """[workflow] Measure every neuron of a dataset, into TARGET and the table beside it."""
    from stratascope.workflow.analysing import selectivity_target

    selectivity_target(plan_of(directory), directory, target)


@click.command()
@TARGET
@DIRECTORY
@by_itself
def states(target: Path, directory: Path) -> None:
    """[workflow] Extract a checkpoint's state vectors into TARGET (.json and .safetensors)."""
    from stratascope.workflow.analysing import states_target

    states_target(plan_of(directory), directory, target)


@click.command()
@TARGET
@DIRECTORY
@by_itself
def tables(target: Path, directory: Path) -> None:
    """[workflow] Write results/tables, results/metrics.json and the stamp TARGET."""
    from stratascope.workflow.publishing import tables_target

    tables_target(plan_of(directory), directory, target)


@click.command()
@TARGET
@DIRECTORY
@by_itself
def report(target: Path, directory: Path) -> None:
    """[workflow] Render results/report.html and write the stamp TARGET."""
    from stratascope.workflow.publishing import report_target

    report_target(plan_of(directory), directory, target)


@click.command()
@DIRECTORY
def curves(directory: Path) -> None:
    """[dvc] Boil the tables down to the curves that `dvc plots` draws, in results/plots."""
    from stratascope.curves import write_curves

    write_curves(directory)
