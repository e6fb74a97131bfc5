"""How each measure moves from checkpoint to checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from stratascope.measure.centre import centred
from stratascope.measure.metrics import FloatArray, cosine
from stratascope.measure.summary import layer_mean
from stratascope.report.tables.centres import run_centre
from stratascope.report.tables.frames import long_frame
from stratascope.report.tables.intra_run import intra_run_drift
from stratascope.report.tables.states import Checkpoint, Study

BASES = ("first", "previous", "last")
COLUMNS = (
    "checkpoint", "order", "source", "layer", "runs",
    "cosine", "centred_cosine", "MAE", "overlap",
    *(f"drift_{base}_{what}" for base in BASES for what in ("cosine", "centred_cosine", "n")),
)  # fmt: skip


def checkpoints(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`checkpoints`: means over runs of the intra-run measures, and drift between checkpoints.

    Drift is the mean cosine between the initial states of one scenario on this checkpoint and on
    the study's first, the previous, and the last one, over ``n`` scenarios. It is empty against
    the checkpoint itself and where hidden sizes differ.
    """
    for place, checkpoint in enumerate(study.checkpoints):
        drift = intra_run_drift(checkpoint)
        columns = {
            name: layer_mean(np.moveaxis(values, 0, -1)) for name, values in drift.measures.items()
        }
        for base, other in _bases(study, place).items():
            columns |= _drift(checkpoint, other, base)
        axes = (
            {"checkpoint": [checkpoint.name]},
            {"order": [checkpoint.order]},
            {"source": checkpoint.sources},
            {"layer": checkpoint.layers},
        )
        columns["runs"] = drift.captured.sum(axis=0)
        shaped = {name: values[None, None] for name, values in columns.items()}
        yield {"checkpoints": long_frame(axes, shaped["runs"] > 0, **shaped)}


def _bases(study: Study, place: int) -> dict[str, Checkpoint | None]:
    """What to compare a checkpoint with; None where that is itself or nothing."""
    places = dict(zip(BASES, (0, place - 1, len(study.checkpoints) - 1), strict=True))
    return {
        base: None if other in (place, -1) else study.checkpoints[other]
        for base, other in places.items()
    }


def _drift(checkpoint: Checkpoint, other: Checkpoint | None, base: str) -> dict[str, FloatArray]:
    """The drift columns ``(sources, layers)`` against one base."""
    shape = (len(checkpoint.sources), len(checkpoint.layers))
    raw, rest, count = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, dtype=int)
    if other is not None and other.hidden_size == checkpoint.hidden_size:
        here = {run.scenario: i for i, run in enumerate(checkpoint.runs)}
        there = {run.scenario: i for i, run in enumerate(other.runs)}
        shared = sorted(here.keys() & there.keys())
        a, b = [here[name] for name in shared], [there[name] for name in shared]
        for s, source in enumerate(checkpoint.sources):
            for k, layer in enumerate(checkpoint.layers):
                x = checkpoint.run_states("initial", source, layer)[a]
                y = other.run_states("initial", source, layer)[b]
                plain = cosine(x, y)
                count[s, k] = (~np.isnan(plain)).sum()
                raw[s, k] = layer_mean(plain)
                rest[s, k] = layer_mean(
                    cosine(
                        centred(x, run_centre(checkpoint, source, layer).centre),
                        centred(y, run_centre(other, source, layer).centre),
                    )
                )
    return {
        f"drift_{base}_cosine": raw,
        f"drift_{base}_centred_cosine": rest,
        f"drift_{base}_n": count,
    }
