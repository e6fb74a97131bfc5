"""The picture at the head of a report: its own layers, drawn as strata.

One band a layer, bottom to top from the embeddings to the output; left to right the runs. A band is
thick where answering moved the state most. It is an ornament made of the study's numbers; the
heatmap "Layer by layer" shows the same numbers to be read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stratascope.report.data import ReportData
from stratascope.report.detail import cube

WIDTH, HEIGHT = 1200.0, 150.0
BANDS, POINTS, COLOURS = 18, 48, 8


def strata(data: ReportData) -> list[dict[str, Any]]:
    """SVG paths, bottom layer first: ``{"path": ..., "colour": 0..7}``; empty without numbers."""
    table = data.table("intra_run_cosines")
    if table.empty:
        return []
    rows = table[table["source"] == data.main_source]
    levels = (("run", [run.label for run in data.runs]), ("layer", data.layers))
    change = 1 - cube(rows, "cosine", levels)
    if not np.isfinite(change).any():
        return []
    thick = _thickness(_binned(_binned(change, POINTS, 0), BANDS, 1))
    edges = HEIGHT * np.concatenate([np.zeros((len(thick), 1)), np.cumsum(thick, axis=1)], axis=1)
    count = thick.shape[1]
    return [
        {
            "path": _band(edges[:, place], edges[:, place + 1]),
            "colour": round((COLOURS - 1) * (1 - place / max(1, count - 1))),
        }
        for place in range(count)
    ]


def _thickness(change: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of the height, every layer visible: each layer's change against its own mean."""
    filled = np.where(np.isfinite(change), change, np.nanmean(change))
    scale = np.maximum(filled.mean(axis=0, keepdims=True), 1e-9)
    share = 0.45 + np.clip(filled / scale, 0, 3)
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def _binned(values: NDArray[np.float64], most: int, axis: int) -> NDArray[np.float64]:
    """At most ``most`` places along an axis, neighbours averaged; one place is drawn as two."""
    parts = np.array_split(values, min(most, values.shape[axis]), axis=axis)
    means = [
        np.where(np.isfinite(part), part, np.nanmean(values)).mean(axis=axis) for part in parts
    ]
    if axis == 0 and len(means) == 1:
        means *= 2
    return np.stack(means, axis=axis)


def _band(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> str:
    """A closed band between two edges, rounded at the runs."""
    x = np.linspace(0, WIDTH, len(lower))
    there = _curve(x, HEIGHT - upper, "M")
    back = _curve(x[::-1], (HEIGHT - lower)[::-1], "L")
    return f"{there} {back} Z"


def _curve(x: NDArray[np.float64], y: NDArray[np.float64], first: str) -> str:
    parts = [f"{first}{x[0]:.1f} {y[0]:.1f}"]
    for (a, b), (c, d) in zip(zip(x, y, strict=True), zip(x[1:], y[1:], strict=True), strict=False):
        middle = (a + c) / 2
        parts.append(f"C{middle:.1f} {b:.1f} {middle:.1f} {d:.1f} {c:.1f} {d:.1f}")
    return " ".join(parts)
