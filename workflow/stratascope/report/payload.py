"""Numbers and scripts, packed small and the same every time."""

from __future__ import annotations

import base64
import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = 4


def significant(value: float) -> float | int | None:
    """``value`` to 4 significant digits; a whole number as an int, a gap as None."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short == int(short) and abs(short) < 1e9 else short


def plain(value: Any) -> Any:
    """JSON's own types only, floats shortened, whatever NumPy or pandas handed over."""
    if isinstance(value, np.ndarray):
        return numbers(value)
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return significant(float(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def numbers(array: NDArray[Any]) -> Any:
    """An array of any rank as nested lists of shortened numbers, gaps as None."""
    if array.ndim == 1:
        return [significant(float(value)) for value in array]
    return [numbers(row) for row in array]


def packed(data: bytes) -> str:
    """gzip (level 9, no time inside) in base64: what the browser's DecompressionStream reads."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii")


def packed_json(value: Any) -> str:
    """``value`` as compact JSON, packed. Base64 holds no ``<``, so nothing can end the script."""
    text = json.dumps(
        plain(value), ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
    # A lone surrogate cannot be encoded; a model's text may hold one.
    return packed(text.encode("utf-8", "replace"))


def plotly_script() -> bytes:
    """Plotly's own minified script, as the installed ``plotly`` package carries it."""
    import plotly

    return (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()
