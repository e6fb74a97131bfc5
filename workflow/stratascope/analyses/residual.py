"""A sequence's residual stream taken apart: what each layer and head adds, also to one token's logit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stratascope.analyses.places import at_places, next_tokens, short
from stratascope.analyses.readout import End, Text
from stratascope.errors import StratascopeError
from stratascope.measure.lens import final_logits
from stratascope.measure.residual import (
    Linear,
    by_head,
    cosines,
    lengths,
    linearised,
    mixed_values,
)
from stratascope.store.traces import WEIGHTS, Trace

SITES = ("hidden_in", "attn_out", "mlp_down_out", "hidden_out")
ADDED = {"attn": "attn_out", "mlp": "mlp_down_out"}
# What tells heads apart, where it was recorded.
HEAD_SITES = (WEIGHTS, "v")


@dataclass(frozen=True)
class Chosen:
    """Rows of a trace, and at each the token whose logit is taken apart; minus ``against``'s, if any."""

    rows: list[int]
    tokens: list[int]
    against: int | None = None


def choose(
    trace: Trace, end: End, rows: list[int], token: int | None = None, against: int | None = None
) -> Chosen:
    """The given ``token``, or at each row the one that came next; if none did, the likeliest.

    Raises:
        StratascopeError: a token that the vocabulary lacks.
    """
    size = end.plan.shape.vocabulary
    for named in (token, against):
        if named is not None and not 0 <= named < size:
            raise StratascopeError(f"no token {named}; the vocabulary has 0 to {size - 1}")
    if token is not None:
        return Chosen(rows, [token] * len(rows), against)
    came = next_tokens(trace, rows)
    open_rows = [row for row, token in zip(rows, came, strict=True) if token < 0]
    if open_rows:
        last = trace.at(end.layers - 1, "hidden_out")[open_rows]
        likeliest = iter(final_logits(end.readout, last).argmax(-1).tolist())
        came = [next(likeliest) if token < 0 else token for token in came]
    return Chosen(rows, came, against)


def residual_rows(
    trace: Trace,
    end: End,
    chosen: Chosen,
    text: Text,
    layers: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """One row a token and layer (``layers``, or all): norms, cosines, contributions to the logit.

    At each token, ``attn_logit`` and ``mlp_logit`` of all layers, ``embedding_logit``,
    ``norm_bias_logit``, ``unembed_bias_logit`` and ``rest_logit`` sum to ``logit``; ``head_logits`` and
    ``attn_bias_logit`` sum to ``attn_logit``. ``rest_logit`` is what rounding took, and what was not
    recorded. They are none where a model norms the stream itself (OPT-350m).

    Raises:
        StratascopeError: the last layer's output was not recorded.
    """
    linear = _linear(trace, end, chosen) if end.plan.adds_up else None
    found = {
        layer: _layer(trace, end, layer, chosen.rows, linear, layers is None or layer in layers)
        for layer in trace.layers
    }
    whole = _whole(trace, chosen.rows, linear, found.values())
    against = None if chosen.against is None else text(chosen.against)
    places = [
        place | {"target_token": text(token), "against_token": against}
        for place, token in zip(at_places(trace, chosen.rows), chosen.tokens, strict=True)
    ]
    return [
        {"layer": layer, **place}
        | {key: _at(values, i) for key, values in (found[layer] | whole).items()}
        for i, place in enumerate(places)
        for layer in found
        if layers is None or layer in layers
    ]


def _linear(trace: Trace, end: End, chosen: Chosen) -> Linear:
    last = trace.at(end.layers - 1, "hidden_out")[chosen.rows]

    def of(tokens: Sequence[int]) -> Linear:
        known = sorted(set(tokens))
        places = np.array([known.index(token) for token in tokens])
        return linearised(end.readout_of(known), last, places)

    linear = of(chosen.tokens)
    if chosen.against is None:
        return linear
    return linear.minus(of([chosen.against] * len(chosen.rows)))


def _layer(
    trace: Trace, end: End, layer: int, rows: list[int], linear: Linear | None, heads: bool
) -> dict[str, Any]:
    """Columns of one layer, each (rows,), (rows, heads), or none for what was not recorded."""
    here = {s: trace.at(layer, s)[rows] for s in SITES if trace.has(layer, s)}
    found: dict[str, Any] = {f"{s}_norm": lengths(here[s]) if s in here else None for s in SITES}
    for short_name, site in ADDED.items():
        for side in ("out", "in"):
            both = site in here and f"hidden_{side}" in here
            found[f"{short_name}_cosine_{side}"] = (
                cosines(here[site], here[f"hidden_{side}"]) if both else None
            )
    for short_name, site in ADDED.items():
        known = linear is not None and site in here
        found[f"{short_name}_logit"] = linear.of(here[site]) if linear and known else None
    by: tuple[Any, Any] = (None, None)
    if heads and linear is not None and all(trace.has(layer, site) for site in HEAD_SITES):
        weights = trace.at(layer, WEIGHTS)[:, rows]
        mixed = mixed_values(weights, trace.at(layer, "v"), end.plan.shape.head_width)
        by = by_head(mixed, *end.projection(layer), end.post_norm(layer), linear)
    return found | {"head_logits": by[0], "attn_bias_logit": by[1]}


def _whole(
    trace: Trace, rows: list[int], linear: Linear | None, layers: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """What belongs to no layer, each (rows,)."""
    names = ("embedding_logit", "norm_bias_logit", "unembed_bias_logit", "rest_logit", "logit")
    if linear is None:
        return dict.fromkeys(names)
    first = linear.of(trace.at(0, "hidden_in")[rows]) if trace.has(0, "hidden_in") else None
    known = [first, linear.norm_bias, linear.head_bias, *_added(layers)]
    rest = linear.logits - sum(part for part in known if part is not None)
    values = (first, linear.norm_bias, linear.head_bias, rest, linear.logits)
    return dict(zip(names, values, strict=True))


def _added(layers: Iterable[dict[str, Any]]) -> Iterator[np.ndarray | None]:
    for layer in layers:
        for name in ADDED:
            yield layer[f"{name}_logit"]


def _at(values: np.ndarray | None, row: int) -> Any:
    if values is None:
        return None
    return short(values[row]) if values.ndim == 1 else [short(v) for v in values[row]]
