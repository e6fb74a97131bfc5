"""Before the weights are loaded: what a job will take, and whether there is room for it.

A job without room is refused here, with the settings that would make it fit; nothing was loaded and
nothing written yet. The arithmetic is ``study.estimate``.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stratascope.capture import prompts
from stratascope.capture.free import free_disk, free_ram
from stratascope.errors import StratascopeError
from stratascope.store.datasets.rows import Row, Source
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.estimate.cost import Estimate, estimate
from stratascope.study.estimate.planned import (
    Count,
    Texts,
    captures_work,
    dataset_work,
    model_work,
    roughly,
)
from stratascope.study.estimate.room import Amount, Room, as_option, needs, refusal
from stratascope.study.estimate.work import Device, Work
from stratascope.study.features import FeatureSet
from stratascope.study.questionset import QuestionSet
from stratascope.study.runs import ReferenceSet, Run
from stratascope.study.schema import Limits, Message, Model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Say = Callable[[str], None]
Wanted = Run | ReferenceSet | QuestionSet

# Left free beside what a job is known to need, for logs, tables and everybody else.
SPARE_BYTES = 50_000_000
# How many texts of a dataset are read to know how long its texts are.
SAMPLE = 200


def check_captures(
    checkpoint: Checkpoint,
    wanted: Sequence[Wanted],
    folder: Path,
    limits: Limits,
    say: Say,
) -> PreTrainedTokenizerBase:
    """Say what capturing ``wanted`` below ``folder`` needs, and refuse it without room.

    Returns the tokenizer, which is loaded for that.

    Raises:
        StratascopeError: too little memory or disk, with the settings that would make it fit.
    """
    from stratascope.capture.loading import load_tokenizer

    model = _model(checkpoint)
    tokenizer = load_tokenizer(checkpoint)
    work = captures_work(model, wanted, counter(tokenizer))
    _require(checkpoint.name, work, _room(model.device, folder, limits), say)
    return tokenizer


def check_features(
    features: FeatureSet,
    source: Source,
    folder: Path,
    say: Say,
    *,
    part: tuple[int, int] = (1, 1),
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    options: bool = False,
) -> PreTrainedTokenizerBase:
    """Say what extracting ``source`` into ``folder`` needs, and refuse it without room.

    ``part`` (i, k): this job makes the i-th of k parts. Lengths are taken from ``SAMPLE`` texts. What
    lies in ``folder`` already needs no room again. ``options``: settings are written as options of the
    command line. Returns the tokenizer, which is loaded for that.

    Raises:
        StratascopeError: too little memory or disk, with the settings that would make it fit.
    """
    from stratascope.capture.loading import load_tokenizer

    model = _model(features.checkpoint)
    tokenizer = load_tokenizer(features.checkpoint)
    texts = measure(source, tokenizer, features.dataset.generation_prompt)
    work = dataset_work(model, features.dataset, texts.part(part[1]), features.counted)
    there = sum(path.stat().st_size for path in folder.glob("*")) if folder.is_dir() else 0
    room = _room(model.device, folder, limits, there // part[1])
    _require(features.label, work, room, say, as_option if options else str)
    return tokenizer


def check_disk(label: str, need: int, folder: Path, limits: Limits) -> None:
    """Refuse what the loaded model turned out to need, where that was not known before.

    Raises:
        StratascopeError: more than there is.
    """
    lacking = _room("cpu", folder, limits).lacking(Estimate(None, None, need, 0, None))
    if lacking:
        raise StratascopeError(f"{label}: {lacking[0]}; make room, or capture less")


def counter(tokenizer: PreTrainedTokenizerBase) -> Count:
    """Counts the tokens of a conversation as a run reads it.

    One that the chat template refuses counts nothing here: it will be refused by name.
    """

    def count(messages: Sequence[Message]) -> int:
        try:
            return len(prompts.tokenize(tokenizer, prompts.render(tokenizer, messages)).ids)
        except StratascopeError:
            return 1

    return count


def measure(
    source: Source, tokenizer: PreTrainedTokenizerBase | None, generation_prompt: bool = False
) -> Texts:
    """How many texts there are, and how long: exact for up to ``SAMPLE`` of them.

    Of more, one in each of ``SAMPLE`` equal parts is read; the totals are the mean and two standard
    errors times their number, the longest is the longest of those read. Bad rows count as the others
    do. Without a tokenizer, tokens are guessed from bytes.
    """
    total = source.count()
    rows = [row for number in _spread(total) for row in source.read(number, number + 1)]
    sizes = [_size(row, tokenizer, generation_prompt) for row in rows if isinstance(row, Row)]
    if not sizes:
        return Texts(total, 0, 0, 0)
    tokens, size = ([pair[i] for pair in sizes] for i in (0, 1))
    return Texts(total, _sum(tokens, total), max(tokens), _sum(size, total))


def _spread(total: int) -> Iterator[int]:
    """All numbers below ``total``, or a random one out of each of ``SAMPLE`` equal parts."""
    draw = random.Random(0).random  # noqa: S311 (a sample, not a secret)
    parts = min(total, SAMPLE)
    for i in range(parts):
        start, stop = i * total // parts, (i + 1) * total // parts
        yield start + int(draw() * (stop - start))


def _size(
    row: Row, tokenizer: PreTrainedTokenizerBase | None, generation_prompt: bool
) -> tuple[int, int]:
    """Tokens and bytes of a text; nothing of one that will be refused."""
    if row.ids is not None:
        return len(row.ids), 0
    if tokenizer is None:
        messages = row.messages or (Message(role="user", content=row.text or ""),)
        return roughly(messages), sum(len(m.content.encode(errors="replace")) for m in messages)
    text, special = row.text or "", True
    if row.messages is not None:
        special = not prompts.has_template(tokenizer)
        try:
            text = prompts.render(tokenizer, row.messages, generation_prompt)
        except prompts.TemplateRefusalError:
            return 0, 0
    ids = tokenizer(text, add_special_tokens=special, truncation=False, verbose=False)["input_ids"]
    return len(ids), len(text.encode(errors="replace"))


def _sum(values: Sequence[int], total: int) -> int:
    """The sum over ``total`` items of which ``values`` are some."""
    mean = statistics.fmean(values)
    if len(values) >= total or len(values) < 2:
        return round(mean * total)
    return math.ceil((mean + 2 * statistics.stdev(values) / math.sqrt(len(values))) * total)


def _model(checkpoint: Checkpoint) -> Work:
    from stratascope.capture.loading import load_config

    config = load_config(checkpoint).to_dict()
    return model_work(checkpoint, config, _device(checkpoint.model))


def _device(model: Model) -> Device:
    """The kind of device that the model will run on.

    Raises:
        StratascopeError: one that this machine does not have.
    """
    from stratascope.capture.loading import pick_device

    wanted = pick_device("auto" if model.device_map is not None else model.device)
    found: Device = wanted.type  # type: ignore[assignment]
    return found


def _room(device: Device, folder: Path, limits: Limits, there: int = 0) -> Room:
    """What a job may take; ``there`` bytes in ``folder`` are its own already."""
    ram, disk = Amount(free_ram()), Amount(free_disk(folder) + there, spare=SPARE_BYTES)
    if limits.disk_gb is not None and limits.disk_gb * 1e9 < disk.bytes:
        disk = Amount(round(limits.disk_gb * 1e9), "allowed (limits.disk_gb)")
    memory = None
    if limits.memory_gb is not None:
        memory = Amount(round(limits.memory_gb * 1e9), "allowed (limits.memory_gb)")
    if device != "cuda":
        return Room(memory or ram, disk)
    import torch

    # What this process has reserved already is still its own.
    free = [
        torch.cuda.mem_get_info(i)[0] + torch.cuda.memory_reserved(i)
        for i in range(torch.cuda.device_count())
    ]
    one = Amount(free[torch.cuda.current_device()])
    return Room(ram, disk, memory or one, memory or Amount(sum(free)))


def _require(
    label: str, work: Work, room: Room, say: Say, written: Callable[[str], str] = str
) -> None:
    """Say what ``work`` needs; refuse it if that is more than there is.

    Raises:
        StratascopeError: what is not enough, and the settings that would make it fit.
    """
    wanted = estimate(work)
    say(f"{label}: {needs(wanted, room)}")
    refused = refusal(work, wanted, room, written)
    if refused is not None:
        raise StratascopeError(f"{label}: {refused}")
