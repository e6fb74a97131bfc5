"""Conversations as text and tokens, and where in them a message's content lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from stratascope.errors import StratascopeError
from stratascope.study.schema import Message

# Stands for a message's content while its place is looked for; templates pass it through.
_MARK = "\ue000stratascope\ue001"

Span = tuple[int, int]


class TemplateRefusalError(StratascopeError):
    """A chat template that raised an error for a conversation."""


@dataclass(frozen=True)
class Tokens:
    """A rendered conversation: its text, its token ids, and each token's characters.

    ``spans`` is ``None`` for a tokenizer that gives no character offsets.
    """

    text: str
    ids: list[int]
    spans: list[Span] | None


def has_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer brings a chat template."""
    return bool(getattr(tokenizer, "chat_template", None))


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], generation_prompt: bool = True
) -> str:
    """The conversation as the model reads it: by its chat template, else joined with newlines.

    Raises:
        TemplateRefusalError: the template raised an error, as some do without a user's turn.
    """
    if not has_template(tokenizer):
        return "\n".join(message.content for message in messages)
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=generation_prompt
        )
    except TemplateError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TemplateRefusalError(
            f"the chat template refuses this conversation: {reason}"
        ) from error
    return str(text)


def tokenize(tokenizer: PreTrainedTokenizerBase, text: str) -> Tokens:
    """Token ids of a rendered conversation.

    A chat template writes the special tokens itself, so the tokenizer adds none; without a template
    the tokenizer's defaults hold.

    Raises:
        StratascopeError: no token at all, or two beginning-of-sequence tokens in front.
    """
    encoded = tokenizer(
        text,
        add_special_tokens=not has_template(tokenizer),
        return_offsets_mapping=tokenizer.is_fast,
        return_attention_mask=False,
        verbose=False,
    )
    ids = list(encoded["input_ids"])
    if not ids:
        raise StratascopeError(
            "prompt.messages: the conversation has no tokens; write some content"
        )
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:2] == [bos, bos]:
        source = "chat template" if has_template(tokenizer) else "tokenizer"
        raise StratascopeError(
            f"prompt.messages: two {tokenizer.bos_token!r} in front of the prompt; the {source} "
            "adds one, so remove it from the first message"
        )
    spans = [(int(a), int(b)) for a, b in encoded["offset_mapping"]] if tokenizer.is_fast else None
    return Tokens(text, ids, spans)


def check_context(prompt: int, new: int, limit: int | None) -> None:
    """Refuse a run that does not fit into the model's context.

    Raises:
        StratascopeError: with the numbers of tokens.
    """
    # The last token generated is not fed back.
    if limit is not None and prompt + new - 1 > limit:
        raise StratascopeError(
            f"the prompt has {prompt} tokens and generation.max_new_tokens is {new}: together "
            f"{prompt + new - 1} are read, but the model's context holds {limit}; shorten one of them"
        )


def find_content(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], text: str
) -> Span | None:
    """Where the last message's content, without white space around it, lies in ``text``.

    ``text`` is ``render(tokenizer, messages)``. The content is exchanged for a mark and what stands
    before and after the mark is cut away, so a content that occurs elsewhere, be it in an earlier
    message or in the template, is never mistaken. ``None`` if the template changed the content.
    """
    *earlier, last = messages
    content = last.content.strip()
    if not content:
        return None
    marked = render(tokenizer, [*earlier, Message(role=last.role, content=_MARK)])
    before, mark, after = marked.partition(_MARK)
    if mark and len(before) + len(after) <= len(text):
        inner = text[len(before) : len(text) - len(after)]
        fits = text.startswith(before) and text.endswith(after) and inner.strip() == content
        if fits:
            start = len(before) + inner.index(content)
            return start, start + len(content)
    # The template looks into the content (say, for a `think` block): take its last occurrence in
    # what this message adds to the conversation.
    start = text.rfind(content, _shared(render_or_empty(tokenizer, earlier), text))
    return (start, start + len(content)) if start >= 0 else None


def render_or_empty(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """The rendering without a generation prompt; empty where the template refuses."""
    try:
        return render(tokenizer, messages, generation_prompt=False) if messages else ""
    except TemplateRefusalError:
        return ""


def _shared(left: str, right: str) -> int:
    for i, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return i
    return min(len(left), len(right))


def content_tokens(tokens: Tokens, span: Span) -> list[int]:
    """Indices of the tokens that overlap the characters of ``span``.

    Several tokens of one character (bytes of an emoji) all count.

    Raises:
        StratascopeError: a tokenizer without character offsets.
    """
    if tokens.spans is None:
        raise StratascopeError(
            "this model's tokenizer gives no character offsets, so a message's tokens are unknown; "
            "use capture.snapshot_positions: [generation_prompt]"
        )
    start, end = span
    return [i for i, (a, b) in enumerate(tokens.spans) if a < end and b > start and a < b]


def token_text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """What one token adds to a text, special tokens and leading spaces included."""
    alone, twice = (
        str(tokenizer.decode([token] * count, clean_up_tokenization_spaces=False))
        for count in (1, 2)
    )
    # Some tokenizers cut the space off a text's first token, so the second one is the honest one.
    return twice[len(alone) :] if twice.startswith(alone) else alone
