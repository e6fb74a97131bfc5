"""Attention weights without eager attention.

Every layer runs the fast SDPA attention of transformers; a layer that somebody listens to computes
its softmax weights beside it. The only global state is the registration of the name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

# The attention implementation that a model is loaded with.
IMPLEMENTATION = "stratascope"
# The attribute of an attention module that holds its listener: receives (heads, queries, keys).
LISTENER = "_stratascope_listener"

Listener = Callable[[torch.Tensor], None]


def attention_weights(
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    is_causal: bool,
) -> torch.Tensor:
    """Softmax attention weights in float32, (batch, heads, queries, keys).

    ``query`` is (batch, heads, queries, width) and ``key`` (batch, key-value heads, keys, width),
    fewer heads being shared as in grouped-query attention. A boolean ``mask`` says what may be
    seen, any other is added to the scores. Without a mask, several queries are causal if
    ``is_causal``, and a single one sees every key: the rules of transformers' SDPA attention.
    """
    queries = query.shape[2]
    causal = mask is None and is_causal and queries > 1
    if causal:
        key = key[:, :, :queries]
    batch, heads, _, width = query.shape
    shared = key.shape[1]
    keys = key.shape[2]
    scale = 1 / math.sqrt(width) if scaling is None else scaling
    # Query heads that share a key head lie side by side: group them instead of repeating keys.
    grouped = query.float().reshape(batch, shared, heads // shared * queries, width)
    scores = (grouped @ key.float().transpose(2, 3)).mul_(scale)
    scores = scores.reshape(batch, heads, queries, keys)
    if causal:
        future = torch.ones(queries, keys, dtype=torch.bool, device=scores.device).triu_(1)
        scores.masked_fill_(future, -math.inf)
    elif mask is not None and mask.dtype == torch.bool:
        scores.masked_fill_(~mask, -math.inf)
    elif mask is not None:
        scores.add_(mask.float())
    return torch.softmax(scores, dim=-1)


def _weighted(weights: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The values weighted by ``weights``, (batch, queries, heads, width), in the values' precision."""
    seen = value[:, :, : weights.shape[-1]]
    shared = seen.repeat_interleave(weights.shape[1] // seen.shape[1], dim=1)
    return (weights.to(value.dtype) @ shared).transpose(1, 2)


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA attention; hands the weights over where somebody listens.

    With a graph that leads there, the output is computed from these weights, not by SDPA.
    """
    listener: Listener | None = getattr(module, LISTENER, None)
    if listener is not None:
        causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
        weights = attention_weights(query, key, attention_mask, scaling, causal)
        listener(weights)
        if weights.requires_grad:
            # Gradients are followed: at these weights there is one only if the output comes from them.
            return _weighted(weights, value), None
    output: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs
    )
    return output


AttentionInterface.register(IMPLEMENTATION, attention_forward)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
