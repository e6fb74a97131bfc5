"""A checkpoint's tensors by name, each read when it is asked for, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.store.runs import read_json
from stratascope.store.tensorread import TensorReader

Rows = list[int] | None
# Gives a tensor as float32, or the chosen rows of it.
Read = Callable[[Rows], np.ndarray]
# Where a file of the checkpoint lies; none if it has no such file.
Fetch = Callable[[str], Path | None]
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


@dataclass(frozen=True)
class Weights:
    """``read`` by the names in the checkpoint's files; ``shown`` names it in errors."""

    shown: str
    read: Mapping[str, Read]

    def find(self, name: str) -> str | None:
        """What the files call a tensor of the model's own name: the same, or with other parts in front.

        Checkpoints saved from a bare model, or by an older version, have fewer or other first parts.
        """
        if name in self.read:
            return name
        parts = name.split(".")
        for first in range(1, len(parts) - 1):
            end = ".".join(parts[first:])
            found = [key for key in self.read if key == end or key.endswith(f".{end}")]
            if len(found) == 1:
                return found[0]
        return None

    def float32(self, name: str, rows: Rows = None) -> np.ndarray:
        """A tensor by the model's own name, float32, or only these rows of it.

        Raises:
            StratascopeError: the files do not have it.
        """
        key = self.find(name)
        if key is None:
            raise StratascopeError(
                f"{self.shown}: its files lack {name}; is config.json the right one?"
            )
        return self.read[key](rows)

    def maybe(self, name: str, rows: Rows = None) -> np.ndarray | None:
        """`float32`, or none where the files do not have it: a norm or projection without a bias."""
        return self.float32(name, rows) if self.find(name) is not None else None


def from_safetensors(fetch: Fetch, shown: str) -> Weights | None:
    """The weights in one safetensors file or in those that an index lists; none without such files.

    Raises:
        StratascopeError: a damaged file.
    """
    opened = cache(partial(_opened, fetch, shown))
    if index := fetch(INDEX):
        places = dict(read_json(index)["weight_map"])
    elif fetch(SINGLE):
        places = dict.fromkeys(opened(SINGLE).entries, SINGLE)
    else:
        return None
    return Weights(
        shown, {name: partial(_rows, opened, file, name) for name, file in places.items()}
    )


def _opened(fetch: Fetch, shown: str, file: str) -> TensorReader:
    path = fetch(file)
    if path is None:
        raise StratascopeError(f"{shown}: {INDEX} lists {file}, which is not there")
    try:
        return TensorReader.open(path)
    except StratascopeError as error:
        raise StratascopeError(f"{path}: damaged or cut; copy the model again") from error


def _rows(opened: Callable[[str], TensorReader], file: str, name: str, rows: Rows) -> np.ndarray:
    return opened(file).float32(name, rows)
