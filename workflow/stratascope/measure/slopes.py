"""Does a similarity fall as a conversation goes on? Slopes within groups of messages.

Conversations and labels differ in how similar they are to begin with, so each group of messages
has a level of its own and only what changes within it counts (a regression with fixed effects).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from stratascope.measure.bootstrap import numbered
from stratascope.measure.metrics import FloatArray


def within(x: FloatArray, groups: Sequence[Hashable]) -> FloatArray:
    """``x`` ``(n,)`` minus the mean of its group."""
    codes = numbered(groups)
    sums, counts = np.bincount(codes, x), np.bincount(codes)
    return np.asarray(x - (sums / np.maximum(counts, 1))[codes])


def slopes(deviations: FloatArray, y: FloatArray) -> FloatArray:
    """Least-squares slopes of ``y`` ``(b, n)`` with a level for each group: ``(b,)``, y's unit by x's.

    ``deviations`` come from `within`. NaN where x does not vary in any group.
    """
    size = float(deviations @ deviations)
    return np.asarray(y @ deviations / size) if size > 0 else np.full(len(y), np.nan)
