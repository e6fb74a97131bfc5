"""Is one layer the most discriminating, or only the best of several that are as good?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from stratascope.measure.layer_choice import Choice, choose, leads, pseudo_values
from stratascope.measure.metrics import FloatArray
from stratascope.measure.permutation import against, flipped
from stratascope.measure.weighted import cluster_ends
from stratascope.report.tables.claims.rows import Evidence, Flips, Row, least_flip, verdict
from stratascope.report.tables.recognition import Measured
from stratascope.report.tables.told import KINDS


@dataclass(frozen=True, eq=False)
class _Best:
    """A checkpoint's choice; all layers' ``leads`` ``(layers,)``, in ``resamples`` and with
    conversations' signs flipped: ``statistics`` ``(draws, layers)``."""

    measured: Measured
    kind: int
    choice: Choice
    leads: FloatArray
    resamples: FloatArray
    statistics: FloatArray
    least: float


def rows(evidence: Evidence) -> Iterator[Row]:
    """For each kind of cosine: the layer, how many resamples choose it, its lead over neighbours.

    The lead's ``p`` takes into account that the layer was chosen (the largest lead of all layers
    under flipped signs); ``p_corrected`` that each checkpoint has such a layer, too.
    """
    if not evidence.recognised:
        return
    measured = evidence.recognised["auroc"].measured
    flips = Flips.of([name for item in measured for name in item.conversations])
    for kind in range(len(KINDS)):
        found = [best for item in measured if (best := _best(item, kind, flips)) is not None]
        if found:
            family = against(np.concatenate([b.statistics for b in found], axis=1), two_sided=False)
            starts = np.cumsum([0, *(len(best.leads) for best in found)]).tolist()
            for best, start in zip(found, starts, strict=False):
                yield from _rows(best, float(family.corrected[start + best.choice.place]))


def _best(item: Measured, kind: int, flips: Flips) -> _Best | None:
    at = (..., item.messages.main_place, slice(None), kind)
    choice = choose(item.estimate[at], item.resamples[at])
    if choice is None or len(item.messages.checkpoint.layers) < 2:
        return None
    lead, signs = leads(item.estimate[at]), flips.among(item.conversations)
    statistics = flipped(pseudo_values(lead, leads(item.without[at])), signs)
    least = least_flip(signs, two_sided=False)
    return _Best(item, kind, choice, lead, leads(item.resamples[at]), statistics, least)


def _rows(best: _Best, corrected: float) -> Iterator[Row]:
    item, choice = best.measured, best.choice
    layers, clusters = item.messages.checkpoint.layers, len(item.conversations)
    where: dict[str, Any] = {
        "messages": item.messages,
        "centred": KINDS[best.kind],
        "layer": layers[choice.place],
        "n": int(item.n[item.messages.main_place, choice.place, best.kind]),
        "conversations": clusters,
    }
    yield Row(
        quantity="layer", estimate=layers[choice.place],
        lower=layers[choice.lower] if clusters > 1 else np.nan,
        upper=layers[choice.upper] if clusters > 1 else np.nan, **where,
    )  # fmt: skip
    share = float(choice.shares[choice.place]) if clusters > 1 else np.nan
    yield Row(quantity="share_of_resamples", estimate=share, null=1 / len(layers), **where)
    lead = float(best.leads[choice.place])
    lower, upper = cluster_ends(lead, best.resamples[:, choice.place], clusters, (-1.0, 1.0))
    p = float(against(best.statistics, two_sided=False).corrected[choice.place])
    yield Row(
        quantity="lead_over_neighbours", estimate=lead, lower=lower, upper=upper, null=0.0, p=p,
        p_corrected=corrected, verdict=verdict(corrected, best.least, lead, 0.0), **where,
    )  # fmt: skip
