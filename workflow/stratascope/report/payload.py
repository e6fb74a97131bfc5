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
    """An array of any rank as nested lists of numbers to 4 significant digits, gaps as None."""
    values = np.asarray(array, dtype=np.float64)
    there = np.isfinite(values)
    size = np.abs(np.where(there & (values != 0), values, 1.0))
    # A whole number divided by a power of ten is the double nearest to that decimal: short in JSON.
    places = DIGITS - 1 - np.floor(np.log10(size))
    up, down = 10.0 ** np.clip(places, 0, 22), 10.0 ** np.clip(-places, 0, 22)
    return _listed(np.rint(np.where(there, values, 0.0) * up / down) / up * down, there)


def ten_thousandths(array: NDArray[Any]) -> Any:
    """An array of cosines in units of 0.0001, as nested lists of ints: a third smaller, packed."""
    there = np.isfinite(array)
    return _listed(np.rint(np.where(there, array, 0.0) * 10_000).astype(np.int64), there)


def _listed(values: NDArray[Any], there: NDArray[np.bool_]) -> Any:
    if there.all():
        return values.tolist()
    listed = values.astype(object)
    listed[~there] = None
    return listed.tolist()


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
