"""What is kept of the neurons of one layer while a shard passes: of a fixed size, however many tokens."""

from __future__ import annotations

import numpy as np
import torch

from stratascope.capture.neurons.batch import Batch
from stratascope.capture.neurons.buckets import BUCKETS, bucket_numbers
from stratascope.capture.neurons.ranking import Ranking

# Numbers that are worked on at one time: they fit into a processor's cache, and fill a GPU.
AT_ONCE = {"cpu": 1 << 17, "cuda": 1 << 26}


class LayerState:
    """Sums, histogram and examples of ``width`` neurons.

    Powers are summed around ``shift``, a neuron's mean in the first batch, so that nothing cancels.
    """

    def __init__(self, width: int, top_k: int, device: torch.device) -> None:
        self.width = width
        self.count = 0
        self._shift: torch.Tensor | None = None
        self._sums = torch.zeros((4, width), dtype=torch.float64, device=device)
        self._histogram = torch.zeros(BUCKETS * width, dtype=torch.int32, device=device)
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
        for part in torch.split(rows, self._rows):
            d = part - mean
            square = d * d
            sums[0] += d.sum(0)
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
        # Neurons lie beside one another in a bucket: most are in the same few at a time.
        places = torch.empty(rows.shape, dtype=torch.int32, device=rows.device)
        for part, out in zip(
            *(torch.split(each, self._rows) for each in (rows, places)), strict=True
        ):
            torch.add(bucket_numbers(part).mul_(self.width), self._columns, out=out)
        self._histogram += torch.bincount(places.view(-1), minlength=len(self._histogram))

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept, by name."""
        assert self._shift is not None
        top, bottom = self._top.best(), self._bottom.best()
        assert top.windows is not None
        return {
            "count": np.array([self.count], np.int64),
            "shift": self._shift.double().cpu().numpy(),
            "sums": self._sums.cpu().numpy(),
            "histogram": self._histogram.view(BUCKETS, self.width).cpu().numpy(),
            "top_values": top.values,
            "top_texts": top.texts,
            "top_tokens": top.tokens,
            "top_windows": top.windows,
            "bottom_values": bottom.values,
            "bottom_texts": bottom.texts,
            "bottom_tokens": bottom.tokens,
        }
