"""The plan: every run, job and file of a study, each named by the digest of what determines it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.study.analyses import (
    ProbeJob,
    ReadingJob,
    SimilarityJob,
    TransferJob,
    probe_jobs,
    reading_jobs,
    similarity_jobs,
    transfer_jobs,
)
from stratascope.study.checkpoints import (
    Checkpoint,
    Identify,
    names_for,
    read_lock,
    resolve,
    study_models,
)
from stratascope.study.config import AnyFile, read_scenarios, read_study
from stratascope.study.digest import digest
from stratascope.study.features import (
    ContentOf,
    FeatureJob,
    FeatureSet,
    NeuronSet,
    feature_jobs,
)
from stratascope.study.jobs import CaptureJob, StatesJob, capture_jobs
from stratascope.study.looks import LookJob, look_jobs
from stratascope.study.neurons import SelectivityJob, selectivity_jobs
from stratascope.study.pairs import MOST_PAIRS, all_compared
from stratascope.study.questionset import QuestionSet
from stratascope.study.runs import Placed, Run, expand_all
from stratascope.study.schema import Study
from stratascope.study.stages import version
from stratascope.study.told import check_told, told


@dataclass(frozen=True)
class Plan:
    """Everything that a study will leave, in the order of its stages."""

    study: Study
    captures: tuple[CaptureJob, ...]
    states: tuple[StatesJob, ...]
    features: tuple[FeatureJob, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run, checkpoint by checkpoint."""
        return tuple(run for states in self.states for run in states.runs)

    @property
    def questions(self) -> tuple[QuestionSet, ...]:
        """Every question scenario on every checkpoint, scenario by scenario."""
        found = [item for job in self.captures for item in job.questions]
        return tuple(sorted(found, key=lambda item: item.scenario.name))

    @property
    def feature_sets(self) -> tuple[FeatureSet, ...]:
        """Every dataset on every checkpoint that reads it."""
        return tuple(item for item in self._extracted if not isinstance(item, NeuronSet))

    @property
    def neuron_sets(self) -> tuple[NeuronSet, ...]:
        """Every dataset on every checkpoint whose neurons are counted."""
        return tuple(item for item in self._extracted if isinstance(item, NeuronSet))

    @property
    def _extracted(self) -> tuple[FeatureSet, ...]:
        return tuple(dict.fromkeys(part.features for job in self.features for part in job.parts))

    @cached_property
    def probes(self) -> tuple[ProbeJob, ...]:
        """The probes of every feature set."""
        return probe_jobs(self.features)

    @cached_property
    def readings(self) -> tuple[ReadingJob, ...]:
        """The conversations that probes read token by token."""
        return reading_jobs(self.probes, self.captures)

    @cached_property
    def transfers(self) -> tuple[TransferJob, ...]:
        """The datasets whose probes are judged on other checkpoints or layers."""
        return transfer_jobs(self.features)

    @cached_property
    def similarities(self) -> tuple[SimilarityJob, ...]:
        """The comparisons of every dataset's features."""
        return similarity_jobs(self.features)

    @cached_property
    def looks(self) -> tuple[LookJob, ...]:
        """What the microscope looks at, part by part."""
        return look_jobs(self.study.microscope, self.captures)

    @cached_property
    def neurons(self) -> tuple[SelectivityJob, ...]:
        """What the neurons of every set tell of its labels."""
        return selectivity_jobs(self.features)

    @cached_property
    def told(self) -> dict[str, tuple[str | None, ...]]:
        """What each message of a run tells, by the run's label, where a scenario says so."""
        return told(self.runs)

    @cached_property
    def tables_digest(self) -> str:
        """The hash of what the tables are made from."""
        content: dict[str, object] = {
            "stage": ["tables", version("tables")],
            "states": [job.name for job in self.states],
        }
        if self.questions:
            content["questions"] = [item.folder for item in self.questions]
        analyses = [
            *(job.name for job in self.probes),
            *(job.name for job in self.transfers),
            *(job.name for job in self.similarities),
            *(job.name for job in self.neurons),
            *(f"{job.part}/{job.name}" for job in self.looks),
        ]
        if analyses:
            content["analyses"] = analyses
        if self.told:
            content["told"] = self.told
        if not all_compared(len(self.runs)):
            content["pairs"] = MOST_PAIRS
        return digest(content)

    @cached_property
    def report_digest(self) -> str:
        """The hash of what the report is made from."""
        content: dict[str, object] = {
            "stage": ["report", version("report")],
            "tables": self.tables_digest,
            "text": self.study.report.model_dump(mode="json"),
        }
        if self.feature_sets:
            content["features"] = [item.folder for item in self.feature_sets]
        if self.readings:
            content["readings"] = [job.name for job in self.readings]
        return digest(content)


