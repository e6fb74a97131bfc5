"""Where each attention head of a sequence looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stratascope.analyses.places import short
from stratascope.measure.attention import SCORES, head_scores
from stratascope.store.traces import WEIGHTS, Trace


def head_rows(trace: Trace, layers: str | Sequence[int]) -> list[dict[str, Any]]:
    """A row a layer and head: each score, what uniform attention scores, ``n`` queries.

    Raises StratascopeError where attention weights were not recorded.
    """
    rows: list[dict[str, Any]] = []
    for layer in trace.chosen_layers(layers, WEIGHTS):
        found = head_scores(trace.at(layer, WEIGHTS))
        heads = len(found.scores[SCORES[0]])
        rows += [
            {"layer": layer, "head": head, "n": found.n}
            | {name: short(found.scores[name][head]) for name in SCORES}
            | {f"{name}_uniform": short(found.uniform[name]) for name in SCORES}
            for head in range(heads)
        ]
    return rows


# The report draws the attention among so many first tokens; all of them would be millions of numbers.
SHOWN = 32


def head_patterns(trace: Trace, layers: str | Sequence[int]) -> dict[str, Any]:
    """The attention among the first `SHOWN` tokens: ``tokens``, ``layers``, ``heads``, ``weights``.

    ``weights`` has for each layer and head in turn a text of two hexadecimal digits a weight, from 00
    for 0 to ff for 1, of rows up to and including the diagonal.
    """
    chosen = trace.chosen_layers(layers, WEIGHTS)
    count = min(SHOWN, len(trace))
    below = np.tril_indices(count)
    texts, heads = [], 0
    for layer in chosen:
        weights = trace.at(layer, WEIGHTS)[:, :count, :count]
        heads = len(weights)
        levels = np.rint(np.clip(weights, 0, 1) * 255).astype(np.uint8)
        texts += [head[below].tobytes().hex() for head in levels]
    return {
        "tokens": list(trace.tokens[:count]),
        "layers": chosen,
        "heads": heads,
        "weights": texts,
    }
