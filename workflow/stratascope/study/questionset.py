"""What is asked: one file of questions on one checkpoint, named by the digest of what determines it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from stratascope.study.checkpoints import Checkpoint
from stratascope.study.config import QuestionFile
from stratascope.study.digest import digest
from stratascope.study.questions import QuestionScenario
from stratascope.study.stages import version


@dataclass(frozen=True)
class QuestionSet:
    """One question scenario on one checkpoint."""

    scenario: QuestionScenario
    shown: str = field(compare=False)
    checkpoint: Checkpoint
    threads: int

    @property
    def label(self) -> str:
        """``<scenario>@<checkpoint>``."""
        return f"{self.scenario.name}@{self.checkpoint.name}"

    @cached_property
    def digest(self) -> str:
        """The hash of everything that determines the answers, their grades and the features."""
        return digest(
            {
                "stage": ["questions", version("questions")],
                "features": version("features"),
                "scenario": self.scenario.model_dump(mode="json", exclude={"model"}),
                "checkpoint": self.checkpoint.runtime(),
                "threads": self.threads,
            }
        )

    @property
    def folder(self) -> str:
        """Its folder in results/questions."""
        return f"{self.label}-{self.digest}"


def ask(file: QuestionFile, checkpoint: Checkpoint, threads: int) -> QuestionSet:
    """The questions of a file on a checkpoint."""
    return QuestionSet(file.scenario, file.shown, checkpoint, threads)
