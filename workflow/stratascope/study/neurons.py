"""What is computed from a dataset's neurons: their distributions, and what they tell of its labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from stratascope.study.dataset import Neurons, StudyDataset
from stratascope.study.digest import digest
from stratascope.study.features import FeatureJob, NeuronSet
from stratascope.study.stages import version


@dataclass(frozen=True)
class SelectivityJob:
    """The neurons of one dataset on one checkpoint. ``after`` are the jobs that count them."""

    neurons: NeuronSet
    after: tuple[FeatureJob, ...]
    spec: Neurons
    labels: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """The hash of what the neurons did, and of what is asked of them."""
        return digest(
            {
                "stage": ["selectivity", version("selectivity")],
                "neurons": self.neurons.digest,
                "spec": self.spec.model_dump(mode="json", include={"pool", "permutations", "seed"}),
                "labels": self.labels,
                "groups": self.neurons.dataset.groups,
            }
        )

    @property
    def name(self) -> str:
        """Its files in results/neurons, without the suffix."""
        return f"{self.neurons.name}@{self.neurons.checkpoint.name}-{self.digest}"


def selectivity_jobs(jobs: Iterable[FeatureJob]) -> tuple[SelectivityJob, ...]:
    """A job for every set of neurons."""
    after: dict[NeuronSet, tuple[FeatureJob, ...]] = {}
    for job in jobs:
        for part in job.parts:
            if isinstance(part.features, NeuronSet):
                after[part.features] = (*after.get(part.features, ()), job)
    return tuple(
        SelectivityJob(neurons, jobs_before, dataset.neurons, dataset.labels)
        for neurons, jobs_before in after.items()
        if isinstance(dataset := neurons.dataset, StudyDataset) and dataset.neurons
    )
