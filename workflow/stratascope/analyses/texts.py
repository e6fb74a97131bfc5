"""The texts of feature sets: those that several have in common, their labels, what belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from stratascope.errors import StratascopeError
from stratascope.store.features import COLUMNS, Features


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


def column(features: Features, field: str, rows: NDArray[np.int64]) -> list[Any]:
    """A label or group of these rows.

    Raises:
        StratascopeError: the features carry no such field.
    """
    carried = features.index.column_names[len(COLUMNS) :]
    if field not in carried:
        there = ", ".join(carried) or "none"
        raise StratascopeError(f"{features.path.name}: no field {field!r}; carried along: {there}")
    return list(features.index.column(field).take(rows).to_pylist())


def groups_of(
    features: Features, fields: Sequence[str], rows: NDArray[np.int64]
) -> list[str] | None:
    """The group of each of these rows: texts that share the value of any of ``fields``.

    A group is called by its first text's values. Without fields equal texts are a group, called by
    the first one's line; None if the texts are not known either.

    Raises:
        StratascopeError: the features carry no such field.
    """
    if fields:
        columns = [column(features, field, rows) for field in fields]
        names = [" / ".join(map(str, values)) for values in zip(*columns, strict=True)]
    else:
        texts = features.index.column("text").take(rows)
        if texts.null_count:
            return None
        columns = [texts.to_pylist()]
        names = [str(line) for line in features.index.column("line").take(rows).to_pylist()]
    # Texts and values are the nodes of a graph in which each text leads to its values.
    values: dict[tuple[int, Any], int] = {}
    ends = [
        values.setdefault((place, value), len(rows) + len(values))
        for place, items in enumerate(columns)
        for value in items
    ]
    starts = np.tile(np.arange(len(rows)), len(columns))
    size = len(rows) + len(values)
    graph = csr_array((np.ones(len(ends)), (starts, ends)), shape=(size, size))
    _, parts = connected_components(graph, directed=False)
    _, first, group = np.unique(parts[: len(rows)], return_index=True, return_inverse=True)
    return [names[place] for place in first[group]]
