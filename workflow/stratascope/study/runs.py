"""What is captured: a run is one scenario on one checkpoint; reference sets are shared by runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from stratascope.errors import StratascopeError
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.config import AnyFile, QuestionFile, ScenarioFile
from stratascope.study.digest import digest
from stratascope.study.questionset import QuestionSet, ask
from stratascope.study.schema import Capture, Generation, PromptMessage, Reference
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
    messages: tuple[PromptMessage, ...]
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


Placed = tuple[AnyFile, tuple[Checkpoint, ...]]


def expand_all(placed: Iterable[Placed], threads: int) -> tuple[list[Run], list[QuestionSet]]:
    """Everything that scenario files, each with its checkpoints, ask for.

    Raises:
        StratascopeError: two with one label.
    """
    runs: list[Run] = []
    questions: list[QuestionSet] = []
    for file, checkpoints in placed:
        for checkpoint in checkpoints:
            if isinstance(file, QuestionFile):
                questions.append(ask(file, checkpoint, threads))
            else:
                runs += expand(file, checkpoint, threads)
    check_labels([*runs, *questions])
    return runs, questions


def check_labels(runs: Iterable[Run | QuestionSet]) -> None:
    """Refuse two with one label, as a scenario `a_msg01` beside an expanded `a` would give."""
    seen: dict[str, str] = {}
    for run in runs:
        label = run.label.casefold()
        if label in seen:
            raise StratascopeError(
                f"{run.shown}: makes a run {run.label!r}, and so does {seen[label]}; rename one scenario"
            )
        seen[label] = run.shown


def reference_sets(runs: Iterable[Run]) -> tuple[ReferenceSet, ...]:
    """The distinct reference sets of some runs, in the order of first use."""
    return tuple(dict.fromkeys(run.references for run in runs if run.references))
