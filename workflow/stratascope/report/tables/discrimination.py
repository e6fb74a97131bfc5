"""At which layers snapshots tell the references apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from stratascope.measure.centre import centred
from stratascope.measure.discrimination import discrimination as mean_spread
from stratascope.measure.discrimination import null_spread, spread
from stratascope.measure.interval import seed_of
from stratascope.measure.metrics import FloatArray, cosine_pairs
from stratascope.report.tables.centres import distinct_rows, snapshot_centre
from stratascope.report.tables.frames import long_frame
from stratascope.report.tables.states import Checkpoint, Study

COLUMNS = (
    "checkpoint", "position", "source", "layer",
    "raw_discrimination", "centred_discrimination", "lower", "upper", "null",
    "n", "conversations",
)  # fmt: skip


def discrimination(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`discrimination`, checkpoint by checkpoint and position by position.

    ``lower``, ``upper`` and ``null`` belong to the centred measure. Each distinct prefix counts
    once with each reference set; ``n`` snapshots from ``conversations`` conversations.
    """
    for checkpoint in study.checkpoints:
        used = dict.fromkeys(run.reference_set for run in checkpoint.runs)
        sets = [number for number in used if number is not None]
        for position in checkpoint.positions if sets else ():
            yield {"discrimination": _frame(checkpoint, position, sets)}


def _frame(checkpoint: Checkpoint, position: str, sets: list[int]) -> pd.DataFrame:
    places = [
        [i for i, item in enumerate(checkpoint.snapshots) if item.run.reference_set == number]
        for number in sets
    ]
    rows = sum(map(len, places))
    shape = (len(checkpoint.sources), len(checkpoint.layers))
    spreads = np.full((rows, *shape, 2), np.nan)
    nulls = np.full(shape, np.nan)
    for s, source in enumerate(checkpoint.sources):
        for k, layer in enumerate(checkpoint.layers):
            found = [
                _measure(checkpoint, number, some, (position, source, layer))
                for number, some in zip(sets, places, strict=True)
            ]
            spreads[:, s, k] = np.concatenate([item for item, _ in found])
            nulls[s, k] = _weighted_null(found)
    conversations = [
        checkpoint.snapshots[place].run.conversation for some in places for place in some
    ]
    result = mean_spread(
        spreads, conversations, seed_of("discrimination", checkpoint.name, position)
    )
    count = (~np.isnan(spreads[..., 0])).sum(axis=0)
    columns = {
        "raw_discrimination": result.estimate[..., 0],
        "centred_discrimination": result.estimate[..., 1],
        "lower": result.lower[..., 1],
        "upper": result.upper[..., 1],
        "null": nulls,
        "n": count,
        "conversations": result.n[..., 0],
    }
    axes = (
        {"checkpoint": [checkpoint.name]},
        {"position": [position]},
        {"source": checkpoint.sources},
        {"layer": checkpoint.layers},
    )
    shaped = {name: values[None, None] for name, values in columns.items()}
    return long_frame(axes, (count > 0)[None, None], **shaped)


def _measure(
    checkpoint: Checkpoint, number: int, places: list[int], at: tuple[str, str, int]
) -> tuple[FloatArray, float]:
    """Raw and centred spread of each snapshot ``(snapshots, 2)``, and the null's mean.

    A snapshot whose prefix came before is NaN: it counts once.
    """
    references = checkpoint.reference_sets[number]
    states = checkpoint.snapshot_states(*at, places)
    targets = checkpoint.reference_states(*at)[references.rows]
    centre = snapshot_centre(checkpoint, *at)
    prefixes = [checkpoint.snapshots[place].prefix for place in places]
    chosen = distinct_rows(states, prefixes)
    rest, goals = centred(states[chosen], centre), centred(targets, centre)
    spreads = np.full((len(places), 2), np.nan)
    spreads[chosen, 0] = spread(cosine_pairs(states[chosen], targets))
    spreads[chosen, 1] = spread(cosine_pairs(rest, goals))
    seed = seed_of("null", checkpoint.name, at[0], *references.labels)
    conversations = [checkpoint.snapshots[places[row]].run.conversation for row in chosen]
    return spreads, null_spread(rest, goals, conversations, seed)


def _weighted_null(found: list[tuple[FloatArray, float]]) -> float:
    """The sets' nulls, each weighted by the snapshots that it was taken over."""
    counts = np.array([(~np.isnan(spreads[:, 1])).sum() for spreads, _ in found])
    nulls = np.array([null for _, null in found])
    if counts.sum() == 0:
        return np.nan
    return float((counts[counts > 0] * nulls[counts > 0]).sum() / counts.sum())
