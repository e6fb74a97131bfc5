"""What is computed from features: probes of each feature set, similarity over those of a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from stratascope.study.dataset import Probes, Similarity, StudyDataset
from stratascope.study.digest import digest
from stratascope.study.features import FeatureJob, FeatureSet
from stratascope.study.stages import version


@dataclass(frozen=True)
class ProbeJob:
    """The probes of one dataset on one checkpoint. ``after`` are the jobs that extract its features."""

    features: FeatureSet
    after: tuple[FeatureJob, ...]
    spec: Probes
    labels: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """The hash of what the probes are fitted to, and how."""
        return digest(
            {
                "stage": ["probes", version("probes")],
                "features": self.features.digest,
                "spec": self.spec.model_dump(mode="json", exclude={"labels"}),
                "labels": self.labels,
                "groups": self.features.dataset.groups,
            }
        )

    @property
    def name(self) -> str:
        """Its files in results/probes, without the suffix."""
        return f"{self.features.label}-{self.digest}"


@dataclass(frozen=True)
class SimilarityJob:
    """How alike the checkpoints represent one dataset, in the order of the study."""

    dataset: str
    sets: tuple[FeatureSet, ...]
    after: tuple[FeatureJob, ...]
    spec: Similarity

    @cached_property
    def digest(self) -> str:
        """The hash of what is compared, and how."""
        return digest(
            {
                "stage": ["similarity", version("similarity")],
                "features": [item.folder for item in self.sets],
                "spec": self.spec.model_dump(mode="json"),
                "groups": self.sets[0].dataset.groups,
            }
        )

    @property
    def name(self) -> str:
        """Its files in results/similarity, without the suffix."""
        return f"{self.dataset}-{self.digest}"


def probe_jobs(jobs: Iterable[FeatureJob]) -> tuple[ProbeJob, ...]:
    """A job for every feature set with labels to probe. Token rows have no label of their own."""
    found = []
    for features, after in _by_set(jobs).items():
        dataset = features.dataset
        assert isinstance(dataset, StudyDataset)
        if isinstance(dataset.probes, Probes) and dataset.pooled:
            labels = dataset.labels if dataset.probes.labels is None else dataset.probes.labels
            if labels:
                found.append(ProbeJob(features, after, dataset.probes, labels))
    return tuple(found)


def similarity_jobs(jobs: Iterable[FeatureJob]) -> tuple[SimilarityJob, ...]:
    """A job for every dataset with one row a text."""
    by_set = _by_set(jobs)
    found = []
    for name in dict.fromkeys(features.name for features in by_set):
        sets = tuple(features for features in by_set if features.name == name)
        dataset = sets[0].dataset
        assert isinstance(dataset, StudyDataset)
        if isinstance(dataset.similarity, Similarity) and dataset.pooled:
            after = tuple(dict.fromkeys(job for features in sets for job in by_set[features]))
            found.append(SimilarityJob(name, sets, after, dataset.similarity))
    return tuple(found)


def _by_set(jobs: Iterable[FeatureJob]) -> dict[FeatureSet, tuple[FeatureJob, ...]]:
    found: dict[FeatureSet, tuple[FeatureJob, ...]] = {}
    for job in jobs:
        for part in job.parts:
            found[part.features] = (*found.get(part.features, ()), job)
    return found
