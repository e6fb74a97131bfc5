"""The plan: every run, job and file of a study, each named by the digest of what determines it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.study.checkpoints import (
    Checkpoint,
    Identify,
    names_for,
    read_lock,
    resolve,
    study_models,
)
from stratascope.study.config import ScenarioFile, read_scenarios, read_study
from stratascope.study.digest import digest
from stratascope.study.schema import Capture, Generation, Message, Model, Reference, Study
from stratascope.study.stages import version


@dataclass(frozen=True)
class ReferenceSet:
    """Reference states on one checkpoint, captured once whoever uses them."""

    references: tuple[Reference, ...]
    positions: tuple[str, ...]
    layers: str | tuple[int, ...]
    checkpoint: Checkpoint
    threads: int

    @cached_property
    def digest(self) -> str:
        """The hash of the references, the checkpoint and how they are read."""
        return digest(
            {
                "stage": ["references", version("capture")],
                "references": [reference.model_dump(mode="json") for reference in self.references],
                "positions": self.positions,
                "layers": self.layers,
                "checkpoint": self.checkpoint.runtime(),
                "threads": self.threads,
            }
        )

    @property
    def folder(self) -> str:
        """Its folder in results/references."""
        return f"{self.checkpoint.name}-{self.digest}"


@dataclass(frozen=True)
class Run:
    """One scenario on one checkpoint. ``parent`` is the scenario file's own name."""

    scenario: str
    parent: str
    shown: str = field(compare=False)
    checkpoint: Checkpoint
    messages: tuple[Message, ...]
    generation: Generation
    capture: Capture
    references: ReferenceSet | None
    threads: int

    @property
    def label(self) -> str:
        """``<scenario>@<checkpoint>``."""
        return f"{self.scenario}@{self.checkpoint.name}"

    @cached_property
    def digest(self) -> str:
        """The hash of everything that determines what the run captures."""
        return digest(
            {
                "stage": ["capture", version("capture")],
                "scenario": self.scenario,
                "parent": self.parent,
                "messages": [message.model_dump(mode="json") for message in self.messages],
                "generation": self.generation.model_dump(mode="json"),
                "capture": self.capture.model_dump(mode="json"),
                "checkpoint": self.checkpoint.runtime(),
                "threads": self.threads,
            }
        )

    @property
    def folder(self) -> str:
        """Its folder in results/runs."""
        return f"{self.label}-{self.digest}"


@dataclass(frozen=True)
class CaptureJob:
    """The runs and reference sets that one process captures with one loaded model."""

    checkpoint: Checkpoint
    shard: int
    shards: int
    runs: tuple[Run, ...]
    references: tuple[ReferenceSet, ...]

    @cached_property
    def digest(self) -> str:
        """The hash of what the job captures."""
        return digest(
            {
                "stage": ["capture", version("capture")],
                "runs": [run.folder for run in self.runs],
                "references": [item.folder for item in self.references],
            }
        )

    @property
    def name(self) -> str:
        """Its manifest in results/captures, without ``.json``."""
        part = f".{self.shard + 1}of{self.shards}" if self.shards > 1 else ""
        return f"{self.checkpoint.name}{part}-{self.digest}"


