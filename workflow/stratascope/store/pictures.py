"""Pictures on disk: PNG files in the colours of a Matplotlib colour map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.study.names import nearest


def check_colours(cmap: str) -> None:
    """Raise StratascopeError for a colour map that Matplotlib has not, with the nearest."""
    from matplotlib import colormaps

    if cmap not in colormaps:
        near = nearest(cmap, colormaps)
        there = f"did you mean {near}?" if near else "for example viridis, magma, RdBu, gray"
        raise StratascopeError(f"no colour map {cmap!r}; {there}")


def coloured(shades: np.ndarray, cmap: str) -> np.ndarray:
    """Shades from 0 to 1 ``(rows, columns)`` as colours ``(rows, columns, 3)`` of uint8."""
    from matplotlib import colormaps

    return np.asarray(colormaps[cmap](shades, bytes=True)[..., :3])


def write_png(path: Path, colours: np.ndarray) -> None:
    """Write colours ``(rows, columns, 3)`` of uint8; the same ones are the same bytes."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours).save(path, format="PNG", optimize=False, compress_level=6)
