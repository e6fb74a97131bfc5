"""The logit lens over one recorded sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stratascope.analyses.places import at_places, next_tokens, short
from stratascope.analyses.readout import End, Text
from stratascope.errors import StratascopeError
from stratascope.measure.lens import Reading, final_logits, read_layer
from stratascope.measure.tuned import AffineMap
from stratascope.store.traces import Trace
from stratascope.study.names import nearest

# Sites that live in the residual stream: only these the final norm can read.
SITES = ("hidden_in", "attn_out", "mlp_down_out", "hidden_out")


@dataclass(frozen=True)
class Asked:
    """What the lens shall read: rows of the trace, layers, a site, and how many tokens to list.

    ``maps`` go before the final norm at the layers that they have: a tuned lens.
    """

    rows: list[int]
    layers: list[int]
    site: str = "hidden_out"
    top: int = 10
    maps: Mapping[int, AffineMap] = field(default_factory=dict)


def check_site(site: str) -> None:
    """Raise StratascopeError for a site that the final norm and the head cannot read."""
    if site not in SITES:
        near = nearest(site, SITES)
        raise StratascopeError(
            f"site {site!r}: the lens reads what lives in the residual stream: {', '.join(SITES)}"
            + (f"; did you mean {near}?" if near else "")
        )


def lens_rows(trace: Trace, end: End, asked: Asked, text: Text) -> list[dict[str, Any]]:
    """One row a token and layer, token by token.

    ``argmax_token`` with its ``argmax_logprob``, the ``entropy``, ``kl_from_final`` = KL(final ||
    layer), ``final_token`` (the likeliest in the end) and ``next_token`` (what came) with their rank
    and log-probability at this layer, and ``top``, a list of ``token`` and ``logprob``. Nats.

    Raises:
        StratascopeError: a site that the lens cannot read, or that was not recorded; no output of the
            last layer.
    """
    check_site(asked.site)
    final = final_logits(end.readout, trace.at(end.layers - 1, "hidden_out")[asked.rows])
    targets = np.stack([final.argmax(-1), next_tokens(trace, asked.rows)], axis=1)
    places = at_places(trace, asked.rows)
    by_layer = []
    for layer in asked.layers:
        states = trace.at(layer, asked.site)[asked.rows]
        if layer in asked.maps:
            states = asked.maps[layer](states)
        reading = read_layer(end.readout, states, final, targets, asked.top)
        by_layer.append(
            [
                {"layer": layer, **place, "site": asked.site, **_said(reading, i, targets[i], text)}
                for i, place in enumerate(places)
            ]
        )
    return [rows[i] for i in range(len(places)) for rows in by_layer]


def _said(reading: Reading, row: int, targets: np.ndarray, text: Text) -> dict[str, Any]:
    top = [
        {"token": text(int(token)), "logprob": short(logprob)}
        for token, logprob in zip(reading.top[row], reading.top_logprobs[row], strict=True)
    ]
    found: dict[str, Any] = {
        "argmax_token": top[0]["token"],
        "argmax_logprob": top[0]["logprob"],
        "entropy": short(reading.entropy[row]),
        "kl_from_final": short(reading.kl[row]),
    }
    for name, token, rank, logprob in zip(
        ("final", "next"), targets, reading.ranks[row], reading.logprobs[row], strict=True
    ):
        found |= {
            f"{name}_token": text(int(token)) if rank else None,
            f"rank_of_{name}": int(rank) or None,
            f"logprob_of_{name}": short(logprob),
        }
    return found | {"top": top}
