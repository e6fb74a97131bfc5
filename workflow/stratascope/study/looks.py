"""The jobs of the microscope: one part of it, over some runs of one checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from stratascope.errors import StratascopeError
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.digest import digest
from stratascope.study.jobs import CaptureJob
from stratascope.study.microscope import Microscope, OfScenarios
from stratascope.study.runs import Run
from stratascope.study.stages import version
from stratascope.study.strict import Strict

# The parts with a stage of their own, by their key below `microscope`, and the switches of `capture` that
# record what they read.
PARTS: dict[str, tuple[str, ...]] = {
    "lens": ("hidden_states",),
    "residual": ("hidden_states", "qkv", "mlp"),
    "attention": ("attention_weights",),
    # What these read, their own keys say.
    "cross_layer": (),
    "trajectory": (),
    "heatmaps": (),
}


@dataclass(frozen=True)
class LookJob:
    """One part of the microscope over a checkpoint's runs; of a part that runs the model, no runs.

    ``after`` are the jobs that capture the runs.
    """

    part: str
    spec: Strict
    checkpoint: Checkpoint
    runs: tuple[Run, ...]
    after: tuple[CaptureJob, ...]

    @cached_property
    def digest(self) -> str:
        """The hash of what is looked at, and how. A run's digest covers its checkpoint."""
        content: dict[str, object] = {
            "stage": [self.part, version(self.part)],
            "runs": [run.folder for run in self.runs],
            "spec": self.spec.model_dump(mode="json", exclude={"scenarios"}),
        }
        if not self.runs:
            content["checkpoint"] = self.checkpoint.runtime()
        return digest(content)

    @property
    def name(self) -> str:
        """Its file below results, in the folder of its part, without the suffix."""
        return f"{self.checkpoint.name}-{self.digest}"


def look_jobs(microscope: Microscope, captures: Iterable[CaptureJob]) -> tuple[LookJob, ...]:
    """A job for each part that the study names and each checkpoint with runs to look at.

    Raises:
        StratascopeError: a scenario that is not there, or that does not record what a part reads.
    """
    captures = tuple(captures)
    known = tuple(dict.fromkeys(run.parent for job in captures for run in job.runs))
    try:
        microscope.check_scenarios(known)
    except ValueError as error:
        raise StratascopeError(f"config/config.yaml: {error}") from None
    on_runs = (
        job
        for part in PARTS
        if (spec := getattr(microscope, part)) is not None
        for job in _jobs(part, spec, captures)
    )
    checkpoints = dict.fromkeys(job.checkpoint for job in captures)
    asked = microscope.induction
    on_models = (
        LookJob("induction", asked, checkpoint, (), ()) for checkpoint in checkpoints if asked
    )
    return (*on_runs, *on_models)


def _jobs(part: str, spec: OfScenarios, captures: tuple[CaptureJob, ...]) -> Iterator[LookJob]:
    for checkpoint in dict.fromkeys(job.checkpoint for job in captures):
        mine = [job for job in captures if job.checkpoint == checkpoint]
        runs = tuple(
            sorted((r for job in mine for r in _wanted(spec, job)), key=lambda run: run.label)
        )
        for run in runs:
            _check(part, run)
        if runs:
            after = tuple(job for job in mine if set(job.runs) & set(runs))
            yield LookJob(part, spec, checkpoint, runs, after)


def _wanted(spec: OfScenarios, job: CaptureJob) -> Iterator[Run]:
    return (r for r in job.runs if spec.scenarios == "all" or r.parent in spec.scenarios)


def _check(part: str, run: Run) -> None:
    for switch in PARTS[part]:
        if not getattr(run.capture, switch):
            raise StratascopeError(
                f"config/config.yaml: microscope.{part}.scenarios: {run.parent} records no {switch}, which "
                f"it reads; set capture.{switch} there, or name other scenarios"
            )
