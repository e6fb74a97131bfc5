"""From what a study plans to the numbers of its work, given how many tokens a conversation has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stratascope.study.batches import CPU_TOKENS, GPU_TOKENS, QUESTION_TOKENS, cpu_tokens
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.dataset import Dataset
from stratascope.study.estimate.families import shape_of
from stratascope.study.estimate.shape import Shape
from stratascope.study.estimate.work import Device, Files, ReferenceWork, RunWork, TextWork, Work
from stratascope.study.questionset import QuestionSet
from stratascope.study.runs import ReferenceSet, Run
from stratascope.study.schema import Message

# How many tokens a conversation has as the model reads it, generation prompt included.
Count = Callable[[Sequence[Message]], int]

# Without a tokenizer: a token for so many bytes of UTF-8, and so many around each message.
BYTES_PER_TOKEN = 4
TEMPLATE_TOKENS = 8


def roughly(messages: Sequence[Message]) -> int:
    """Tokens of a conversation, guessed from its bytes."""
    size = sum(len(message.content.encode()) for message in messages)
    return -(-size // BYTES_PER_TOKEN) + TEMPLATE_TOKENS * (len(messages) + 1)


def model_work(checkpoint: Checkpoint, config: Mapping[str, Any], device: Device) -> Work:
    """The numbers of a checkpoint, with nothing to do; ``config`` is its config.json."""
    folder = Path(checkpoint.source) if checkpoint.is_local else None
    return Work(shape_of(config), Files.of(config, folder), checkpoint.model, device)


def captures_work(
    model: Work, wanted: Sequence[Run | ReferenceSet | QuestionSet], count: Count
) -> Work:
    """``model`` with all that one process is to capture of it."""
    return replace(
        model,
        runs=tuple(run_work(item, count) for item in wanted if isinstance(item, Run)),
        references=tuple(
            reference_work(item, count) for item in wanted if isinstance(item, ReferenceSet)
        ),
        texts=tuple(question_work(item, count) for item in wanted if isinstance(item, QuestionSet)),
    )


def run_work(run: Run, count: Count) -> RunWork:
    """The numbers of a run."""
    return RunWork(
        run.capture, count(run.messages), run.generation.max_new_tokens, len(run.messages)
    )


def reference_work(references: ReferenceSet, count: Count) -> ReferenceWork:
    """The numbers of a reference set."""
    conversations = [reference.messages for reference in references.references]
    characters = sum(len(message.content) for some in conversations for message in some)
    lengths = tuple(map(count, conversations))
    return ReferenceWork(lengths, len(references.positions), references.layers, characters)


def question_work(questions: QuestionSet, count: Count) -> TextWork:
    """The numbers of a file of questions: each is read, its choices or answers are scored."""
    scenario = questions.scenario
    lengths, size, scored = [], 0, 0
    for _, question in scenario.named:
        messages = scenario.messages(question)
        lengths.append(count(messages))
        texts = question.choices or question.answer
        size += sum(len(message.content.encode()) for message in messages)
        size += 3 * sum(len(text.encode()) for text in texts)
        scored += sum(-(-len(text.encode()) // BYTES_PER_TOKEN) for text in texts)
    longest, total = max(lengths), sum(lengths)
    capture = scenario.capture
    return TextWork(
        sites=capture.sites,
        modules=capture.modules,
        layers=capture.layers,
        pooled=True,
        store_dtype=capture.store_dtype,
        texts=len(lengths),
        tokens=total + scored,
        longest=longest,
        text_bytes=size,
        batch=max(longest, min(total, QUESTION_TOKENS)),
        new=scenario.generation.max_new_tokens,
    )


@dataclass(frozen=True)
class Texts:
    """How many texts a dataset has, and their tokens: of all together, and of the longest.

    ``bytes`` of all texts in UTF-8.
    """

    count: int
    tokens: int
    longest: int
    bytes: int

    def part(self, parts: int) -> Texts:
        """What one of ``parts`` equal jobs reads."""
        count, tokens, size = (-(-n // parts) for n in (self.count, self.tokens, self.bytes))
        return Texts(count, tokens, self.longest, size)


def dataset_work(model: Work, dataset: Dataset, texts: Texts, counted: int = 0) -> Work:
    """``model`` with the extraction of one more dataset; ``counted`` as in ``NeuronSet``."""
    batch = _batch(dataset, model.shape, model.device)
    work = TextWork(
        sites=dataset.sites,
        modules=dataset.modules,
        layers=dataset.layers,
        pooled=dataset.pooled,
        store_dtype=dataset.store_dtype,
        texts=texts.count,
        tokens=texts.tokens,
        longest=texts.longest,
        text_bytes=texts.bytes,
        batch=max(texts.longest, min(texts.tokens, batch)),
        counted=counted,
        shards=-(-texts.count // dataset.shard_texts),
    )
    return replace(model, texts=(*model.texts, work))


def _batch(dataset: Dataset, shape: Shape | None, device: Device) -> int:
    if device == "cuda":
        # A GPU's batches grow into what memory is free, and shrink where there is none.
        return GPU_TOKENS[0]
    if shape is None:
        return CPU_TOKENS[0]
    return cpu_tokens(shape.hidden, shape.vocabulary if "logits" in dataset.sites else 0)
