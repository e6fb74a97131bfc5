"""Token ids in NumPy's ``.npy`` files, or raw in ``.bin`` files, mapped into memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stratascope.errors import StratascopeError
from stratascope.store.datasets.record import wanted_fields
from stratascope.store.datasets.rows import BadRow, Row
from stratascope.study.dataset import Dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray


def open_tokens(dataset: Dataset, paths: list[Path]) -> TokenSource:
    """Texts of token ids: a row of a two-dimensional array each, or so many ids of a flat one.

    A flat file is cut into pieces of ``sequence`` ids from its beginning on; what is left at its end
    is dropped, and ``dropped`` counts it. Several files follow one another by name, each cut by
    itself (as KempnerForge's ``MemoryMappedDataset``).

    Raises:
        StratascopeError: a file that holds no integers, a flat one without ``sequence``, fields
            asked for that such files do not have, or no rows.
    """
    return TokenSource(dataset, paths)


class TokenSource:
    """Rows of token ids. ``dropped`` counts the ids at the ends of files that fill no sequence."""

    def __init__(self, dataset: Dataset, paths: list[Path]) -> None:
        self.dataset = dataset
        self.dropped = 0
        self._paths = paths
        _refuse_fields(dataset)
        sizes = []
        for path in paths:
            # Mapped anew for each read: pages of a mapping that stays count as memory.
            ids = _mapped(dataset, path)
            self.dropped += ids.size - self._cut(ids).size
            sizes.append(len(self._cut(ids)))
        self._ends = [0, *accumulate(sizes)]
        if not self.count():
            raise StratascopeError(f"{dataset.data}: holds no text of {dataset.sequence} token ids")

    def count(self) -> int:
        """How many rows there are, bad ones included."""
        return self._ends[-1]

    def read(self, start: int, stop: int) -> Iterator[Row | BadRow]:
        """Rows ``start`` to ``stop`` (not included)."""
        import numpy as np

        stop = min(stop, self.count())
        while start < stop:
            place = bisect_right(self._ends, start) - 1
            begin = self._ends[place]
            ids = self._cut(_mapped(self.dataset, self._paths[place]))
            for piece in ids[start - begin : stop - begin]:
                start += 1
                row = np.array(piece, dtype=np.int64)
                if (row < 0).any():
                    yield BadRow(start, f"holds {row.min()}, which is no token id")
                else:
                    yield Row(start, ids=row)

    def _cut(self, ids: NDArray[Any]) -> NDArray[Any]:
        if ids.ndim == 2:
            return ids
        length = self.dataset.sequence
        assert length is not None
        return ids[: len(ids) // length * length].reshape(-1, length)


def _refuse_fields(dataset: Dataset) -> None:
    asked = {name: key for name, key in wanted_fields(dataset).items() if name != "text"}
    if dataset.text:
        asked[dataset.text] = "text"
    for name, key in asked.items():
        raise StratascopeError(
            f"{dataset.data}: {key}: token ids come without fields such as `{name}`; leave it out, or "
            "put ids and labels into a Parquet file and name the field with `input_ids`"
        )


def _mapped(dataset: Dataset, path: Path) -> NDArray[Any]:
    """A file's ids, checked for their type and shape."""
    import numpy as np

    try:
        ids = _raw(dataset, path) if path.suffix.lower() == ".bin" else np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise StratascopeError(f"{path}: cannot be read as token ids: {reason}") from error
    if ids.dtype.kind not in "iu":
        raise StratascopeError(f"{path}: holds {ids.dtype}; token ids are integers")
    if ids.ndim == 1 and dataset.sequence is None:
        raise StratascopeError(
            f"{path}: {ids.size} token ids in one row; say with `sequence` how many make a text"
        )
    if ids.ndim not in (1, 2) or (ids.ndim == 2 and dataset.sequence not in (None, ids.shape[1])):
        raise StratascopeError(
            f"{path}: has the shape {ids.shape}; expected (texts, tokens), or a flat file and `sequence`"
        )
    return ids


def _raw(dataset: Dataset, path: Path) -> NDArray[Any]:
    import numpy as np

    size, dtype = path.stat().st_size, np.dtype(dataset.token_dtype).newbyteorder("<")
    if size % dtype.itemsize:
        raise ValueError(f"{size} bytes hold no whole number of {dtype.name}; see `token_dtype`")
    if not size:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r")
