"""Figures as plain data: what Plotly needs, plus what the report's own script fills in.

A figure has axes (switches such as measure and source) and one view for each combination of their
options. A view is ``{"data": [...], "layout": {...}}`` as Plotly reads it, with these additions,
which ``assets/js`` resolves when it draws (so that theme, highlight and hide act on every figure):

- ``key`` of a trace, ``rows`` and ``cols`` of a heatmap: what the toolbox knows it by: ``r:3`` a
  run, ``p:3,5`` a pair of runs, ``c:name`` a checkpoint, ``s:name`` a scenario.
- ``paint``: ``[palette, index]``, the colour of a trace; ``band`` makes it a pale area.
- ``scale``: ``diverging`` or ``sequential``, the colours of a heatmap; ``ends`` the two numbers that its
  faintest and its strongest colour stand for (without them, the extremes of the data).
- ``z`` may be ``{"ref": name}``: the array of that name in the payload, stored once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

View = dict[str, Any]

DIVERGING = {"cosine", "centred_cosine", "centred", "raw"}


@dataclass(frozen=True)
class Axis:
    """One switch of a figure: ``options`` are (value, words)."""

    name: str
    words: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Figure:
    """One figure: ``views`` are keyed by the axes' values joined with ``/``."""

    id: str
    title: str
    views: Mapping[str, View]
    note: str = ""
    axes: tuple[Axis, ...] = ()
    height: int = 360
    alt: str = ""

    def payload(self) -> dict[str, Any]:
        """What the script needs of this figure, in JSON types and arrays."""
        return {
            "title": self.title,
            "axes": [axis.name for axis in self.axes],
            "views": self.views,
            "height": self.height,
        }


@dataclass(frozen=True)
class Content:
    """What one section contributes: figures by name, text for its template, data for the script."""

    context: Mapping[str, Any]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    arrays: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[tuple[str, str], ...] = ()


def line(
    x: Sequence[Any],
    y: Any,
    name: str,
    paint: tuple[str, int],
    *,
    key: str | None = None,
    hover: str = "%{y:.4f}",
    **more: Any,
) -> dict[str, Any]:
    """A line with markers; ``name`` must already be safe for Plotly (``text.plot_text``)."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(x),
        "y": y,
        "name": name,
        "paint": list(paint),
        "key": key,
        "hovertemplate": f"{name}: {hover}<extra></extra>",
        **more,
    }


def band(
    x: Sequence[Any],
    lower: Sequence[float | None],
    upper: Sequence[float | None],
    paint: tuple[str, int],
    *,
    key: str | None = None,
) -> dict[str, Any]:
    """The pale area between two lines; nothing to hover, nothing in the legend."""
    kept = [
        (a, lo, hi)
        for a, lo, hi in zip(x, lower, upper, strict=True)
        if lo is not None and hi is not None
    ]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [a for a, _, _ in kept] + [a for a, _, _ in reversed(kept)],
        "y": [hi for _, _, hi in kept] + [lo for _, lo, _ in reversed(kept)],
        "fill": "toself",
        "band": True,
        "paint": list(paint),
        "key": key,
        "showlegend": False,
        "hoverinfo": "skip",
    }


def heatmap(
    z: Any,
    x: Sequence[Any],
    measure: str,
    hover: str,
    *,
    y: Sequence[Any] | None = None,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] | None = None,
) -> dict[str, Any]:
    """A heatmap; rows and columns are toolbox keys, or plain ``y`` and ``x`` values."""
    trace: dict[str, Any] = {
        "type": "heatmap",
        "z": z,
        "x": list(x),
        "scale": "diverging" if measure in DIVERGING else "sequential",
        "hovertemplate": f"{hover}<extra></extra>",
        "xgap": 1,
        "ygap": 1,
    }
    if y is not None:
        trace["y"] = list(y)
    if rows is not None:
        trace["rows"] = list(rows)
    if cols is not None:
        trace["cols"] = list(cols)
    return trace


def error_bars(middle: Any, low: Any, high: Any) -> dict[str, Any]:
    """Bars from ``low`` to ``high`` around ``middle``, as Plotly's error bars."""
    return {
        "type": "data",
        "symmetric": False,
        "array": high - middle,
        "arrayminus": middle - low,
    }


def axes(x: str, y: str, **more: Any) -> dict[str, Any]:
    """A layout with titled axes; ``more`` is merged in (``xaxis`` and ``yaxis`` one level deep)."""
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": x}},
        "yaxis": {"title": {"text": y}},
    }
    for name, value in more.items():
        layout[name] = {**layout.get(name, {}), **value} if isinstance(value, dict) else value
    return layout


def layer_axis() -> dict[str, Any]:
    """Layers are whole numbers: no ticks between them."""
    return {"tickformat": "d", "zeroline": False}
