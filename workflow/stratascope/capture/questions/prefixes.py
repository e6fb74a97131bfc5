"""A batch of prompts read once: what is generated and what is scored both go on from there.

Prompts of a batch end together: shorter ones are padded on the left, masked, and counted from position
0 at their first token. Nothing of a prompt reads a pad, so each is as if it were alone.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from stratascope.capture.generation import last_logits
from stratascope.capture.loading import Loaded
from stratascope.errors import StratascopeError
from stratascope.study.batches import QUESTION_TOKENS

# A row of a batch is held through the whole generation.
BATCH_ROWS = 64

Ids = Sequence[int]


@dataclass(frozen=True)
class Prefix:
    """Prompts that the model has read.

    ``logits`` (rows, vocabulary), float32 on the model's device, are of each next token; ``mask``
    (rows, tokens) has a 1 for each token that is no pad.
    """

    logits: torch.Tensor
    cache: DynamicCache
    mask: torch.Tensor

    def rows(self, indices: Sequence[int]) -> Prefix:
        """Some rows, in this order and as often as they are named; this prefix stays as it is."""
        chosen = torch.tensor(indices, device=self.mask.device)
        cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(chosen)
        return Prefix(self.logits[chosen], cache, self.mask[chosen])


def batches(lengths: Sequence[int], new: int, border: int | None) -> Iterator[list[int]]:
    """Indices of prompts by batch: short ones first, prompts of like length together.

    Up to ``new`` tokens come after each prompt. Beyond ``border`` tokens a model turns positions
    differently for its whole batch (see ``rotary_border``): what may get there is a batch of its own.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        full = len(batch) == BATCH_ROWS or (len(batch) + 1) * lengths[index] > QUESTION_TOKENS
        beyond = border is not None and lengths[index] + new > border
        if batch and (full or beyond):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def read(loaded: Loaded, prompts: Sequence[Ids]) -> Prefix:
    """Run the model once over ``prompts``, a list of token ids each.

    Raises:
        StratascopeError: logits that are not finite.
    """
    width = max(map(len, prompts))
    pads = [width - len(prompt) for prompt in prompts]
    # Any token may stand for a pad, for nothing reads it.
    ids = [[prompt[0]] * pad + list(prompt) for prompt, pad in zip(prompts, pads, strict=True)]
    mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads], device=loaded.device)
    cache = DynamicCache(config=loaded.model.config)
    logits = forward(loaded, torch.tensor(ids, device=loaded.device), cache, mask, keep=1)
    return Prefix(finite(logits[:, -1]), cache, mask)


def forward(
    loaded: Loaded, ids: torch.Tensor, cache: DynamicCache, mask: torch.Tensor, keep: int
) -> torch.Tensor:
    """One pass over ``ids`` (rows, tokens) after what the cache holds; the logits of the last ``keep``.

    ``mask`` covers cache and ``ids``. The cache takes the tokens up.
    """
    arguments: dict[str, Any] = last_logits(loaded.model, keep)
    if "position_ids" in inspect.signature(loaded.model.forward).parameters:
        # Models without the argument count positions by the mask themselves.
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        arguments["position_ids"] = positions[:, -ids.shape[1] :]
    with torch.inference_mode():
        output = loaded.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **arguments
        )
        logits: torch.Tensor = output.logits[:, -keep:].float()
    return logits


def finite(logits: torch.Tensor) -> torch.Tensor:
    """The logits, if each row can be a distribution: minus infinity is no error, all else is."""
    if bool((torch.isnan(logits) | (logits == torch.inf)).any()):
        raise StratascopeError(
            "logits: not finite, so no token has a probability; use model.dtype: bfloat16 or float32"
        )
    return logits
