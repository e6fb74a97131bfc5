"""Parquet files, of which only the wanted columns are read, from the row group that is wanted."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

from stratascope.errors import StratascopeError
from stratascope.store.datasets.cursor import Cursor
from stratascope.store.datasets.record import NOT_UTF8, check_fields, to_row, wanted_fields
from stratascope.store.datasets.rows import BadRow, Row
from stratascope.study.dataset import Dataset

# Rows made into Python values at a time, and bytes of a column read at a time: bounds of memory.
BATCH = 256
BUFFER = 2**20


def open_parquet(dataset: Dataset, paths: list[Path]) -> ParquetSource:
    """The rows of Parquet files, one file after the other; ``line`` counts them through.

    Raises:
        StratascopeError: a file that is none or that lacks a field; no rows at all.
    """
    return ParquetSource(dataset, paths)


class ParquetSource:
    """Rows of Parquet files."""

    def __init__(self, dataset: Dataset, paths: list[Path]) -> None:
        self.dataset = dataset
        self._groups: list[tuple[Path, int]] = []
        sizes: list[int] = []
        for path in paths:
            with _opened(path) as file:
                check_fields(dataset, file.schema_arrow.names)
                for group in range(file.metadata.num_row_groups):
                    self._groups.append((path, group))
                    sizes.append(file.metadata.row_group(group).num_rows)
        self._ends = [0, *accumulate(sizes)]
        if not self.count():
            raise StratascopeError(f"{dataset.data}: holds no rows")
        self._rows = Cursor(self._from)

    def count(self) -> int:
        """How many rows there are, bad ones included."""
        return self._ends[-1]

    def read(self, start: int, stop: int) -> Iterator[Row | BadRow]:
        """Rows ``start`` to ``stop`` (not included)."""
        return self._rows.read(start, min(stop, self.count()))

    def _from(self, start: int) -> Iterator[Row | BadRow]:
        first = bisect_right(self._ends, start) - 1
        number = self._ends[first]
        for path, groups in groupby(self._groups[first:], key=lambda group: group[0]):
            with _opened(path) as file:
                for batch in file.iter_batches(
                    batch_size=BATCH,
                    row_groups=[group for _, group in groups],
                    columns=list(wanted_fields(self.dataset)),
                ):
                    skipped = min(max(start - number, 0), len(batch))
                    number += skipped
                    for record in _records(batch.slice(skipped)):
                        number += 1
                        if record is None:
                            yield BadRow(number, NOT_UTF8)
                        else:
                            yield to_row(self.dataset, number, record)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without pre-buffering a row group is read piece by piece, however large it is.
        with pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise StratascopeError(f"{path}: cannot be read as Parquet: {reason}") from error


def _records(batch: Any) -> list[dict[str, Any] | None]:
    """The rows of a batch; none for one with a string that is not UTF-8."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        if len(batch) == 1:
            return [None]
        return [record for i in range(len(batch)) for record in _records(batch.slice(i, 1))]
