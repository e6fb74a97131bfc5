"""How likely given continuations of a prompt are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from stratascope.capture import prompts
from stratascope.capture.loading import Loaded
from stratascope.capture.questions.prefixes import (
    Ids,
    Prefix,
    finite,
    forward,
)
from stratascope.errors import StratascopeError
from stratascope.study.batches import QUESTION_TOKENS

# Continuation tokens of one pass, pads included: their logits, a vocabulary wide, are held at once.
PASS_TOKENS = 512


@dataclass(frozen=True)
class Logprob:
    """The natural logarithm of a continuation's probability, and how many tokens it has."""

    total: float
    tokens: int

    @property
    def per_token(self) -> float:
        """The mean over the continuation's tokens: continuations of unlike lengths compare so."""
        return self.total / self.tokens


def continuation(loaded: Loaded, prompt: prompts.Tokens, text: str) -> list[int]:
    """The tokens of ``text`` as they follow ``prompt``.

    After a chat template's generation prompt the text stands as it is. Without a template a space
    comes between, unless there is white space already. Prompt and text are tokenised together, as text
    in the wild is; where a token would reach over the border, the text is tokenised by itself, since
    the prompt's tokens have been read.

    Raises:
        StratascopeError: a text without any token.
    """
    tokenizer = loaded.tokenizer
    if not (prompts.has_template(tokenizer) or prompt.text[-1:].isspace() or text[:1].isspace()):
        text = f" {text}"
    together = prompts.tokenize(tokenizer, prompt.text + text).ids
    if together[: len(prompt.ids)] == prompt.ids and len(together) > len(prompt.ids):
        return together[len(prompt.ids) :]
    alone = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not alone:
        raise StratascopeError(f"{text!r} has no tokens, so it has no probability")
    return alone


def logprobs(loaded: Loaded, prefix: Prefix, asked: Sequence[tuple[int, Ids]]) -> list[Logprob]:
    """The log-probability of each continuation; ``asked`` are pairs of a prompt's row and token ids.

    The sum over the continuation's tokens of the log-probability of each, given the prompt and the
    tokens before it: log-softmax of the logits in float32, summed in float64. Without temperature.
    The prompt is not read again: continuations go on from the cache, and of one token need no pass.

    Raises:
        StratascopeError: logits that are not finite.
    """
    rows = [row for row, _ in asked]
    totals = _picked(prefix.logits[rows], [ids[0] for _, ids in asked])
    longer = [i for i, (_, ids) in enumerate(asked) if len(ids) > 1]
    for part in _passes(longer, [len(ids) - 1 for _, ids in asked], prefix.mask.shape[1]):
        continuations = [asked[i][1] for i in part]
        rest = _rest(loaded, prefix.rows([rows[i] for i in part]), continuations)
        for i, value in zip(part, rest, strict=True):
            totals[i] += value
    return [Logprob(total, len(ids)) for total, (_, ids) in zip(totals, asked, strict=True)]


def _passes(indices: Sequence[int], widths: Sequence[int], before: int) -> Iterator[list[int]]:
    """Indices by pass, short continuations first; ``before`` tokens lie in the cache of each."""
    part: list[int] = []
    for index in sorted(indices, key=lambda i: (widths[i], i)):
        rows, width = len(part) + 1, widths[index]
        if part and (rows * width > PASS_TOKENS or rows * (before + width) > QUESTION_TOKENS):
            yield part
            part = []
        part.append(index)
    if part:
        yield part


def _rest(loaded: Loaded, prefix: Prefix, continuations: Sequence[Ids]) -> list[float]:
    """The log-probability of each continuation but for its first token; a row of the prefix each."""
    width = max(map(len, continuations)) - 1
    device = prefix.mask.device

    def padded(rows: Sequence[Ids]) -> torch.Tensor:
        return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)

    there = padded([[1] * (len(ids) - 1) for ids in continuations])
    logits = forward(
        loaded,
        padded([ids[:-1] for ids in continuations]),
        prefix.cache,
        torch.cat([prefix.mask, there], dim=1),
        keep=width,
    )
    found = _picked(logits[there.bool()], [token for ids in continuations for token in ids[1:]])
    each = iter(found)
    return [sum(islice(each, len(ids) - 1)) for ids in continuations]


def _picked(logits: torch.Tensor, tokens: Sequence[int]) -> list[float]:
    """The log-probability of one token in each row of ``logits`` (rows, vocabulary)."""
    wanted = torch.tensor(tokens, device=logits.device)[:, None]
    found = finite(logits).gather(1, wanted)[:, 0] - logits.logsumexp(dim=1)
    values: list[float] = found.tolist()
    return values
