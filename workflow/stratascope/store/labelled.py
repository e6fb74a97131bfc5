"""Features with their labels: which rows have one, what else is known of them, their texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.store.label_files import read_fields
from stratascope.store.layer_arrays import LayerArray, LayerArrays

# Where others' labels may have the texts.
TEXT = "text"


@dataclass(frozen=True)
class Labelled:
    """The rows that have a label, ``n`` of them, in their order.

    ``kept`` are their numbers among all ``total`` rows; ``fields`` and ``texts`` are theirs alone.
    ``text_of`` numbers each row's text where a text has a row for each token, else it is None.
    ``texts`` is None where they are not known.
    """

    path: Path
    kept: list[int]
    total: int
    fields: Mapping[str, list[Any]]
    texts: list[str] | None
    text_of: list[int] | None

    def field(self, name: str) -> list[Any]:
        """A field of each row. Raises StratascopeError if there is no such field."""
        if name not in self.fields:
            there = ", ".join(self.fields) or "none"
            raise StratascopeError(f"{self.path}: no field {name!r}; there are {there}")
        return self.fields[name]

    def groups(self, name: str | None) -> list[Any] | None:
        """What belongs together: a field, else the tokens of a text, else equal texts."""
        if name is not None:
            return self.field(name)
        return self.texts if self.text_of is None else self.text_of

    def matrix(self, array: LayerArray) -> np.ndarray:
        """A layer's features of these rows, ``(n, d)``."""
        every = array[slice(None)]
        return every if len(self.kept) == self.total else every[self.kept]


def labelled(stored: LayerArrays, label: str, file: Path | None = None) -> Labelled:
    """The rows of ``stored`` that have the field ``label``, which may stand in a ``file`` of its own.

    A file's columns win over fields of the same name. Raises StratascopeError if the field is not
    there, or the file has another number of rows.
    """
    fields = {name: list(read()) for name, read in stored.fields.items()}
    origin = stored.path if file is None else file
    if file is not None:
        fields |= _columns(file, stored)
    texts = _texts(stored, fields)
    every = Labelled(origin, list(range(stored.n)), stored.n, fields, texts, stored.texts())
    kept = [row for row, value in enumerate(every.field(label)) if value is not None]
    return Labelled(
        origin,
        kept,
        stored.n,
        {name: [column[row] for row in kept] for name, column in fields.items()},
        None if texts is None else [texts[row] for row in kept],
        None if every.text_of is None else [every.text_of[row] for row in kept],
    )


def _columns(file: Path, stored: LayerArrays) -> dict[str, list[Any]]:
    columns = read_fields(file)
    for name, column in columns.items():
        if len(column) != stored.n:
            raise StratascopeError(
                f"{file}: {name} has {len(column)} rows, the features in {stored.path} have {stored.n}"
            )
    return columns


def _texts(stored: LayerArrays, fields: Mapping[str, list[Any]]) -> list[str] | None:
    texts = fields.get(TEXT)
    if stored.features is not None:
        index = stored.features.index
        own = index.column(TEXT).to_pylist()
        rows = [1] * len(own) if stored.features.pooled else index.column("rows").to_pylist()
        texts = [text for text, count in zip(own, rows, strict=True) for _ in range(count)]
    known = texts is not None and all(isinstance(text, str) for text in texts)
    return texts if known else None
