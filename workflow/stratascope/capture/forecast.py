"""``stratascope estimate``: what a study's jobs, or texts on one model, will take. Loads no weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stratascope.capture.budget import Wanted, counter, measure
from stratascope.errors import StratascopeError
from stratascope.store.datasets import open_dataset, sampled
from stratascope.store.runs import read_json
from stratascope.study.checkpoints import Checkpoint, is_hub_id, local_folder
from stratascope.study.dataset import Dataset
from stratascope.study.estimate.cost import estimate
from stratascope.study.estimate.planned import (
    Texts,
    captures_work,
    dataset_work,
    model_work,
    roughly,
)
from stratascope.study.estimate.room import Amount, Room, refusal
from stratascope.study.estimate.work import Device, Work
from stratascope.study.features import FeatureJob
from stratascope.study.jobs import CaptureJob
from stratascope.study.plan import Plan
from stratascope.study.schema import Limits, Model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A folder with one of these has a tokenizer.
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")


@dataclass(frozen=True)
class Forecast:
    """A job: the checkpoint, what it does in words, and in numbers."""

    checkpoint: str
    what: str
    work: Work

    def row(self, show: Callable[[int], object]) -> dict[str, Any]:
        """What the job takes; ``show`` says how bytes stand there. Unknown is ``None``."""
        found, shape = estimate(self.work), self.work.shape
        memory = None if found.memory is None else found.memory.gpu or found.memory.ram
        sizes = {"weights": found.weights, "memory": memory, "disk": found.disk}
        return {
            "checkpoint": self.checkpoint,
            "what": self.what,
            "parameters": None if shape is None else shape.parameters,
            **{name: None if size is None else show(size) for name, size in sizes.items()},
            "tokens": found.tokens,
            "flops": None if found.flops is None else float(found.flops),
        }


def study_forecasts(plan: Plan, root: Path, device: Device | None = None) -> list[Forecast]:
    """Every job of the study in ``root`` that captures or extracts, as if nothing were there yet.

    Tokens are counted by each checkpoint's tokenizer; without one, a token is taken for every four
    bytes. ``device`` is what a model runs on that does not say.

    Raises:
        StratascopeError: a model whose config.json cannot be read, or a dataset.
    """

    @cache
    def model_of(checkpoint: Checkpoint) -> Work:
        return model_work(checkpoint, _config(checkpoint), _device(checkpoint.model, device))

    @cache
    def tokenizer_of(checkpoint: Checkpoint) -> PreTrainedTokenizerBase | None:
        return _tokenizer(checkpoint)

    def captures(job: CaptureJob) -> Forecast:
        tokenizer = tokenizer_of(job.checkpoint)
        count = roughly if tokenizer is None else counter(tokenizer)
        wanted: list[Wanted] = [*job.references, *job.runs, *job.questions]
        work = captures_work(model_of(job.checkpoint), wanted, count)
        return Forecast(job.checkpoint.name, _captured(job), work)

    def features(job: FeatureJob) -> Forecast:
        work, names = model_of(job.checkpoint), []
        for part in job.parts:
            dataset = part.features.dataset
            source = sampled(open_dataset(dataset, root), dataset.max_samples, dataset.seed)
            texts = measure(source, tokenizer_of(job.checkpoint), dataset.generation_prompt)
            work = dataset_work(work, dataset, texts.part(part.of), part.features.counted)
            name = part.features.label.rpartition("@")[0]
            names.append(name + (f" {part.number}/{part.of}" if part.of > 1 else ""))
        return Forecast(job.checkpoint.name, f"features of {', '.join(names)}", work)

    return [*map(captures, plan.captures), *map(features, plan.features)]


def text_forecast(
    model: Model, root: Path, dataset: Dataset, texts: Texts, device: Device | None = None
) -> Forecast:
    """The features of ``texts`` on a model, of which a config.json is enough.

    Raises:
        StratascopeError: no such model, or a config.json that cannot be read.
    """
    file = root / Path(model.id).expanduser()
    folder = file.parent.resolve() if file.is_file() else local_folder(model, root)
    if folder is None and not is_hub_id(model):
        raise StratascopeError(
            f"{model.id}: no model folder, no config.json and no hub id (looked in {root.resolve()})"
        )
    source = model.id if folder is None else str(folder)
    revision = None if folder is not None else model.revision or "main"
    checkpoint = Checkpoint(model.id, model, source, revision, "")
    config = read_json(file) if file.is_file() else _config(checkpoint)
    work = model_work(checkpoint, config, _device(model, device))
    return Forecast(
        model.id, f"features of {texts.count} texts", dataset_work(work, dataset, texts)
    )


def refusals(forecasts: Iterable[Forecast], limits: Limits) -> list[str]:
    """For each job that ``limits`` do not allow: what is too much, and how it would fit."""
    memory = _allowed(limits.memory_gb, "allowed (memory_gb)")
    room = Room(memory, _allowed(limits.disk_gb, "allowed (disk_gb)"), memory, memory)
    found = []
    for item in forecasts:
        refused = refusal(item.work, estimate(item.work), room)
        if refused is not None:
            found.append(f"{item.checkpoint}: {item.what}: {refused}")
    return found


def _allowed(gigabytes: float | None, why: str) -> Amount:
    return Amount(sys.maxsize if gigabytes is None else round(gigabytes * 1e9), why)


def _captured(job: CaptureJob) -> str:
    counts = {"runs": job.runs, "reference sets": job.references, "question sets": job.questions}
    listed = (f"{len(found)} {name}" for name, found in counts.items() if found)
    shard = f" ({job.shard + 1}/{job.shards})" if job.shards > 1 else ""
    return ", ".join(listed) + shard


def _config(checkpoint: Checkpoint) -> Mapping[str, Any]:
    path = Path(checkpoint.source) / "config.json"
    if checkpoint.is_local and path.is_file():
        return dict(read_json(path))
    from stratascope.capture.loading import load_config

    config: dict[str, Any] = load_config(checkpoint).to_dict()
    return config


def _tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase | None:
    folder = Path(checkpoint.source)
    if checkpoint.is_local and not any((folder / name).is_file() for name in TOKENIZERS):
        return None
    from stratascope.capture.loading import load_tokenizer

    return load_tokenizer(checkpoint)


def _device(model: Model, wanted: Device | None) -> Device:
    """Where a model is taken to run: this machine is not asked, so that the answer is the same on any."""
    if model.device_map is not None:
        return wanted or "cuda"
    return (wanted or "cpu") if model.device == "auto" else model.device
