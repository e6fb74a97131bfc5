"""Features: a dataset's activations on one checkpoint, named by the digest of what determines them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.dataset import Dataset
from stratascope.study.digest import digest
from stratascope.study.names import nearest
from stratascope.study.schema import Study
from stratascope.study.stages import version

ContentOf = Callable[[Dataset, Path], str]

# What says where the texts are, or who computes which of them, and not what comes out.
_NOT_CONTENT = {"data", "revision", "checkpoints", "jobs"}


@dataclass(frozen=True)
class FeatureSet:
    """One dataset on one checkpoint. ``content`` is the hash of the dataset's files."""

    name: str
    dataset: Dataset
    content: str
    checkpoint: Checkpoint
    threads: int

    @property
    def label(self) -> str:
        """``<dataset>@<checkpoint>``."""
        return f"{self.name}@{self.checkpoint.name}"

    @cached_property
    def digest(self) -> str:
        """The hash of everything that determines the features."""
        return digest(
            {
                "stage": ["features", version("features")],
                "dataset": self.dataset.model_dump(mode="json", exclude=_NOT_CONTENT),
                "content": self.content,
                "checkpoint": self.checkpoint.runtime(),
                "threads": self.threads,
            }
        )

    @property
    def folder(self) -> str:
        """Its folder in results/features."""
        return f"{self.label}-{self.digest}"


@dataclass(frozen=True)
class FeatureJob:
    """The shards of a feature set that one process extracts: part ``part`` (from 0) of ``parts``."""

    features: FeatureSet
    part: int
    parts: int

    @property
    def name(self) -> str:
        """Its manifest in results/extractions, without ``.json``."""
        part = f".{self.part + 1}of{self.parts}" if self.parts > 1 else ""
        return f"{self.features.label}{part}-{self.features.digest}"


def feature_jobs(
    study: Study, checkpoints: Iterable[Checkpoint], root: Path, content_of: ContentOf
) -> tuple[FeatureJob, ...]:
    """Every job of the study's datasets, in the order of the config.

    ``content_of`` returns the hash of a dataset's files.

    Raises:
        StratascopeError: a checkpoint that the study does not list, or files that are not there.
    """
    by_name = {checkpoint.name: checkpoint for checkpoint in checkpoints}
    jobs = []
    for name, dataset in study.datasets.items():
        content = content_of(dataset, root)
        for wanted in dataset.checkpoints or by_name:
            if wanted not in by_name:
                near = nearest(wanted, by_name)
                remedy = f"did you mean {near!r}?" if near else f"known: {', '.join(by_name)}"
                raise StratascopeError(
                    f"config/config.yaml: datasets.{name}.checkpoints: no checkpoint {wanted!r}; {remedy}"
                )
            features = FeatureSet(name, dataset, content, by_name[wanted], study.capture.threads)
            jobs += [FeatureJob(features, part, dataset.jobs) for part in range(dataset.jobs)]
    return tuple(jobs)
