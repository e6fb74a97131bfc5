"""What a model may be given in a notebook: texts, conversations, token ids; as one padded batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from stratascope.capture import prompts
from stratascope.errors import StratascopeError
from stratascope.study.schema import Message
from stratascope.study.validate import validate

_KINDS = "a text, a list of texts, a conversation (a list of messages) or several, or token ids"


@dataclass(frozen=True)
class Text:
    """One text as the model reads it; the text itself is not known of bare token ids."""

    ids: list[int]
    text: str | None


def read_texts(
    given: Any,
    tokenizer: PreTrainedTokenizerBase | None,
    limit: int | None,
    generation_prompt: bool = False,
) -> list[Text]:
    """The texts that ``given`` holds, tokenised.

    A text is tokenised as the tokenizer does by default; a conversation, whose messages are dicts with
    role and content, is rendered with the chat template first. ``limit``: tokens of the model's context.

    Raises:
        StratascopeError: something else, an empty text, or one longer than the context.
    """
    read = [_text(item, tokenizer, generation_prompt) for item in items_of(given)]
    for number, text in enumerate(read):
        if not text.ids:
            raise StratascopeError(f"text {number} has no tokens; write something, or leave it out")
        if limit is not None and len(text.ids) > limit:
            raise StratascopeError(
                f"text {number} has {len(text.ids)} tokens, and the model's context holds {limit}; "
                "shorten it"
            )
    return read


def one_prompt(
    given: Any, tokenizer: PreTrainedTokenizerBase | None, limit: int | None, method: str
) -> Text:
    """The one text that a ``method`` of the model goes on from.

    Raises:
        StratascopeError: more than one, or as ``read_texts``.
    """
    texts = read_texts(given, tokenizer, limit, generation_prompt=True)
    if len(texts) != 1:
        raise StratascopeError(
            f"{method}: one prompt at a time (found {len(texts)}): "
            f"`[model.{method}(prompt) for prompt in prompts]`"
        )
    return texts[0]


def padded(texts: Sequence[Text], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (texts, tokens): padded on the right with the token ``padding``."""
    longest = max(len(text.ids) for text in texts)
    ids = torch.full((len(texts), longest), padding)
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = torch.tensor(text.ids)
        mask[row, : len(text.ids)] = True
    return ids, mask


def is_text(given: Any) -> bool:
    """Whether ``given`` is for the tokenizer or the embeddings, and not for any other module."""
    if isinstance(given, (torch.Tensor, np.ndarray)):
        whole = torch.as_tensor(given).dtype in (torch.int64, torch.int32, torch.int16, torch.uint8)
        return whole and given.ndim in (1, 2)
    return isinstance(given, (str, Iterable)) and not isinstance(given, Mapping)


def items_of(given: Any) -> list[Any]:
    """One item a text: a string, a list of messages, or a list of token ids.

    Raises:
        StratascopeError: nothing at all.
    """
    if isinstance(given, (torch.Tensor, np.ndarray)):
        rows: Any = given.tolist()
        return [rows] if given.ndim == 1 else rows
    items = [given] if isinstance(given, str) else list(given)
    if not items:
        raise StratascopeError(f"nothing to read: give {_KINDS}")
    alone = isinstance(items[0], (Mapping, Message)) or _is_number(items[0])
    return [items] if alone else items


def messages_of(item: Any) -> tuple[Message, ...] | None:
    """The messages of a conversation; none if the item is a list of token ids.

    Raises:
        StratascopeError: neither, or a message without role and content.
    """
    parts = item.tolist() if isinstance(item, (torch.Tensor, np.ndarray)) else item
    if isinstance(parts, (str, Mapping)) or not isinstance(parts, Iterable):
        raise StratascopeError(f"cannot read {type(item).__name__}: give {_KINDS}")
    parts = list(parts)
    if all(map(_is_number, parts)):
        return None
    if not all(isinstance(part, (Mapping, Message)) for part in parts):
        raise StratascopeError(f"cannot read a list of {type(parts[0]).__name__}: give {_KINDS}")
    return tuple(
        part if isinstance(part, Message) else validate(Message, dict(part), "message")
        for part in parts
    )


def _text(item: Any, tokenizer: PreTrainedTokenizerBase | None, generation_prompt: bool) -> Text:
    messages = None if isinstance(item, str) else messages_of(item)
    if messages is None and not isinstance(item, str):
        return Text([int(number) for number in item], None)
    if tokenizer is None:
        raise StratascopeError(
            "this model came without a tokenizer, so it reads token ids only; give it one with "
            "`ss.wrap(model, tokenizer)`"
        )
    if messages is None:
        return Text(list(tokenizer(item, verbose=False)["input_ids"]), item)
    tokens = prompts.tokenize(tokenizer, prompts.render(tokenizer, messages, generation_prompt))
    return Text(tokens.ids, tokens.text)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
