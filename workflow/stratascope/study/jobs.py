"""The jobs of a study: what one process makes, named by the digest of what determines it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from stratascope.study.checkpoints import Checkpoint
from stratascope.study.digest import digest
from stratascope.study.questionset import QuestionSet
from stratascope.study.runs import ReferenceSet, Run, reference_sets
from stratascope.study.stages import version


@dataclass(frozen=True)
class CaptureJob:
    """The runs, reference sets and questions that one process captures with one loaded model."""

    checkpoint: Checkpoint
    shard: int
    shards: int
    runs: tuple[Run, ...]
    references: tuple[ReferenceSet, ...]
    questions: tuple[QuestionSet, ...] = ()

    @cached_property
    def digest(self) -> str:
        """The hash of what the job captures."""
        content: dict[str, object] = {
            "stage": ["capture", version("capture")],
            "runs": [run.folder for run in self.runs],
            "references": [item.folder for item in self.references],
        }
        if self.questions:
            content["questions"] = [item.folder for item in self.questions]
        return digest(content)

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
                # Not how they were dealt to jobs, nor what else those captured.
                "runs": [run.folder for run in self.runs],
                "references": [run.references and run.references.folder for run in self.runs],
            }
        )

    @property
    def name(self) -> str:
        """Its files in results/states, without the suffix."""
        return f"{self.checkpoint.name}-{self.digest}"


def capture_jobs(
    checkpoint: Checkpoint, runs: Iterable[Run], questions: Iterable[QuestionSet], jobs: int
) -> tuple[CaptureJob, ...]:
    """Deal a checkpoint's runs and questions out to at most ``jobs`` jobs, the same way every time."""
    mine = sorted((run for run in runs if run.checkpoint == checkpoint), key=lambda run: run.label)
    asked = sorted((q for q in questions if q.checkpoint == checkpoint), key=lambda q: q.label)
    shards = min(jobs, len(mine) + len(asked))
    made: set[ReferenceSet] = set()
    result = []
    for i in range(shards):
        part = mine[i::shards]
        # A set belongs to the first job that uses it: two jobs never write one folder.
        sets = [item for item in reference_sets(part) if item not in made]
        made.update(sets)
        # Questions go on where the runs ended, so that they fall to the jobs with fewer runs.
        rest = asked[(i - len(mine)) % shards :: shards]
        result.append(CaptureJob(checkpoint, i, shards, tuple(part), tuple(sets), tuple(rest)))
    return tuple(result)
