"""Neurons on disk: features of two tensors a layer, and a file a shard with what was counted.

The features' tensors are ``layer_03/mlp_act/mean`` and ``layer_03/mlp_act/max``: a row a text, a column
a neuron, float32. The index has one more column, ``PIECES``: the text of each of a text's tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stratascope.errors import StratascopeError
from stratascope.store.features import Features
from stratascope.store.tensorread import TensorReader

MEAN, LARGEST = "mean", "max"
PIECES = "token_texts"
# Tokens around a text's strongest one whose values are kept: so many before it, and from it on.
BEFORE, AFTER = 16, 8
# (2, buckets): what a bucket's values lie above, and what they reach.
BOUNDS = "bucket_bounds"
# What a layer's part of a shard's file holds, k examples of N neurons; texts count from the shard's first.
PARTS = (
    "count", "shift", "sums", "histogram",
    "top_values", "top_texts", "top_tokens", "top_windows",
    "bottom_values", "bottom_texts", "bottom_tokens",
)  # fmt: skip


def state_name(shard: int) -> str:
    """The file of what was counted over a shard."""
    return f"neurons-{shard:05d}.safetensors"


@dataclass(frozen=True)
class NeuronFolder:
    """The neurons of a dataset on one checkpoint, to read."""

    features: Features

    @classmethod
    def open(cls, folder: Path) -> NeuronFolder:
        """``folder`` holds them.

        Raises:
            StratascopeError: no whole neurons there.
        """
        found = cls(Features.open(folder))
        if found.features.info["stage"]["name"] != "neurons":
            raise StratascopeError(f"{folder}: features, not neurons; run `stratascope neurons`")
        return found

    @property
    def site(self) -> str:
        """The site that was read."""
        return self.features.sites[0]

    @cached_property
    def tensors(self) -> dict[str, int]:
        """The width of each tensor that was read, by its name, such as ``layer_03/mlp_act``."""
        return {
            name.removesuffix(f"/{MEAN}"): self.features.width(name)
            for name in self.features.names
            if name.endswith(f"/{MEAN}")
        }

    @property
    def _files(self) -> list[Path]:
        count = len(self.features.info["shards"])
        return [self.features.path / state_name(shard) for shard in range(count)]

    def bounds(self) -> NDArray[np.float32]:
        """(2, buckets): what each bucket of the histograms lies above, and what it reaches."""
        return TensorReader.open(self._files[0]).float32(BOUNDS)

    def states(self, name: str) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Of each shard that has texts: the number of its first text, and its ``PARTS``, mapped."""
        first = 0
        for path, shard in zip(self._files, self.features.info["shards"], strict=True):
            reader = TensorReader.open(path)
            if shard["texts"]:
                yield first, {part: reader.raw(f"{name}/{part}") for part in PARTS}
            first += shard["texts"]

    def columns(self, name: str, pool: str, part: slice, every: int = 1) -> NDArray[np.float32]:
        """(texts, columns of ``part``): each text's mean or largest value; only these are read.

        ``every``: of each shard's texts, so many apart.
        """
        found = [
            TensorReader.open(self.features.path / shard["file"]).raw(f"{name}/{pool}")[
                ::every, part
            ]
            for shard in self.features.info["shards"]
        ]
        return np.concatenate(found)

    def pieces(self, text: int) -> list[str]:
        """The texts of the tokens of text number ``text``."""
        return list(self.features.index.column(PIECES)[text].as_py())
