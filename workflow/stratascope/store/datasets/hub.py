"""Datasets by their name on the Hugging Face hub, streamed; or in a folder as ``datasets`` reads it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from stratascope.errors import StratascopeError
from stratascope.store.datasets.cursor import Cursor
from stratascope.store.datasets.record import check_fields, to_row, wanted_fields
from stratascope.store.datasets.rows import BadRow, Row
from stratascope.study.checkpoints import COMMIT
from stratascope.study.dataset import Dataset


def pinned(dataset: Dataset) -> str:
    """The commit of a hub dataset. Raises ``StratascopeError`` if its revision is none."""
    if not COMMIT.fullmatch(dataset.revision or ""):
        raise StratascopeError(
            f"{dataset.data}: no such file or folder here, and as a hub dataset "
            f"{dataset.data}@{dataset.revision or 'main'} is not pinned; give its commit (40 hex digits, "
            "on the hub under Files, History) as `revision`"
        )
    assert dataset.revision is not None
    return dataset.revision


def open_hub(dataset: Dataset, paths: list[Path]) -> HubSource:
    """The rows of one split, streamed: nothing is stored on the disk.

    ``paths`` holds the folder of a local dataset, or nothing for one on the hub.

    Raises:
        StratascopeError: ``datasets`` is not installed, no such dataset, subset, split or field, a
            hub that cannot be reached, or no rows.
    """
    return HubSource(dataset, paths[0] if paths else None)


class HubSource:
    """Rows of a dataset that the ``datasets`` library reads. ``line`` is the row's number."""

    def __init__(self, dataset: Dataset, folder: Path | None) -> None:
        self.dataset = dataset
        with _library(dataset):
            stream = _load(dataset, folder)
            first = next(iter(stream), None)
            if first is None:
                raise StratascopeError(f"{dataset.data}: the split {dataset.split} holds no rows")
            check_fields(dataset, first)
            self._stream = stream.select_columns(list(wanted_fields(dataset)))
        features = stream.features or {}
        # Labels that are stored as numbers but have names.
        carried = (*dataset.labels, *dataset.groups)
        self._classes = {n: features[n].names for n in carried if hasattr(features.get(n), "names")}
        self._rows = Cursor(self._from)

    def count(self) -> int:
        """How many rows there are; counted once, by reading through, if the dataset does not say."""
        return self._count

    @cached_property
    def _count(self) -> int:
        splits = self._stream.info.splits or {}
        if self.dataset.split in splits:
            return int(splits[self.dataset.split].num_examples)
        with _library(self.dataset):
            batches = self._stream.with_format("arrow").iter(batch_size=1024)
            return sum(table.num_rows for table in batches)

    def read(self, start: int, stop: int) -> Iterator[Row | BadRow]:
        """Rows ``start`` to ``stop`` (not included); one pass over the stream for range after range."""
        stop = min(stop, self.count())
        ended = start
        for row in self._rows.read(start, stop):
            ended += 1
            yield row
        if ended < stop:
            raise StratascopeError(
                f"{self.dataset.data}: ends after {ended} rows, but says that it has {self.count()}"
            )

    def _from(self, start: int) -> Iterator[Row | BadRow]:
        with _library(self.dataset):
            for number, record in enumerate(self._stream.skip(start), start=start + 1):
                for name, names in self._classes.items():
                    value = record[name]
                    # -1 stands for no label.
                    known = isinstance(value, int) and 0 <= value < len(names)
                    record[name] = names[value] if known else None
                yield to_row(self.dataset, number, record)


def _load(dataset: Dataset, folder: Path | None) -> Any:
    """The stream of the split, loaded without progress bars."""
    import datasets

    if folder is not None and dataset.revision is not None:
        raise StratascopeError(
            f"{dataset.data}: a local folder has no revision; leave `revision` out"
        )
    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(
            dataset.data if folder is None else str(folder),
            dataset.subset,
            split=dataset.split,
            revision=pinned(dataset) if folder is None else None,
            streaming=True,
        )
    finally:
        if bars:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def _library(dataset: Dataset) -> Iterator[None]:
    """``datasets`` at work: its mistakes in one line, and no telemetry."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import datasets
    except ImportError as error:
        raise StratascopeError(
            f"{dataset.data}: reading hub datasets needs one more package: "
            "pip install 'stratascope[hub]'"
        ) from error
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    library = (datasets.exceptions.DatasetsError, HfHubHTTPError, httpx2.HTTPError)
    try:
        yield
    except (*library, OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise StratascopeError(f"{dataset.data}: cannot be read by `datasets`: {reason}") from error
