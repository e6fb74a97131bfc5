"""What is kept of the neurons of one layer while a shard passes: of a fixed size, however many tokens."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch

from stratascope.capture.neurons.batch import Batch
from stratascope.capture.neurons.buckets import BUCKETS, SIZES, signed_buckets
from stratascope.capture.neurons.ranking import Ranking

# Numbers that are worked on at one time: they fit into a processor's cache, and fill a GPU.
AT_ONCE = {"cpu": 1 << 17, "cuda": 1 << 26}


@cache
def counting() -> ThreadPoolExecutor:
    """The threads that count."""
    return ThreadPoolExecutor(thread_name_prefix="neurons")


class Scratch:
    """Memory that all layers use in turn: fresh memory costs more than what is written to it."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.int32)

    def __call__(self, size: int, device: torch.device) -> torch.Tensor:
        """(size,) int32, of any content."""
        if len(self._memory) < size or self._memory.device != device:
            self._memory = torch.empty(size, dtype=torch.int32, device=device)
        return self._memory[:size]


class LayerState:
    """Sums, histogram and examples of ``width`` neurons.

    Powers are summed around ``shift``, a neuron's mean in the first batch, so that nothing cancels.
    """

    def __init__(
        self, width: int, top_k: int, device: torch.device, scratch: Scratch | None = None
    ) -> None:
        self.width = width
        self._scratch = scratch or Scratch()
        self.count = 0
        self._shift: torch.Tensor | None = None
        self._sums = torch.zeros((4, width), dtype=torch.float64, device=device)
        self._histogram = torch.zeros((BUCKETS, width), dtype=torch.int32, device=device)
        self._threads = torch.get_num_threads() if device.type == "cpu" else 1
        self._columns = torch.arange(width, dtype=torch.int32, device=device)
        self._top = Ranking(top_k, width, device, sign=1, windows=True)
        self._bottom = Ranking(top_k, width, device, sign=-1, windows=False)
        self._rows = max(1, AT_ONCE.get(device.type, AT_ONCE["cpu"]) // width)

    def add(self, rows: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Take the values (tokens, N) float32 of a batch; mean and largest of each text, (texts, N)."""
        sums, largest, smallest = batch.reduce(rows)
        self._add_moments(rows, sums.sum(0, dtype=torch.float64))
        self._add_buckets(rows)
        self._top.add(largest, rows, batch)
        self._bottom.add(smallest, rows, batch)
        self.count += len(rows)
        return sums / batch.lengths[:, None], largest

    def _add_moments(self, rows: torch.Tensor, total: torch.Tensor) -> None:
        mean = (total / len(rows)).float()
        if self._shift is None:
            self._shift = mean
        sums = torch.zeros_like(self._sums)
        sums[0] = total - len(rows) * mean.double()
        for part in torch.split(rows, self._rows):
            d = part - mean
            square = d * d
            sums[1] += square.sum(0)
            sums[2] += (square * d).sum(0)
            sums[3] += square.square_().sum(0)
        # From powers around this batch's mean to powers around the first one's.
        by = mean.double() - self._shift.double()
        n, (a, b, c, e) = len(rows), sums
        self._sums[0] += a + n * by
        self._sums[1] += b + by * (2 * a + n * by)
        self._sums[2] += c + by * (3 * b + by * (3 * a + n * by))
        self._sums[3] += e + by * (4 * c + by * (6 * b + by * (4 * a + n * by)))

    def _add_buckets(self, rows: torch.Tensor) -> None:
        # Counting takes one thread only, so neurons are shared out among threads.
        shares = torch.tensor_split(self._histogram, self._threads, dim=1)
        sizes = [len(rows) * share.shape[1] for share in shares]
        places = [
            part.view(len(rows), -1)
            for part in torch.split(self._scratch(sum(sizes), rows.device), sizes)
        ]
        for start in range(0, len(rows), self._rows):
            numbers = signed_buckets(rows[start : start + self._rows])
            split = torch.tensor_split(numbers, self._threads, dim=1)
            for part, out in zip(split, places, strict=True):
                # Neurons lie beside one another in a bucket: most are in the same few at a time.
                width = out.shape[1]
                zero = self._columns[:width] + (SIZES - 1) * width
                torch.add(zero, part, alpha=width, out=out[start : start + self._rows])
        for share, counts in zip(shares, self._counted(places), strict=True):
            share += counts.view(share.shape)

    def _counted(self, places: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        def count(each: torch.Tensor) -> torch.Tensor:
            return torch.bincount(each.view(-1), minlength=BUCKETS * each.shape[1])

        return map(count, places) if len(places) == 1 else counting().map(count, places)

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept, by name."""
        assert self._shift is not None
        top, bottom = self._top.best(), self._bottom.best()
        assert top.windows is not None
        return {
            "count": np.array([self.count], np.int64),
            "shift": self._shift.double().cpu().numpy(),
            "sums": self._sums.cpu().numpy(),
            "histogram": self._histogram.cpu().numpy(),
            "top_values": top.values,
            "top_texts": top.texts,
            "top_tokens": top.tokens,
            "top_windows": top.windows,
            "bottom_values": bottom.values,
            "bottom_texts": bottom.texts,
            "bottom_tokens": bottom.tokens,
        }
