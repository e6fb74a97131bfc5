"""How many tokens go into the model at once, and what tells that they were too many."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from stratascope.capture.loading import Loaded
from stratascope.errors import StratascopeError
from stratascope.study.batches import GPU_TOKENS, cpu_tokens, power_of_two

# Part of the free memory of a GPU that is counted on; the rest is for what is not counted here.
GPU_PART = 0.5

# How PyTorch says that it found no memory, where it does not raise its OutOfMemoryError.
NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def token_budget(loaded: Loaded, widths: Mapping[str, int], *, pooled: bool) -> int:
    """Tokens of a batch, padding included; a power of two.

    On a CPU it depends on the model's sizes alone, on a GPU also on the memory that is free.
    """
    config = loaded.config
    hidden = int(config.hidden_size)
    if loaded.device.type != "cuda":
        return cpu_tokens(hidden, widths.get("logits", 0))
    inner = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    numbers = 10 * hidden + 4 * inner + 3 * widths.get("logits", 0)
    numbers += 0 if pooled else 2 * sum(widths.values())
    size = numbers * loaded.model.dtype.itemsize
    devices = {p.device for p in loaded.model.parameters() if p.device.type == "cuda"}
    free = min(torch.cuda.mem_get_info(device)[0] for device in devices)
    return power_of_two(GPU_PART * free / size, GPU_TOKENS)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of a forward pass means that the batch was too large."""
    if isinstance(error, StratascopeError):
        return False
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or any(text in str(error) for text in NO_MEMORY)


def lowered(budget: int, tokens: int) -> int:
    """``budget`` halved until a batch of ``tokens`` tokens is split."""
    while budget >= tokens:
        budget //= 2
    return max(1, budget)
