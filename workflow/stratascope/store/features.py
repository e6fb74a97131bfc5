"""Features on disk: a dataset's activations, a row a text or a row a token, and the index of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from stratascope.errors import StratascopeError
from stratascope.store.runs import read_json
from stratascope.store.tensorread import TensorReader

FORMAT = "stratascope-features-1"
INFO = "run.json"
INDEX = "index.parquet"
# What an extraction is begun with, and what is gone at its end.
START = ".extraction.json"
# What the index says of a text, before its labels and groups, which stand under their own names.
COLUMNS = ("text", "line", "shard", "row", "rows", "tokens")

Rows = slice | Sequence[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]


def shard_name(shard: int) -> str:
    """The file of a shard; the first is number 0."""
    return f"features-{shard:05d}.safetensors"


def is_features(folder: Path) -> bool:
    """Whether whole features lie there: run.json is written last."""
    return (folder / INFO).is_file()


def is_unfinished(folder: Path) -> bool:
    """Whether an extraction was begun there, and is at work or was killed."""
    return (folder / START).is_file() and not is_features(folder)


def is_whole(folder: Path) -> bool:
    """Whether whole features lie there with all of their files: somebody may have taken some away."""
    if not is_features(folder):
        return False
    try:
        Features.open(folder)
    except StratascopeError:
        return False
    return True


@dataclass(frozen=True)
class Features:
    """Features to read.

    The rows of all shards, one after the other, are the rows of the features, 0 to ``len(self)``.
    Each tensor has them all: one for each text if ``pooled``, else one for each token kept.
    """

    path: Path

    @classmethod
    def open(cls, folder: Path) -> Features:
        """``folder`` holds the features, or is their run.json.

        Raises:
            StratascopeError: no features there, unfinished ones, or a file of theirs missing.
        """
        folder = folder.parent if folder.name == INFO else folder
        if not is_features(folder):
            unfinished = any(folder.glob("features-*.safetensors"))
            remedy = "its extraction has not ended; run it again" if unfinished else "nothing there"
            raise StratascopeError(f"{folder}: no whole features: no {INFO}: {remedy}")
        features = cls(folder)
        made = features.info.get("format")
        if made != FORMAT:
            raise StratascopeError(f"{folder}: not features: its format is {made!r}, not {FORMAT}")
        shards = [shard["file"] for shard in features.info["shards"]]
        for name in dict.fromkeys([INDEX, *shards, *features.info.get("files", {})]):
            if not (folder / name).is_file():
                raise StratascopeError(f"{folder}: {name} is missing; extract the features again")
        return features

    @cached_property
    def info(self) -> dict[str, Any]:
        """run.json."""
        return dict(read_json(self.path / INFO))

    @cached_property
    def index(self) -> pyarrow.Table:
        """A row a text, in the order of the input: ``COLUMNS``, then labels and groups."""
        return self._columns()

    def __len__(self) -> int:
        """How many rows each tensor has."""
        return int(self.info["rows"])

    @property
    def names(self) -> list[str]:
        """The tensors, as ``layer_03/hidden_out``, ``final_norm`` or ``module/lm_head``."""
        return list(self.info["shapes"])

    @property
    def layers(self) -> list[int]:
        """The layers that were asked for, ascending."""
        return list(self.info["layers"])

    @property
    def sites(self) -> list[str]:
        """The sites that were asked for."""
        return list(self.info["sites"])

    @property
    def pooled(self) -> bool:
        """Whether a text is one row, not one row for each token kept."""
        return self.info["position"] not in ("all", "span")

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """(shards + 1,): the row that each shard begins at, and where the last one ends."""
        return np.cumsum([0, *(shard["rows"] for shard in self.info["shards"])], dtype=np.int64)

    @cached_property
    def _text_starts(self) -> NDArray[np.int64]:
        """(texts + 1,): the row that each text begins at, and where the last one ends."""
        rows = self._columns("rows").column("rows").to_pylist()
        return np.cumsum([0, *rows], dtype=np.int64)

    def _columns(self, *names: str) -> pyarrow.Table:
        # Not read_table, which imports pandas.
        with pyarrow.parquet.ParquetFile(self.path / INDEX) as file:
            return file.read(columns=list(names) or None)

    def text_rows(self, text: int) -> slice:
        """The rows of text number ``text``, its row in the index from 0 on.

        Raises:
            IndexError: there is no such text.
        """
        if not 0 <= text < len(self._text_starts) - 1:
            raise IndexError(f"text {text} of {len(self._text_starts) - 1}")
        return slice(int(self._text_starts[text]), int(self._text_starts[text + 1]))

    def width(self, name: str) -> int:
        """How many numbers a row of tensor ``name`` has; ``StratascopeError`` if there is none."""
        shapes = self.info["shapes"]
        if name not in shapes:
            some = ", ".join(self.names[:40])
            raise StratascopeError(f"{self.path}: no features {name!r}; there are {some}")
        return int(shapes[name])

    def matrix(self, name: str, rows: Rows | None = None) -> NDArray[np.float32]:
        """Rows (all by default) of tensor ``name``, (rows, width) float32; bfloat16 is widened exactly.

        ``rows``: a slice, row numbers in any order (negative ones count from the end), or a boolean
        for each row. Only these rows are read from the disk.

        Raises:
            StratascopeError: no such tensor.
            IndexError: a row that is not there.
        """
        width = self.width(name)
        wanted = np.arange(len(self))[slice(None) if rows is None else rows]
        found = np.empty((len(wanted), width), np.float32)
        shards = np.searchsorted(self._starts, wanted, side="right") - 1
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            local = wanted[here] - self._starts[shard]
            found[here] = self._reader(int(shard)).float32(name, _as_slice(local))
        return found

    def stream(self, name: str, size: int = 8192) -> Iterator[NDArray[np.float32]]:
        """Tensor ``name`` in order, in pieces of ``size`` rows; the last may be shorter."""
        self.width(name)
        if size < 1:
            raise ValueError(f"pieces of {size} rows")
        for start in range(0, len(self), size):
            yield self.matrix(name, slice(start, start + size))

    def _reader(self, shard: int) -> TensorReader:
        return TensorReader.open(self.path / self.info["shards"][shard]["file"])


def _as_slice(rows: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Rows that follow each other as a slice, which is read in one go."""
    first = int(rows[0])
    follow = np.array_equal(rows, np.arange(first, first + len(rows)))
    return slice(first, first + len(rows)) if follow else rows
