"""Answers to a batch of prompts: what ``capture.generation`` does for one, done for many at once."""

from __future__ import annotations

import torch

from stratascope.capture.generation import choose, end_tokens
from stratascope.capture.loading import Loaded
from stratascope.capture.questions.prefixes import Prefix, finite, forward
from stratascope.study.schema import Generation


def answers(loaded: Loaded, prefix: Prefix, settings: Generation) -> list[list[int]]:
    """The tokens generated after each prompt, as ``generate`` gives them for that prompt alone.

    An end-of-sequence token is the last one of its answer. Sampling draws for each prompt with a
    generator of its own, seeded with ``settings.seed``. The prefix's cache goes on with the answers, so
    this is the last thing to be done with it.

    Raises:
        StratascopeError: logits that are not finite.
    """
    ends = end_tokens(loaded)
    rows = range(len(prefix.logits))
    draws = [torch.Generator().manual_seed(settings.seed) for _ in rows]
    found: list[list[int]] = [[] for _ in rows]
    logits, mask = prefix.logits, prefix.mask
    for step in range(settings.max_new_tokens):
        # On the CPU, so that devices choose alike.
        scores = logits.cpu()
        for row in rows:
            if not _ended(found[row], ends):
                found[row].append(choose(scores[row], settings, draws[row]))
        if step + 1 == settings.max_new_tokens or all(_ended(answer, ends) for answer in found):
            break
        # An answer that has ended reads its last token again; nobody reads what comes of that.
        ids = torch.tensor([[answer[-1]] for answer in found], device=mask.device)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        logits = finite(forward(loaded, ids, prefix.cache, mask, keep=1)[:, -1])
    return found


def _ended(answer: list[int], ends: frozenset[int]) -> bool:
    return bool(answer) and answer[-1] in ends
