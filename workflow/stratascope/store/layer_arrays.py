"""The features of a model's layers: matrices of the same rows, to compare or to probe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.store.arrayfiles import StoredArray
from stratascope.store.features import Features


@dataclass(frozen=True)
class LayerArray:
    """The features of one layer: ``shape`` (n, d), and ``array[rows]`` reads rows.

    ``layer`` is ``None`` for what belongs to no layer, such as embeddings.
    """

    name: str
    layer: int | None
    site: str
    stored: StoredArray

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        return self.stored.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""
        return self.stored.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.stored[rows]


@dataclass(frozen=True)
class LayerArrays:
    """The layers of one model on some texts, ``n`` rows each.

    ``features`` is the folder that they come from, if `extract` made it; else nothing is known of
    the texts but how many there are. ``fields`` are the arrays (n,) that lie beside those of others.
    """

    path: Path
    arrays: tuple[LayerArray, ...]
    n: int
    features: Features | None
    fields: Mapping[str, Callable[[], Sequence[Any]]]

    @property
    def sites(self) -> list[str]:
        """The sites, in the order of the file."""
        return list(dict.fromkeys(array.site for array in self.arrays))

    @property
    def pooled(self) -> bool:
        """Whether a text is one row, as far as is known."""
        return self.features is None or self.features.pooled

    def at(self, site: str, layers: Iterable[int] | None = None) -> list[LayerArray]:
        """The layers of a site, ascending; those without a number first."""
        wanted = None if layers is None else set(layers)
        there = [
            array
            for array in self.arrays
            if array.site == site and (wanted is None or array.layer in wanted)
        ]
        return sorted(there, key=lambda array: -1 if array.layer is None else array.layer)

    def texts(self) -> list[int] | None:
        """The number of each row's text where a text has several rows, else ``None``."""
        if self.features is None or self.features.pooled:
            return None
        rows = self.features.index.column("rows").to_pylist()
        return np.repeat(np.arange(len(rows)), rows).tolist()

    def field(self, name: str) -> list[Any]:
        """A label or group of each row. Raises StratascopeError if there is no such field."""
        if name not in self.fields:
            there = ", ".join(self.fields) or "none"
            raise StratascopeError(f"{self.path}: no field {name!r}; there are {there}")
        return list(self.fields[name]())
