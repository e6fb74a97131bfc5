"""The noise floor: how much a text's features depend on the batch it happens to be in.

Sums are taken in another order in a larger matrix, so the last digits differ. What is smaller than
this difference says nothing about the texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from stratascope.capture.features.batches import Selection, make_inputs
from stratascope.capture.features.reader import Reader
from stratascope.capture.features.texts import Text
from stratascope.capture.loading import Loaded
from stratascope.store.tensorread import TensorReader

WHAT = (
    "the shortest, the middle and the longest text of the first shard, each alone against the same "
    "in its batch: the largest over texts and tensors of max|a-b| / max|b|"
)
# Longer texts are not read twice: their features alone would take much memory.
LONGEST = 512

Alone = dict[int, dict[str, NDArray[np.float32]]]


def chosen(texts: Sequence[Text]) -> list[int]:
    """The numbers of the shortest, the middle and the longest text of up to ``LONGEST`` tokens."""
    short = [number for number, text in enumerate(texts) if len(text.ids) <= LONGEST]
    order = sorted(short, key=lambda number: len(texts[number].ids))
    return sorted({order[at] for at in (0, len(order) // 2, -1)}) if order else []


def read_alone(
    loaded: Loaded, reader: Reader, texts: Sequence[Text], dtype: torch.dtype, *, mean: bool
) -> Alone:
    """The features of the chosen texts, each in a pass of its own, as ``dtype`` stores them."""
    alone: Alone = {}
    for number in chosen(texts):
        found: dict[str, torch.Tensor] = {}

        def keep(
            names: tuple[str, ...], rows: torch.Tensor, found: dict[str, torch.Tensor] = found
        ) -> None:
            found.update(dict.fromkeys(names, rows.to(dtype)))

        text = [texts[number]]
        reader.read(make_inputs(loaded, text), Selection(text, mean=mean), keep)
        alone[number] = {name: rows.float().cpu().numpy() for name, rows in found.items()}
    return alone


def largest_difference(alone: Alone, shard: TensorReader, starts: Mapping[int, int]) -> float:
    """Against the same texts in a shard, text ``i`` from row ``starts[i]`` on."""
    largest = 0.0
    for number, tensors in alone.items():
        for name, rows in tensors.items():
            batched = shard.float32(name, slice(starts[number], starts[number] + len(rows)))
            scale = float(np.abs(batched).max(initial=0.0)) or 1.0
            largest = max(largest, float(np.abs(rows - batched).max(initial=0.0)) / scale)
    return largest