def make_plan(root: Path, identify: Identify, content_of: ContentOf) -> Plan:
    """Plan the study in ``root``. Reads files only; asks nothing of the network; needs no torch.

    ``identify`` returns the content hash of a local model folder, ``content_of`` that of a dataset's
    files. Raises ``StratascopeError`` for anything a person must mend first.
    """
    study = read_study(root)
    files = read_scenarios(root, study)
    listed = _listed(study, root, identify)
    placed = place(files, listed, root, identify)
    runs, questions = expand_all(placed, study.capture.threads)
    check_told(runs)
    found: list[Run | QuestionSet] = sorted([*runs, *questions], key=_study_order(study))
    jobs = {
        checkpoint: capture_jobs(checkpoint, runs, questions, study.capture.jobs)
        for checkpoint in dict.fromkeys(item.checkpoint for item in found)
    }
    plan = Plan(
        study,
        tuple(job for some in jobs.values() for job in some),
        tuple(
            StatesJob(checkpoint, order, some)
            for order, (checkpoint, some) in enumerate(jobs.items())
            if any(job.runs for job in some)
        ),
        feature_jobs(study, listed, root, content_of),
    )
    _ = plan.looks  # says here what cannot be looked at
    return plan


def _listed(study: Study, root: Path, identify: Identify) -> tuple[Checkpoint, ...]:
    """The checkpoints that the config lists."""
    lock = read_lock(root)
    return tuple(
        resolve(name, model, root, lock, identify, f"config/config.yaml: checkpoints.{name}.id")
        for name, model in study_models(study).items()
    )


def _study_order(study: Study):  # type: ignore[no-untyped-def]
    place_of = {name: i for i, name in enumerate(study.checkpoints)}
    return lambda run: (place_of.get(run.checkpoint.name, len(place_of)), run.checkpoint.name)


def place(
    files: Iterable[AnyFile],
    listed: tuple[Checkpoint, ...],
    root: Path,
    identify: Identify,
) -> list[Placed]:
    """Each scenario with its checkpoints: the model it names itself, else all of the study's."""
    files = list(files)
    lock = read_lock(root)
    by_model = {checkpoint.model: checkpoint for checkpoint in listed}
    own = [f.scenario.model for f in files if f.scenario.model and f.scenario.model not in by_model]
    taken = {checkpoint.name for checkpoint in listed}
    for model, name in names_for(own).items():
        shown = next(f.shown for f in files if f.scenario.model == model)
        name = name if name not in taken else f"{name}-{digest(model.model_dump(mode='json'))[:6]}"
        by_model[model] = resolve(name, model, root, lock, identify, f"{shown}: model.id")
    placed: list[Placed] = []
    for file in files:
        own_model = file.scenario.model
        if own_model is None and not listed:
            raise StratascopeError(
                f"{file.shown}: no model: name one as `model.id`, or list `checkpoints` in "
                "config/config.yaml"
            )
        placed.append((file, listed if own_model is None else (by_model[own_model],)))
    return placed
