"""The strongest examples of all parts out of those of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]


def merged_examples(one: Arrays, other: Arrays, largest: bool) -> dict[str, np.ndarray]:
    """``values`` (k, N), best first and NaN where there are none, and whatever stands beside them.

    All texts of ``other`` come after those of ``one`` in the input: of equal values they come second.
    """
    both = {key: np.concatenate([one[key], other[key]]) for key in one}
    values = both["values"]
    # NaN comes last, and equal ones stay in their order.
    order = np.argsort(-values if largest else values, axis=0, kind="stable")[: len(one["values"])]
    return {
        key: np.take_along_axis(array, order if array.ndim == 2 else order[:, None, :], axis=0)
        for key, array in both.items()
    }
