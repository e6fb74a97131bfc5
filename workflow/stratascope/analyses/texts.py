"""The texts that several feature sets of one dataset have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from stratascope.errors import StratascopeError
from stratascope.store.features import Features


@dataclass(frozen=True)
class Rows:
    """Some rows of one tensor, read when they are asked for, as `compare_layers` wants them."""

    features: Features
    name: str
    rows: NDArray[np.int64]

    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """(texts, width)."""
        return len(self.rows), self.features.width(self.name)

    def __getitem__(self, part: slice) -> NDArray[np.float32]:
        return self.features.matrix(self.name, self.rows[part])


def common_rows(sets: Sequence[Features]) -> list[NDArray[np.int64]]:
    """For each set the numbers of its rows whose line of the input every set has, in that order.

    Checkpoints with different tokenisers or contexts may have skipped different rows.

    Raises:
        StratascopeError: no text is common to all.
    """
    lines = [item.index.column("line").to_numpy() for item in sets]
    common = reduce(np.intersect1d, lines)
    if not len(common):
        raise StratascopeError(f"{sets[0].path.name}: no text was read by every checkpoint")
    return [np.flatnonzero(np.isin(each, common)) for each in lines]


def column(features: Features, field: str, rows: NDArray[np.int64]) -> list[object]:
    """A label or group of these rows.

    Raises:
        StratascopeError: the features carry no such field.
    """
    if field not in features.index.column_names:
        carried = ", ".join(features.index.column_names[6:]) or "none"
        raise StratascopeError(f"{features.path.name}: no field {field!r}; carried along: {carried}")
    return list(features.index.column(field).take(rows).to_pylist())
