"""From a batch's kept rows to their places in a shard's file, by a thread beside the model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stratascope.capture.writer import HostCopies, HostCopy, not_finite, numpy_bits
from stratascope.errors import StratascopeError
from stratascope.store.tensors import TensorFile

# Bytes on their way to the disk at one time; more make the model wait. A GPU fills several tensors
# of a hundred megabytes before the first of them is written.
QUEUE_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}


class Places(NamedTuple):
    """Where the rows of one batch lie in a file.

    ``runs`` are (first row in the file, first row in the batch, rows) of what lies together in both.
    Text ``i`` of the batch, of line ``lines[i]``, ends at row ``ends[i]`` of the batch.
    """

    runs: list[tuple[int, int, int]]
    lines: list[int]
    ends: NDArray[np.int64]

    def line(self, row: int) -> int:
        """The line of the text that a row of the batch belongs to."""
        return self.lines[int(np.searchsorted(self.ends, row, side="right"))]


def find_places(
    starts: Sequence[int] | NDArray[np.int64],
    counts: Sequence[int] | NDArray[np.int64],
    lines: Sequence[int],
) -> Places:
    """The places of texts that begin at rows ``starts`` of the file and have ``counts`` rows."""
    runs: list[tuple[int, int, int]] = []
    at = 0
    for start, count in zip(starts, counts, strict=True):
        if runs and runs[-1][0] + runs[-1][2] == start:
            first, begin, rows = runs[-1]
            runs[-1] = (first, begin, rows + int(count))
        else:
            runs.append((int(start), at, int(count)))
        at += int(count)
    return Places(runs, list(lines), np.cumsum(counts, dtype=np.int64))


class _Item(NamedTuple):
    file: TensorFile
    places: Places
    names: tuple[str, ...]
    copy: HostCopy
    made: torch.dtype


class FeatureWriter:
    """A sink for a reader: casts the rows of a batch, checks that they are finite, writes them.

    A context manager: leaving it ends its thread. Errors of the thread surface at the next tensor,
    or at the next ``mark``.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self._copies = HostCopies(dtype)
        self._limit = QUEUE_BYTES.get(device.type, QUEUE_BYTES["cpu"])
        self._held = 0
        self._room = threading.Condition()
        self._queue: queue.SimpleQueue[_Item | Future[None] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._file: TensorFile | None = None
        self._places: Places | None = None
        self._thread = threading.Thread(target=self._work, name="feature-writer")

    def __enter__(self) -> FeatureWriter:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        self._thread.join()

    def begin(self, file: TensorFile, places: Places) -> None:
        """What comes next belongs to these places of ``file``."""
        self._file, self._places = file, places

    def __call__(self, names: tuple[str, ...], rows: torch.Tensor) -> None:
        """Take the rows of one tensor, from inside the forward pass."""
        assert self._file is not None
        assert self._places is not None
        self._raise()
        item = _Item(self._file, self._places, names, self._copies(rows), rows.dtype)
        if item.copy.ready is None and not item.copy.is_finite():
            raise self._not_finite(item, rows)
        size = item.copy.stored.nbytes
        with self._room:
            self._room.wait_for(lambda: not self._held or self._held + size <= self._limit)
            self._held += size
        self._queue.put(item)

    def mark(self) -> Future[None]:
        """Ends, or raises what went wrong, once everything taken so far is written."""
        reached: Future[None] = Future()
        self._queue.put(reached)
        return reached

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, Future):
                if self._error is None:
                    item.set_result(None)
                else:
                    item.set_exception(self._error)
                continue
            size = item.copy.stored.nbytes
            try:
                # After an error the queue is only emptied, so that the model never waits for room.
                if self._error is None:
                    self._write(item)
            except Exception as error:  # noqa: BLE001 - raised where the model works
                self._error = error
            del item
            with self._room:
                self._held -= size
                self._room.notify()

    def _write(self, item: _Item) -> None:
        item.copy.wait()
        if not item.copy.is_finite():
            raise self._not_finite(item, item.copy.stored)
        bits = numpy_bits(item.copy.stored)
        for name in item.names:
            for start, first, rows in item.places.runs:
                item.file.write(name, start, bits[first : first + rows])

    def _not_finite(self, item: _Item, values: torch.Tensor) -> StratascopeError:
        bad = (~torch.isfinite(values.to(self.dtype))).any(dim=1)
        row = int(bad.nonzero()[0])
        return not_finite(
            f"{item.names[0]} of the text in line {item.places.line(row)}",
            values[row],
            self.dtype,
            str(item.made).removeprefix("torch."),
            by_cast=bool(torch.isfinite(item.copy.limits).all()),
            key="store_dtype",
        )
