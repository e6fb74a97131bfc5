"""Conversations as tensors: token ids, and the weight that each predicted token has in the loss."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from transformers import PreTrainedTokenizerBase

from stratascope.demo.grammar import Conversation


@dataclass(frozen=True)
class Example:
    """One conversation: its token ids, and for each whether the assistant is to say it."""

    ids: tuple[int, ...]
    spoken: tuple[bool, ...]


@dataclass(frozen=True)
class Batch:
    """`ids` and `spoken` (rows, tokens), padded right; `real` marks what is not padding."""

    ids: torch.Tensor
    spoken: torch.Tensor
    real: torch.Tensor


def encode(
    conversations: list[Conversation], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Example]:
    """Token ids as the chat template renders them, cut at `max_length` tokens.

    An assistant's content and the end token after it count as spoken, its role token does not.
    """
    flat = [message for talk in conversations for message in talk.messages]
    contents = iter(
        tokenizer([message.content for message in flat], add_special_tokens=False)["input_ids"]
    )
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    examples = []
    for talk in conversations:
        ids: list[int] = []
        spoken: list[bool] = []
        for message in talk.messages:
            content = next(contents)
            ids += [tokenizer.convert_tokens_to_ids(f"<|{message.role}|>"), *content, end]
            spoken += [False, *[message.role == "assistant"] * (len(content) + 1)]
        examples.append(Example(tuple(ids[:max_length]), tuple(spoken[:max_length])))
    return examples


def pad(examples: list[Example], pad_id: int) -> Batch:
    """One batch of the examples, padded right with `pad_id` to the longest."""
    width = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), width), pad_id, dtype=torch.long)
    spoken = torch.zeros(ids.shape, dtype=torch.bool)
    real = torch.zeros(ids.shape, dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        spoken[row, : len(example.ids)] = torch.tensor(example.spoken)
        real[row, : len(example.ids)] = True
    return Batch(ids, spoken, real)


def group(examples: list[Example], pad_id: int, tokens: int) -> list[Batch]:
    """Batches of similar lengths, at most `tokens` tokens each with padding, shortest first."""
    batches: list[Batch] = []
    waiting: list[Example] = []
    for example in sorted(examples, key=lambda one: (len(one.ids), one.ids)):
        if waiting and (len(waiting) + 1) * len(example.ids) > tokens:
            batches.append(pad(waiting, pad_id))
            waiting = []
        waiting.append(example)
    return [*batches, pad(waiting, pad_id)] if waiting else batches


def stream(
    conversations: Iterator[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    tokens: int,
    rng: random.Random,
    pool: int = 400,
) -> Iterator[Batch]:
    """Batches in random order, each conversation once; `pool` of them are sorted at a time."""
    while drawn := list(islice(conversations, pool)):
        batches = group(encode(drawn, tokenizer, max_length), tokenizer.pad_token_id, tokens)
        rng.shuffle(batches)
        yield from batches
