"""How alike the layers of a sequence are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stratascope.analyses.places import short
from stratascope.errors import StratascopeError
from stratascope.measure.depth import cross_layer
from stratascope.store.traces import WEIGHTS, Trace


def layer_rows(
    trace: Trace, site: str, layers: str | Sequence[int], tokens: Sequence[int]
) -> list[dict[str, Any]]:
    """A row a pair of layers, in both orders: cosine, centred cosine and CKA over ``n`` tokens.

    ``layer`` is the number where both are one. Raises StratascopeError for a site or layer that was not
    recorded, and for attention weights, which are no states.
    """
    if site == WEIGHTS:
        raise StratascopeError(f"{WEIGHTS}: not a state for each token; compare another site")
    chosen = trace.chosen_layers(layers, site)
    found = cross_layer([trace.at(layer, site)[list(tokens)] for layer in chosen])
    return [
        {
            "site": site,
            "layer_a": a,
            "layer_b": b,
            "layer": a if a == b else None,
            "cosine": short(found.cosine[i, j]),
            "centred": short(found.centred[i, j]),
            "cka": short(found.cka[i, j]),
            "n": found.n,
        }
        for i, a in enumerate(chosen)
        for j, b in enumerate(chosen)
    ]
