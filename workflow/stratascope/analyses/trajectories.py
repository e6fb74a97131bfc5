"""What single neurons do along a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stratascope.analyses.places import at_places, short
from stratascope.errors import StratascopeError
from stratascope.store.traces import Trace


def follow(
    trace: Trace, site: str, neurons: Sequence[tuple[int, int]], rows: Sequence[int]
) -> list[dict[str, Any]]:
    """A row for each neuron, ``(layer, index)``, and token of ``rows``, with its value there.

    ``position`` counts the tokens of the whole sequence from 0, ``step`` is the forward pass that read
    it. Raises StratascopeError for a layer or neuron that is not there.
    """
    places = at_places(trace, rows)
    found = []
    for layer, index in neurons:
        (number,) = trace.chosen_layers([layer], site)
        values = trace.at(number, site)
        if values.ndim != 2:
            raise StratascopeError(f"{site} has no neurons: it is a number a pair of tokens")
        if not 0 <= index < values.shape[1]:
            raise StratascopeError(
                f"{trace.label}: no neuron {number}:{index}; {site} of layer {number} has "
                f"{values.shape[1]}: 0 to {values.shape[1] - 1}"
            )
        found += [
            {"layer": number, "neuron": index, "site": site}
            | place
            | {"value": short(values[row, index])}
            for row, place in zip(rows, places, strict=True)
        ]
    return found
