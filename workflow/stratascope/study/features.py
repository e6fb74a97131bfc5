"""Features: a dataset's activations on one checkpoint, named by the digest of what determines them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from stratascope.study.checkpoints import Checkpoint
from stratascope.study.dataset import Dataset
from stratascope.study.digest import digest
from stratascope.study.stages import version

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
