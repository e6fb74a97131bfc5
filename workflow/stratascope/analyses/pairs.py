"""Two sequences side by side: their states at the same layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.measure.depth import compare_states
from stratascope.store.traces import UNKNOWN, WEIGHTS, Trace


def compare_traces(
    a: Trace, b: Trace, sites: Sequence[str], layers: str | Sequence[int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of layer, site and state with cosine, MAE, overlap and n; and what could not be compared.

    ``initial`` is the last token of the prompt, ``final`` the last token read, ``tokens`` the mean over
    those that both begin with. Raises StratascopeError where nothing is in both, for attention
    weights, whose size is that of the text, and for models of different widths.
    """
    if WEIGHTS in sites:
        raise StratascopeError(f"{WEIGHTS}: as many numbers as tokens; compare another site")
    shared = _shared(a, b)
    rows: list[dict[str, Any]] = []
    left = []
    for site in sites:
        there = [layer for layer in a.layers if a.has(layer, site) and b.has(layer, site)]
        if layers != "all" and there:
            there = a.chosen_layers(layers, site)
            b.chosen_layers(there, site)
        if not there:
            left.append(f"{site}: not in both, left out")
        for layer in there:
            rows += _compared(a, b, layer, site, shared)
    if not rows:
        raise StratascopeError(
            f"{a.label} and {b.label} share no layer of {', '.join(sites)} (recorded: "
            f"{', '.join(a.sites) or 'nothing'}; and {', '.join(b.sites) or 'nothing'})"
        )
    return rows, left


def _shared(a: Trace, b: Trace) -> int:
    """How many tokens both begin with: the same ids, of the same texts where both are known."""
    count = 0
    for x, y in zip(_read(a), _read(b), strict=False):
        texts = {text for text in (x[1], y[1]) if not text.startswith(UNKNOWN)}
        if x[0] != y[0] or x[0] < 0 or len(texts) > 1:
            break
        count += 1
    return count


def _read(trace: Trace) -> Iterator[tuple[int, str]]:
    return zip(trace.token_ids, trace.tokens, strict=True)


def _compared(a: Trace, b: Trace, layer: int, site: str, shared: int) -> list[dict[str, Any]]:
    x, y = a.at(layer, site), b.at(layer, site)
    if x.shape[1] != y.shape[1]:
        raise StratascopeError(
            f"{site} of layer {layer} is {x.shape[1]} wide in {a.label} and {y.shape[1]} in {b.label}; "
            "`stratascope similarity` compares models of different widths"
        )
    first, last = (a.steps[0].stop - 1, b.steps[0].stop - 1), (len(a) - 1, len(b) - 1)
    pairs: list[tuple[str, np.ndarray, np.ndarray]] = [
        ("initial", x[first[0], None], y[first[1], None]),
        ("final", x[last[0], None], y[last[1], None]),
        *([("tokens", x[:shared], y[:shared])] if shared else []),
    ]
    return [
        {"layer": layer, "site": site, "state": state}
        | {name: value if value == value else None for name, value in compare_states(u, v).items()}
        | {"n": len(u)}
        for state, u, v in pairs
    ]
