"""From rows to texts: rendered, as token ids, with the tokens to keep; or why that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stratascope.capture import prompts
from stratascope.capture.loading import Loaded
from stratascope.errors import StratascopeError
from stratascope.store.datasets.rows import BadRow, Row
from stratascope.study.dataset import Dataset

# Texts that go into the tokenizer in one call: enough for its speed, few enough for its memory.
AT_ONCE = 256


@dataclass(frozen=True)
class Text:
    """A text as the model reads it.

    ``text`` is rendered from messages where it was one, and ``None`` for bare token ids. ``kept``
    are the numbers of the tokens whose rows are stored, or averaged into one, ascending.
    """

    line: int
    text: str | None
    ids: NDArray[np.int64]
    kept: Sequence[int]
    fields: Mapping[str, Any]


class UnfitError(ValueError):
    """Why a row has no features; it becomes a ``BadRow``."""


class _Draft(NamedTuple):
    """A row's text before it is tokens. ``special``: whether the tokenizer adds special tokens."""

    row: Row
    text: str | None
    special: bool


def read_texts(
    loaded: Loaded, dataset: Dataset, rows: Iterable[Row | BadRow]
) -> tuple[list[Text], list[BadRow]]:
    """The texts of ``rows``, in their order, and those rows that are bad.

    Raises:
        StratascopeError: a span is asked for, and the tokenizer gives no character offsets.
    """
    marks_text = dataset.span is not None and dataset.input_ids is None
    if marks_text and not loaded.tokenizer.is_fast:
        raise StratascopeError(
            f"span: the tokenizer of {loaded.checkpoint.name} gives no character offsets, so the span's "
            "tokens are unknown; use a position of the whole text"
        )
    texts: list[Text] = []
    bad: list[BadRow] = []
    remaining = iter(rows)
    while group := list(islice(remaining, AT_ONCE)):
        drafts = [_draft(loaded, dataset, row) for row in group]
        tokens = _tokenize(loaded, drafts, offsets=marks_text)
        for draft in drafts:
            if isinstance(draft, BadRow):
                bad.append(draft)
                continue
            try:
                texts.append(_text(loaded, dataset, draft, next(tokens)))
            except UnfitError as error:
                bad.append(BadRow(draft.row.line, str(error)))
    return texts, bad


def _draft(loaded: Loaded, dataset: Dataset, row: Row | BadRow) -> _Draft | BadRow:
    if isinstance(row, BadRow):
        return row
    for name in (*dataset.labels, *dataset.groups):
        if row.fields.get(name) is None:
            return BadRow(row.line, f"`{name}` is absent")
    text, special = row.text, True
    if row.messages is not None:
        # A chat template writes the special tokens itself.
        special = not prompts.has_template(loaded.tokenizer)
        try:
            text = prompts.render(loaded.tokenizer, row.messages, dataset.generation_prompt)
        except prompts.TemplateRefusalError as error:
            return BadRow(row.line, str(error))
    if text is None:
        return _Draft(row, None, special=False)
    if not text.strip():
        return BadRow(row.line, "the text is empty")
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return BadRow(row.line, "the text is not valid Unicode")
    return _Draft(row, text, special)


def _tokenize(
    loaded: Loaded, drafts: Sequence[_Draft | BadRow], *, offsets: bool
) -> Iterator[prompts.Tokens]:
    """The tokens of each draft, by the rules of ``prompts.tokenize``, in one call of the tokenizer.

    Nothing is cut off and nothing padded, whatever the tokenizer's own settings say.
    """
    good = [draft for draft in drafts if isinstance(draft, _Draft)]
    ready: dict[bool, Iterator[prompts.Tokens]] = {}
    for special in {draft.special for draft in good if draft.text is not None}:
        texts = [d.text for d in good if d.text is not None and d.special == special]
        encoded = loaded.tokenizer(
            texts,
            add_special_tokens=special,
            padding=False,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=offsets,
            verbose=False,
        )
        spans = encoded["offset_mapping"] if offsets else [None] * len(texts)
        ready[special] = map(prompts.Tokens, texts, encoded["input_ids"], spans)
    for draft in good:
        yield prompts.Tokens("", [], None) if draft.text is None else next(ready[draft.special])


def _text(loaded: Loaded, dataset: Dataset, draft: _Draft, tokens: prompts.Tokens) -> Text:
    given = tokens.ids if draft.row.ids is None else draft.row.ids
    ids = np.asarray(given, dtype=np.int64)
    _check_ids(loaded, ids, is_text=draft.text is not None)
    span: Sequence[int] = ()
    if dataset.span is not None:
        span = _span_tokens(draft.row, tokens)
    kept = kept_tokens(dataset.position, len(ids), span)
    return Text(draft.row.line, draft.text, ids, kept, draft.row.fields)


def _check_ids(loaded: Loaded, ids: NDArray[np.int64], *, is_text: bool) -> None:
    if not len(ids):
        raise UnfitError("the text has no tokens")
    vocabulary = int(loaded.model.get_input_embeddings().weight.shape[0])
    outside = ids[(ids < 0) | (ids >= vocabulary)]
    if len(outside):
        raise UnfitError(f"token {outside[0]} is not one of the model's {vocabulary}")
    if loaded.context is not None and len(ids) > loaded.context:
        raise UnfitError(f"{len(ids)} tokens, but the model's context holds {loaded.context}")
    bos = loaded.tokenizer.bos_token_id
    if is_text and bos is not None and ids[:2].tolist() == [bos, bos]:
        raise UnfitError(f"two {loaded.tokenizer.bos_token!r} in front; remove it from the text")


def _span_tokens(row: Row, tokens: prompts.Tokens) -> Sequence[int]:
    span = row.span
    if span is None:
        raise UnfitError("it has no span")
    if row.ids is not None:
        return range(*span)
    if isinstance(span, str):
        start = tokens.text.find(span)
        if start < 0 or tokens.text.find(span, start + 1) >= 0:
            raise UnfitError(f"the chat template does not leave the span {span!r} there once")
        span = (start, start + len(span))
    found = prompts.content_tokens(tokens, span)
    if not found:
        raise UnfitError(f"no token lies in the span {list(span)}")
    return found


def _all(length: int, span: Sequence[int]) -> Sequence[int]:
    return range(length)


def _last(length: int, span: Sequence[int]) -> Sequence[int]:
    return range(length - 1, length)


def _span(length: int, span: Sequence[int]) -> Sequence[int]:
    return span


# What each position keeps of a text of so many tokens; the means keep what they are taken over.
POSITIONS: dict[str, Callable[[int, Sequence[int]], Sequence[int]]] = {
    "last": _last,
    "mean": _all,
    "all": _all,
    "span": _span,
    "span_mean": _span,
}
MEANS = ("mean", "span_mean")


def kept_tokens(position: str | int, length: int, span: Sequence[int]) -> Sequence[int]:
    """The tokens that ``position`` means in a text of ``length`` tokens; ``span`` are the span's.

    Raises:
        UnfitError: an index beyond the text's tokens; negative ones count from its end.
    """
    if isinstance(position, str):
        return POSITIONS[position](length, span)
    token = position if position >= 0 else length + position
    if not 0 <= token < length:
        raise UnfitError(f"position {position} is outside its {length} tokens")
    return range(token, token + 1)