@dataclass(frozen=True)
class StatesJob:
    """The state vectors of one checkpoint, out of its capture jobs' folders."""

    checkpoint: Checkpoint
    order: int
    captures: tuple[CaptureJob, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """The checkpoint's runs, sorted by label."""
        return tuple(sorted((r for job in self.captures for r in job.runs), key=lambda r: r.label))

    @property
    def reference_sets(self) -> tuple[ReferenceSet, ...]:
        """The checkpoint's distinct reference sets."""
        return reference_sets(self.runs)

    @cached_property
    def digest(self) -> str:
        """The hash of what the states are taken from."""
        return digest(
            {
                "stage": ["states", version("states")],
                "order": self.order,
                "captures": [job.digest for job in self.captures],
                "references": [run.references and run.references.folder for run in self.runs],
            }
        )

    @property
    def name(self) -> str:
        """Its files in results/states, without the suffix."""
        return f"{self.checkpoint.name}-{self.digest}"


@dataclass(frozen=True)
class Plan:
    """Everything that a study will leave, in the order of its stages."""

    study: Study
    states: tuple[StatesJob, ...]

    @property
    def captures(self) -> tuple[CaptureJob, ...]:
        """Every capture job."""
        return tuple(job for states in self.states for job in states.captures)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run, checkpoint by checkpoint."""
        return tuple(run for states in self.states for run in states.runs)

    @cached_property
    def tables_digest(self) -> str:
        """The hash of what the tables are made from."""
        return digest(
            {"stage": ["tables", version("tables")], "states": [job.name for job in self.states]}
        )

    @cached_property
    def report_digest(self) -> str:
        """The hash of what the report is made from."""
        text = self.study.report.model_dump(mode="json")
        return digest(
            {"stage": ["report", version("report")], "tables": self.tables_digest, "text": text}
        )


def make_plan(root: Path, identify: Identify, config: Mapping[str, object] | None = None) -> Plan:
    """Plan the study in ``root``. Reads files only; asks nothing of the network; needs no torch.

    ``identify`` returns the content hash of a local model folder. Raises ``StratascopeError`` for
    anything a person must mend first.
    """
    study = read_study(root, config)
    files = read_scenarios(root, study)
    placed = place(files, study_models(study), root, identify)
    runs = [
        run
        for file, checkpoints in placed
        for checkpoint in checkpoints
        for run in expand(file, checkpoint, study.capture.threads)
    ]
    check_labels(runs)
    order = list(dict.fromkeys(run.checkpoint for run in sorted(runs, key=_study_order(study))))
    return Plan(
        study,
        tuple(
            StatesJob(checkpoint, i, capture_jobs(checkpoint, runs, study.capture.jobs))
            for i, checkpoint in enumerate(order)
        ),
    )


def _study_order(study: Study):  # type: ignore[no-untyped-def]
    place_of = {name: i for i, name in enumerate(study.checkpoints)}
    return lambda run: (place_of.get(run.checkpoint.name, len(place_of)), run.checkpoint.name)


def place(
    files: Iterable[ScenarioFile], models: Mapping[str, Model], root: Path, identify: Identify
) -> list[tuple[ScenarioFile, tuple[Checkpoint, ...]]]:
    """Each scenario with its checkpoints: the model it names itself, else all of the study's."""
    files = list(files)
    lock = read_lock(root)
    listed = tuple(
        resolve(name, model, root, lock, identify, f"config/config.yaml: checkpoints.{name}.id")
        for name, model in models.items()
    )
    by_model = {checkpoint.model: checkpoint for checkpoint in listed}
    own = [f.scenario.model for f in files if f.scenario.model and f.scenario.model not in by_model]
    taken = {checkpoint.name for checkpoint in listed}
    for model, name in names_for(own).items():
        shown = next(f.shown for f in files if f.scenario.model == model)
        name = name if name not in taken else f"{name}-{digest(model.model_dump(mode='json'))[:6]}"
        by_model[model] = resolve(name, model, root, lock, identify, f"{shown}: model.id")
    placed: list[tuple[ScenarioFile, tuple[Checkpoint, ...]]] = []
    for file in files:
        own_model = file.scenario.model
        if own_model is None and not listed:
            raise StratascopeError(
                f"{file.shown}: no model: name one as `model.id`, or list `checkpoints` in "
                "config/config.yaml"
            )
        placed.append((file, listed if own_model is None else (by_model[own_model],)))
    return placed


def expand(file: ScenarioFile, checkpoint: Checkpoint, threads: int) -> list[Run]:
    """The runs of a scenario on a checkpoint: one, or one for each prompt and message prefix."""
    scenario = file.scenario
    references = None
    if scenario.reference_states:
        references = ReferenceSet(
            scenario.reference_states,
            scenario.capture.snapshot_positions,
            scenario.capture.layers,
            checkpoint,
            threads,
        )
    runs: list[Run] = []
    for i, prompt in enumerate(scenario.prompt):
        name = scenario.name + (f"_prompt{i}" if len(scenario.prompt) > 1 else "")
        ends = range(1, len(prompt.messages) + 1) if prompt.run_at_each_message else (0,)
        runs += [
            Run(
                scenario=f"{name}_msg{end:02d}" if end else name,
                parent=name,
                shown=file.shown,
                checkpoint=checkpoint,
                messages=prompt.messages[: end or None],
                generation=scenario.generation,
                capture=scenario.capture,
                references=references,
                threads=threads,
            )
            for end in ends
        ]
    return runs


def check_labels(runs: Iterable[Run]) -> None:
    """Refuse runs with one label, as a scenario `a_msg01` beside an expanded `a` would give."""
    seen: dict[str, str] = {}
    for run in runs:
        label = run.label.casefold()
        if label in seen:
            raise StratascopeError(
                f"{run.shown}: makes a run {run.label!r}, and so does {seen[label]}; rename one scenario"
            )
        seen[label] = run.shown


def capture_jobs(checkpoint: Checkpoint, runs: Iterable[Run], jobs: int) -> tuple[CaptureJob, ...]:
    """Deal a checkpoint's runs out to at most ``jobs`` jobs, the same way every time."""
    mine = sorted((run for run in runs if run.checkpoint == checkpoint), key=lambda run: run.label)
    shards = min(jobs, len(mine))
    dealt = [mine[i::shards] for i in range(shards)]
    made: set[ReferenceSet] = set()
    result = []
    for i, part in enumerate(dealt):
        # A set belongs to the first job that uses it: two jobs never write one folder.
        sets = [item for item in reference_sets(part) if item not in made]
        made.update(sets)
        result.append(CaptureJob(checkpoint, i, shards, tuple(part), tuple(sets)))
    return tuple(result)


def reference_sets(runs: Iterable[Run]) -> tuple[ReferenceSet, ...]:
    """The distinct reference sets of some runs, in the order of first use."""
    return tuple(dict.fromkeys(run.references for run in runs if run.references))
