"""Heatmaps of a trace: a picture for each source, layer and step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stratascope.analyses.places import short
from stratascope.errors import StratascopeError
from stratascope.measure.metrics import FloatArray
from stratascope.measure.pictures import Normalize, Reduce, enlarged, pooled, reduced, shades
from stratascope.store.pictures import check_colours, coloured, write_png
from stratascope.store.traces import LAYER, WEIGHTS, Trace

# Rows and columns of a picture in the report.
SMALL = (32, 48)


@dataclass(frozen=True)
class Drawing:
    """What is drawn, and how; ``layers`` and ``steps`` as numbers of what the trace has."""

    source: str
    layers: str | Sequence[int] = "all"
    steps: Sequence[int] = (0,)
    per_head: bool = False
    normalize: Normalize = "per_image"
    reduce: Reduce = "signed"
    cmap: str = "viridis"


@dataclass(frozen=True)
class Picture:
    """The numbers of one picture; ``layer`` is none for the whole model, ``head`` for all heads."""

    layer: int | None
    step: int
    head: int | None
    values: FloatArray

    @property
    def file(self) -> str:
        """``layer_03_step_000.png``, as Activation Lab names it."""
        layer = "" if self.layer is None else f"layer_{self.layer:02d}_"
        head = "" if self.head is None else f"_head_{self.head:02d}"
        return f"{layer}step_{self.step:03d}{head}.png"


def draw_heatmaps(trace: Trace, out: Path, drawing: Drawing) -> list[dict[str, Any]]:
    """Draw into ``out``/SOURCE; returns a row a picture: where, its size and range, its file.

    Rows are the step's tokens, columns dimensions, or for attention weights the keys so far, averaged
    over heads unless ``per_head``. Raises StratascopeError for a source, layer or colour map that is
    not there, and for ``per_head`` of anything but attention weights.
    """
    check_colours(drawing.cmap)
    if drawing.per_head and drawing.source != WEIGHTS:
        raise StratascopeError(
            f"{drawing.source}: only {WEIGHTS} has a picture a head; leave --per-head out"
        )
    low, high = 0.0, 1.0
    if drawing.normalize == "global":
        ends = [(p.values.min(), p.values.max()) for p in pictures_of(trace, drawing)]
        low, high = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
    rows = []
    for picture in pictures_of(trace, drawing):
        path = out / drawing.source.replace("/", "_") / picture.file
        colours = coloured(shades(picture.values, drawing.normalize, low, high), drawing.cmap)
        write_png(path, enlarged(colours))
        rows.append(_row(drawing.source, picture, path))
    return rows


def pictures_of(trace: Trace, drawing: Drawing) -> Iterator[Picture]:
    """The pictures that ``drawing`` names, one layer in memory at a time."""
    whole = drawing.source in trace.read and not LAYER.fullmatch(drawing.source)
    layers = [None] if whole else trace.chosen_layers(drawing.layers, drawing.source)
    for layer in layers:
        tensor = trace.tensor(drawing.source) if layer is None else trace.at(layer, drawing.source)
        for step in drawing.steps:
            rows = trace.steps[step]
            for head, values in _parts(tensor, rows, drawing):
                yield Picture(layer, step, head, reduced(values, drawing.reduce))


def _parts(
    tensor: np.ndarray, rows: range, drawing: Drawing
) -> Iterator[tuple[int | None, np.ndarray]]:
    """The numbers of one step: of all heads together, or each head's."""
    if drawing.source != WEIGHTS:
        yield None, tensor[rows.start : rows.stop]
        return
    part = tensor[:, rows.start : rows.stop, : rows.stop]
    if not drawing.per_head:
        yield None, part.mean(axis=0)
        return
    yield from enumerate(part)


def _row(source: str, picture: Picture, path: Path) -> dict[str, Any]:
    tokens, columns = picture.values.shape
    return {
        "site": source,
        "layer": picture.layer,
        "step": picture.step,
        "head": picture.head,
        "tokens": tokens,
        "columns": columns,
        "min": float(picture.values.min()),
        "max": float(picture.values.max()),
        "file": path.as_posix(),
    }


def small_pictures(trace: Trace, drawing: Drawing, most: int) -> Iterator[dict[str, Any]]:
    """The first ``most`` pictures made small: where each is, the means of blocks and where those begin."""
    for picture, _ in zip(pictures_of(trace, drawing), range(most), strict=False):
        values, tokens, columns = pooled(picture.values, *SMALL)
        yield {
            "site": drawing.source,
            "layer": picture.layer,
            "step": picture.step,
            "head": picture.head,
            "tokens": tokens,
            "columns": columns,
            "values": [[short(value) for value in row] for row in values.tolist()],
        }
