"""What the jobs of a plan ask a scheduler for: what the study says, else what the estimate does.

It reads a checkpoint's config.json and the sizes of files, no text and no weights, so that a workflow of
thousands of runs is planned without waiting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from stratascope.errors import StratascopeError
from stratascope.store.datasets.formats import size_of
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.dataset import Dataset
from stratascope.study.estimate.asked import (
    UNKNOWN_MB,
    UNKNOWN_MINUTES,
    Asked,
    memory_mb,
    minutes,
)
from stratascope.study.estimate.planned import (
    BYTES_PER_TOKEN,
    Texts,
    captures_work,
    dataset_work,
    model_work,
    roughly,
)
from stratascope.study.estimate.work import Work
from stratascope.study.features import FeatureJob
from stratascope.study.jobs import CaptureJob
from stratascope.study.looks import LookJob
from stratascope.study.questionset import QuestionSet
from stratascope.study.runs import ReferenceSet, Run
from stratascope.study.schema import CaptureJobs, Model

# A dataset that is not read: its texts are taken to be so long, and of the hub's to be so many.
TEXT_TOKENS, LONGEST, HUB_TEXTS = 64, 2048, 100_000
# What a part of the microscope reads that makes its own tokens.
OWN_TEXTS = Texts(256, 256 * 256, 256, 0)


def asked(job: CaptureJob | FeatureJob | LookJob, root: Path, told: CaptureJobs) -> Asked:
    """What the job asks for; ``root`` is the study's folder, ``told`` its `capture`."""
    model = job.checkpoint.model
    gpus = 0 if model.device == "cpu" and model.device_map is None else told.gpus or 1
    if model.device_map is None:
        gpus = min(gpus, 1)
    if told.memory_mb is not None and told.runtime_minutes is not None:
        return Asked(told.memory_mb, told.runtime_minutes, gpus)
    work = _work(job, root)
    memory = UNKNOWN_MB if work is None else memory_mb(work)
    time = UNKNOWN_MINUTES if work is None else minutes(work, told.threads)
    return Asked(told.memory_mb or memory, told.runtime_minutes or time, gpus)


def _work(job: CaptureJob | FeatureJob | LookJob, root: Path) -> Work | None:
    work = _model(job.checkpoint)
    if work is None:
        return None
    if isinstance(job, CaptureJob):
        wanted: list[ReferenceSet | Run | QuestionSet] = [*job.references, *job.runs]
        wanted += job.questions
        return captures_work(work, wanted, roughly)
    if isinstance(job, LookJob):
        return dataset_work(work, Dataset(data="tokens of its own"), OWN_TEXTS)
    for part in job.parts:
        texts = texts_of(part.features.dataset, root).part(part.of)
        work = dataset_work(work, part.features.dataset, texts)
    return work


@lru_cache(maxsize=1024)
def _model(checkpoint: Checkpoint) -> Work | None:
    """The checkpoint's sizes; none if its config.json is not here or says nothing that is known."""
    config = _config(checkpoint)
    model = checkpoint.model
    if config is None:
        return None
    try:
        return model_work(checkpoint, config, "cuda" if _on_gpu(model) else "cpu")
    except StratascopeError:
        return None


def _on_gpu(model: Model) -> bool:
    return model.device_map is not None or model.device != "cpu"


def _config(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    """The config.json of a folder, or of a hub model that was downloaded before."""
    path = Path(checkpoint.source) / "config.json"
    if not checkpoint.is_local:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(
            checkpoint.source, "config.json", revision=checkpoint.revision
        )
        path = Path(found if isinstance(found, str) else "config.json.none")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def texts_of(dataset: Dataset, root: Path) -> Texts:
    """How much there is to read, from the files' sizes: four bytes a token, or those of token ids."""
    size = size_of(dataset, root)
    if size is None:
        count = dataset.max_samples or HUB_TEXTS
        return Texts(count, count * TEXT_TOKENS, LONGEST, count * TEXT_TOKENS * BYTES_PER_TOKEN)
    if dataset.sequence is not None:
        tokens = size // {"uint16": 2, "int64": 8}.get(dataset.token_dtype, 4)
        count = max(1, tokens // dataset.sequence)
        longest = dataset.sequence
    else:
        tokens = -(-size // BYTES_PER_TOKEN)
        count, longest = max(1, tokens // TEXT_TOKENS), min(tokens, LONGEST)
    if dataset.max_samples is not None and dataset.max_samples < count:
        tokens = tokens * dataset.max_samples // count
        count = dataset.max_samples
    return Texts(count, tokens, max(1, min(longest, tokens)), size)
