"""Where each attention head of a sequence looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
            | {name: _number(found.scores[name][head]) for name in SCORES}
            | {f"{name}_uniform": _number(found.uniform[name]) for name in SCORES}
            for head in range(heads)
        ]
    return rows


def _number(value: float) -> float | None:
    return float(value) if value == value else None
