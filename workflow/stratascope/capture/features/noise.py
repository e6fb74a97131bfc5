"""The noise floor: how much a text's features depend on the batch it happens to be in.

Sums are taken in another order in a larger matrix, so the last digits differ. What is smaller than
this difference says nothing about the texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stratascope.capture.features.texts import Text
from stratascope.store.tensorread import TensorReader

WHAT = (
    "the shortest, the middle and the longest text of the first shard (one of each length), each alone "
    "against the same in its batch, as stored: the largest of max|a-b| / max|b| over texts and tensors"
)
# Longer texts are left out: their features alone would take much memory.
LONGEST = 512

# The features of single texts by their number in the shard, each tensor (rows, width) float32.
Alone = dict[int, dict[str, NDArray[np.float32]]]


def chosen(texts: Sequence[Text]) -> list[int]:
    """The numbers of the shortest, the middle and the longest text of up to ``LONGEST`` tokens.

    Texts of one length differ from their batches alike, so one of them is enough.
    """
    lengths = [len(text.ids) for text in texts]
    order = sorted(length for length in lengths if length <= LONGEST)
    wanted = {order[at] for at in (0, len(order) // 2, -1)} if order else ()
    return sorted(lengths.index(length) for length in wanted)


def largest_difference(alone: Alone, shard: TensorReader, starts: NDArray[np.int64]) -> float:
    """Against the same texts in a shard, text ``i`` from row ``starts[i]`` on; 0 without any."""
    largest = 0.0
    for number, tensors in alone.items():
        start = int(starts[number])
        for name, rows in tensors.items():
            batched = shard.float32(name, slice(start, start + len(rows)))
            scale = float(np.abs(batched).max(initial=0.0)) or 1.0
            largest = max(largest, float(np.abs(rows - batched).max(initial=0.0)) / scale)
    return largest
