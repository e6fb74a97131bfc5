"""Did two sides do the same work? Shapes and numbers, and how much lies on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np


def largest_difference(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], limit: float
) -> float:
    """Greatest ``max|a - b| / max|b|`` over the tensors; both sides must have the same ones.

    Raises AssertionError naming the tensor that is missing, has another shape, or differs by more
    than ``limit``.
    """
    assert ours.keys() == theirs.keys(), f"not the same tensors: {ours.keys() ^ theirs.keys()}"
    assert ours, "nothing to compare"
    greatest = 0.0
    for name in ours:
        a, b = (np.asarray(side[name], np.float64) for side in (ours, theirs))
        assert a.shape == b.shape, f"{name}: shapes {a.shape} and {b.shape}"
        difference = float(np.abs(a - b).max() / np.abs(b).max())
        assert difference <= limit, f"{name}: differs by {difference:.1e} of its largest value"
        greatest = max(greatest, difference)
    return greatest


def folder_bytes(folder: Path) -> int:
    """How many bytes the files in a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def megabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e6:.1f} MB"
