"""A model and a prompt as a trace, as `stratascope.store.traces` reads one from disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from stratascope.api.activations import Activations
from stratascope.api.model import Model
from stratascope.api.places import Layers
from stratascope.api.summaries import as_array
from stratascope.store.traces import Trace


def record_trace(
    model: Model,
    prompt: str | Sequence[int],
    *,
    sites: Iterable[str] = ("hidden_out",),
    layers: Layers = "all",
    max_new_tokens: int = 0,
) -> Trace:
    """What ``model`` computes while it reads ``prompt``, and writes up to so many tokens.

    ``prompt``: a text as it is (no chat template), or token ids. Raises StratascopeError as
    `Model.record` and `Model.generate` do.
    """
    if max_new_tokens:
        written = model.generate(prompt, max_new_tokens=max_new_tokens, sites=sites, layers=layers)
        return _trace(model, written.activations, written.ids)
    with model.record(*sites, layers=layers) as acts:
        model(prompt if isinstance(prompt, str) else list(prompt))
    return _trace(model, acts, [])


def _trace(model: Model, acts: Activations, generated: Sequence[int]) -> Trace:
    ids = [] if acts.ids is None else acts.ids[0].tolist()
    first = len(ids) - max(0, len(acts.passes) - 1)
    ends = [first, *range(first + 1, len(ids) + 1)]
    return Trace(
        label=model.name,
        model=model.checkpoint.model.id,
        root=Path(),
        token_ids=tuple(ids),
        tokens=tuple(acts.tokens[0]),
        generated=tuple(generated),
        steps=tuple(range(start, end) for start, end in zip([0, *ends], ends, strict=False)),
        read={name: partial(_first, acts, name) for name in acts},
        revision=model.checkpoint.revision,
    )


def _first(acts: Activations, name: str) -> np.ndarray:
    """The only text's rows."""
    return np.asarray(as_array(acts[name])[0])
