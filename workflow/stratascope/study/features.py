"""Features: a dataset's activations on one checkpoint, named by the digest of what determines them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from stratascope.errors import StratascopeError
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.dataset import Dataset, Neurons, StudyDataset
from stratascope.study.digest import digest
from stratascope.study.names import nearest
from stratascope.study.schema import Study
from stratascope.study.stages import version

ContentOf = Callable[[Dataset, Path], str]

# What says where the texts are, who computes which of them, or what follows, and not what comes out.
_NOT_CONTENT = {"data", "revision", "checkpoints", "jobs", "probes", "similarity", "neurons"}


@dataclass(frozen=True)
class FeatureSet:
    """One dataset on one checkpoint. ``content`` is the hash of the dataset's files."""

    name: str
    dataset: Dataset
    content: str
    checkpoint: Checkpoint
    threads: int

    stage: ClassVar[str] = "features"

    @property
    def counted(self) -> int:
        """How many numbers of 4 bytes a shard keeps of each column beside its rows."""
        return 0

    @property
    def label(self) -> str:
        """``<dataset>@<checkpoint>``."""
        return f"{self.name}@{self.checkpoint.name}"

    @cached_property
    def digest(self) -> str:
        """The hash of everything that determines the features."""
        return digest(self._determines())

    def _determines(self) -> dict[str, object]:
        return {
            "stage": [self.stage, version(self.stage)],
            "dataset": self.dataset.model_dump(mode="json", exclude=_NOT_CONTENT),
            "content": self.content,
            "checkpoint": self.checkpoint.runtime(),
            "threads": self.threads,
        }

    @property
    def folder(self) -> str:
        """Its folder in results/features."""
        return f"{self.label}-{self.digest}"


@dataclass(frozen=True)
class NeuronSet(FeatureSet):
    """The neurons of one site of a dataset on one checkpoint: a pass of its own over all tokens.

    It leaves features, the mean and the largest value of each neuron in each text, and beside them
    what it counted. Make it with ``of``.
    """

    top_k: int

    stage: ClassVar[str] = "neurons"

    @classmethod
    def of(cls, features: FeatureSet, spec: Neurons) -> NeuronSet:
        """The neurons of the texts that ``features`` are about."""
        asked = {
            "sites": (spec.site,),
            "modules": (),
            "layers": spec.layers,
            "position": "mean",
            "span": None,
            "store_dtype": "float32",
        }
        return cls(
            features.name,
            features.dataset.model_copy(update=asked),
            features.content,
            features.checkpoint,
            features.threads,
            spec.top_k,
        )

    @property
    def counted(self) -> int:
        """Counts in buckets, sums in float64, and of each example its place and the values around it."""
        return 453 + 10 + 30 * self.top_k

    @property
    def label(self) -> str:
        """``<dataset>.neurons@<checkpoint>``."""
        return f"{self.name}.neurons@{self.checkpoint.name}"

    def _determines(self) -> dict[str, object]:
        return super()._determines() | {"top_k": self.top_k}


@dataclass(frozen=True)
class Part:
    """The shards of a feature set that one job extracts: the ``number``-th (from 1) of ``of`` ranges."""

    features: FeatureSet
    number: int
    of: int


@dataclass(frozen=True)
class FeatureJob:
    """What one process extracts with one loaded model: parts of feature sets of one checkpoint."""

    checkpoint: Checkpoint
    number: int
    of: int
    parts: tuple[Part, ...]

    @cached_property
    def digest(self) -> str:
        """The hash of what the job extracts."""
        return digest(
            {
                "stage": ["features", version("features")],
                "parts": [[part.features.folder, part.number, part.of] for part in self.parts],
            }
        )

    @property
    def name(self) -> str:
        """Its manifest in results/extractions, without ``.json``."""
        part = f".{self.number}of{self.of}" if self.of > 1 else ""
        return f"{self.checkpoint.name}{part}-{self.digest}"


def feature_jobs(
    study: Study, checkpoints: Iterable[Checkpoint], root: Path, content_of: ContentOf
) -> tuple[FeatureJob, ...]:
    """Every job of the study's datasets: one for each checkpoint, or as many as a dataset asks for.

    ``content_of`` returns the hash of a dataset's files.

    Raises:
        StratascopeError: a checkpoint that the study does not list, or files that are not there.
    """
    by_name = {checkpoint.name: checkpoint for checkpoint in checkpoints}
    sets: dict[str, list[FeatureSet]] = {name: [] for name in by_name}
    for name, dataset in study.datasets.items():
        content = content_of(dataset, root)
        neurons = (dataset.neurons and dataset.neurons.checkpoints) or ()
        _check_names(f"datasets.{name}.checkpoints", dataset.checkpoints or (), by_name)
        _check_names(f"datasets.{name}.neurons.checkpoints", neurons, by_name)
        for wanted in dataset.checkpoints or by_name:
            features = FeatureSet(name, dataset, content, by_name[wanted], study.capture.threads)
            sets[wanted].append(features)
            if dataset.neurons and wanted in (dataset.neurons.checkpoints or by_name):
                sets[wanted].append(NeuronSet.of(features, dataset.neurons))
    return tuple(job for name in by_name for job in _jobs_of(by_name[name], sets[name]))


def _check_names(key: str, wanted: Iterable[str], known: Mapping[str, Checkpoint]) -> None:
    for name in wanted:
        if name not in known:
            near = nearest(name, known)
            remedy = f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
            raise StratascopeError(f"config/config.yaml: {key}: no checkpoint {name!r}; {remedy}")


def _jobs_of(checkpoint: Checkpoint, sets: list[FeatureSet]) -> Iterator[FeatureJob]:
    shared = {item: item.dataset.jobs for item in sets if isinstance(item.dataset, StudyDataset)}
    most = max(shared.values(), default=0)
    for number in range(1, most + 1):
        parts = tuple(Part(item, number, of) for item, of in shared.items() if number <= of)
        yield FeatureJob(checkpoint, number, most, parts)
