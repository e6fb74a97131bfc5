"""How far each run's state moves from the prompt's last token to the last generated one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stratascope.measure.centre import centred
from stratascope.measure.metrics import METRICS, BoolArray, FloatArray, cosine, missing
from stratascope.measure.summary import SUMMARY_COLUMNS, layer_mean, summarise
from stratascope.report.tables.centres import run_centre
from stratascope.report.tables.frames import long_frame
from stratascope.report.tables.states import Checkpoint, Study

COSINES = (
    "run", "source", "layer", "cosine", "MAE", "overlap",
    "centred_cosine", "background_cosine", "background_std", "background_n",
    "centred_background_cosine", "centred_background_std",
)  # fmt: skip
REPORT = ("run", "source", *SUMMARY_COLUMNS, "mean_centred_cosine", "n_layers")


@dataclass(frozen=True)
class Drift:
    """Initial against final states: each measure ``(runs, sources, layers)``.

    ``captured`` is where both states are there; elsewhere the measures are NaN.
    """

    captured: BoolArray
    measures: dict[str, FloatArray]


def intra_run(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`intra_run_cosines` and `intra_run_report`, checkpoint by checkpoint."""
    for checkpoint in study.checkpoints:
        drift = intra_run_drift(checkpoint)
        axes = (
            {"run": [run.label for run in checkpoint.runs]},
            {"source": checkpoint.sources},
            {"layer": checkpoint.layers},
        )
        measures = drift.measures
        summary = summarise(
            measures["cosine"], measures["MAE"], measures["overlap"], checkpoint.layers
        )
        yield {
            "intra_run_cosines": long_frame(
                axes, drift.captured, **measures, **_backgrounds(checkpoint)
            ),
            "intra_run_report": long_frame(
                axes[:2],
                np.any(drift.captured, axis=2),
                **summary,
                mean_centred_cosine=layer_mean(measures["centred_cosine"]),
                n_layers=drift.captured.sum(axis=2),
            ),
        }


def intra_run_drift(checkpoint: Checkpoint) -> Drift:
    """Every measure between the initial and the final state of each run of a checkpoint."""
    return checkpoint.once("intra-run drift", lambda: _drift(checkpoint))


def _drift(checkpoint: Checkpoint) -> Drift:
    shape = (len(checkpoint.runs), len(checkpoint.sources), len(checkpoint.layers))
    captured = np.zeros(shape, dtype=bool)
    measures = {name: np.full(shape, np.nan) for name in (*METRICS, "centred_cosine")}
    for s, source in enumerate(checkpoint.sources):
        for k, layer in enumerate(checkpoint.layers):
            initial = checkpoint.run_states("initial", source, layer)
            final = checkpoint.run_states("final", source, layer)
            captured[:, s, k] = ~(missing(initial) | missing(final))
            for name, metric in METRICS.items():
                measures[name][:, s, k] = metric.rowwise(initial, final)
            centre = run_centre(checkpoint, source, layer).centre
            measures["centred_cosine"][:, s, k] = cosine(
                centred(initial, centre), centred(final, centre)
            )
    return Drift(captured, measures)


def _backgrounds(checkpoint: Checkpoint) -> dict[str, FloatArray]:
    """The background columns, the same for every run of the checkpoint."""
    shape = (len(checkpoint.runs), len(checkpoint.sources), len(checkpoint.layers))
    centres = [
        [run_centre(checkpoint, source, layer) for layer in checkpoint.layers]
        for source in checkpoint.sources
    ]
    columns = {
        "background_cosine": [[item.raw.mean for item in row] for row in centres],
        "background_std": [[item.raw.std for item in row] for row in centres],
        "background_n": [[item.raw.pairs for item in row] for row in centres],
        "centred_background_cosine": [[item.centred.mean for item in row] for row in centres],
        "centred_background_std": [[item.centred.std for item in row] for row in centres],
    }
    return {name: np.broadcast_to(np.array(rows), shape) for name, rows in columns.items()}
