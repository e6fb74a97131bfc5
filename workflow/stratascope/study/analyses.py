"""What is computed from features: probes of each feature set, similarity over those of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from stratascope.errors import StratascopeError
from stratascope.study.dataset import Probes, Similarity, StudyDataset
from stratascope.study.digest import digest
from stratascope.study.features import FeatureJob, FeatureSet, NeuronSet
from stratascope.study.jobs import CaptureJob
from stratascope.study.runs import Run
from stratascope.study.stages import version

# So many conversations are read token by token.
CONVERSATIONS = 4


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
                "spec": self.spec.model_dump(mode="json", exclude={"labels", "transfer"}),
                "labels": self.labels,
                "groups": self.features.dataset.groups,
            }
        )

    @property
    def name(self) -> str:
        """Its files in results/probes, without the suffix."""
        return f"{self.features.label}-{self.digest}"


@dataclass(frozen=True)
class ReadingJob:
    """The probes of a dataset, applied to every token of some runs of their checkpoint."""

    probes: ProbeJob
    runs: tuple[Run, ...]
    after: tuple[CaptureJob, ...]

    @cached_property
    def digest(self) -> str:
        """The hash of the probes and of what they read."""
        return digest(
            {
                "stage": ["readings", version("readings")],
                "probes": self.probes.digest,
                "runs": [run.folder for run in self.runs],
            }
        )

    @property
    def name(self) -> str:
        """Its file in results/readings, without the suffix."""
        return f"{self.probes.features.label}-{self.digest}"


@dataclass(frozen=True)
class TransferJob:
    """Probes of one dataset's labels, judged on other checkpoints, layers or datasets (``others``)."""

    dataset: str
    sets: tuple[FeatureSet, ...]
    after: tuple[FeatureJob, ...]
    spec: Probes
    labels: tuple[str, ...]
    others: tuple[FeatureSet, ...] = ()

    @cached_property
    def digest(self) -> str:
        """The hash of what the probes are fitted to and judged on, and how."""
        return digest(
            {
                "stage": ["transfer", version("transfer")],
                "features": [item.folder for item in self.sets],
                "spec": self.spec.model_dump(mode="json", exclude={"labels"}),
                "labels": self.labels,
                "groups": self.sets[0].dataset.groups,
                "others": [[item.folder, item.dataset.groups] for item in self.others],
            }
        )

    @property
    def name(self) -> str:
        """Its file in results/transfer, without the suffix."""
        return f"{self.dataset}-{self.digest}"


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
    return tuple(
        ProbeJob(features, after, spec, labels)
        for features, after in _by_set(jobs).items()
        if (spec := _spec(features).probes) and (labels := _labels(features))
    )


def reading_jobs(
    probes: Iterable[ProbeJob], captures: Iterable[CaptureJob]
) -> tuple[ReadingJob, ...]:
    """A job for all probes of a checkpoint with conversations whose residual stream was captured.

    Of each scenario file the longest conversation is read, of at most `CONVERSATIONS` of them.
    """
    captures = tuple(captures)
    found = []
    for job in probes:
        after = tuple(c for c in captures if c.checkpoint == job.features.checkpoint)
        longest: dict[str, Run] = {}
        for run in sorted((r for c in after for r in c.runs), key=lambda r: len(r.messages)):
            if run.capture.hidden_states and run.capture.layers == "all":
                longest[run.parent] = run
        runs = tuple(longest[name] for name in sorted(longest)[:CONVERSATIONS])
        if runs and set(job.features.dataset.sites) <= {"hidden_in", "hidden_out"}:
            made = {run.folder for run in runs}
            needed = tuple(c for c in after if made & {run.folder for run in c.runs})
            found.append(ReadingJob(job, runs, needed))
    return tuple(found)


def transfer_jobs(jobs: Iterable[FeatureJob]) -> tuple[TransferJob, ...]:
    """A job for every dataset whose probes are to be judged elsewhere, too.

    Raises:
        StratascopeError: judged on other datasets, and none has one of its labels.
    """
    every = list(_by_dataset(jobs))
    found = []
    for name, sets, after in every:
        spec, labels = _spec(sets[0]).probes, _labels(sets[0])
        if not spec or not spec.transfer or not labels:
            continue
        others: tuple[FeatureSet, ...] = ()
        if "datasets" in spec.transfer:
            others = _with_a_label(
                sets[-1], labels, [item for _, each, _ in every for item in each]
            )
            made = (job for _, each, jobs in every if {*each} & {*others} for job in jobs)
            after = tuple(dict.fromkeys((*after, *made)))
        found.append(TransferJob(name, sets, after, spec, labels, others))
    return tuple(found)


def _with_a_label(
    own: FeatureSet, labels: Sequence[str], every: Sequence[FeatureSet]
) -> tuple[FeatureSet, ...]:
    """The other datasets on the same checkpoint that carry one of these labels, a row a text."""
    found = tuple(
        item
        for item in every
        if item.name != own.name
        and item.checkpoint == own.checkpoint
        and item.dataset.pooled
        and {*labels} & {*item.dataset.labels}
    )
    if not found:
        raise StratascopeError(
            f"datasets.{own.name}.probes.transfer: no other dataset on {own.checkpoint.name} has "
            f"a label {' or '.join(labels)}; give one the same label, or leave `datasets` out"
        )
    return found


def similarity_jobs(jobs: Iterable[FeatureJob]) -> tuple[SimilarityJob, ...]:
    """A job for every dataset with one row a text."""
    return tuple(
        SimilarityJob(name, sets, after, spec)
        for name, sets, after in _by_dataset(jobs)
        if (spec := _spec(sets[0]).similarity) and sets[0].dataset.pooled
    )


def _spec(features: FeatureSet) -> StudyDataset:
    assert isinstance(features.dataset, StudyDataset)  # a study's feature sets are made from these
    return features.dataset


def _labels(features: FeatureSet) -> tuple[str, ...]:
    dataset = _spec(features)
    if not dataset.probes or not dataset.pooled:
        return ()
    return dataset.labels if dataset.probes.labels is None else dataset.probes.labels


def _by_set(jobs: Iterable[FeatureJob]) -> dict[FeatureSet, tuple[FeatureJob, ...]]:
    found: dict[FeatureSet, tuple[FeatureJob, ...]] = {}
    for job in jobs:
        for part in job.parts:
            if isinstance(part.features, NeuronSet):
                continue  # which have jobs of their own
            found[part.features] = (*found.get(part.features, ()), job)
    return found


def _by_dataset(
    jobs: Iterable[FeatureJob],
) -> Iterator[tuple[str, tuple[FeatureSet, ...], tuple[FeatureJob, ...]]]:
    """Each dataset, its feature sets in the order of checkpoints, and the jobs that extract them."""
    by_set = _by_set(jobs)
    for name in dict.fromkeys(features.name for features in by_set):
        sets = tuple(features for features in by_set if features.name == name)
        yield name, sets, tuple(dict.fromkeys(job for item in sets for job in by_set[item]))
