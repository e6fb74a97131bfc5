"""What is kept of the neurons of one layer while a shard passes: of a fixed size, however many tokens."""

from __future__ import annotations

import numpy as np
import torch

from stratascope.capture.neurons.batch import Batch
from stratascope.capture.neurons.buckets import BUCKETS
from stratascope.capture.neurons.passes import Powers, Scratch, passes_on
from stratascope.capture.neurons.ranking import Ranking


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
        self._histogram = torch.zeros((width, BUCKETS), dtype=torch.int32, device=device)
        self._passes = passes_on(device)
        self._top = Ranking(top_k, width, device, sign=1, windows=True)
        self._bottom = Ranking(top_k, width, device, sign=-1, windows=False)

    def add(self, rows: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Take the values (tokens, N) float32 of a batch; mean and largest of each text, (texts, N)."""
        reduced, powers = self._passes.sweep(rows, batch, self._histogram, self._scratch)
        self._add_powers(len(rows), powers)
        self._top.add(reduced.largest, rows, batch)
        self._bottom.add(reduced.smallest, rows, batch)
        self.count += len(rows)
        return (reduced.sums / batch.lengths[:, None]).float(), reduced.largest

    def _add_powers(self, n: int, powers: Powers) -> None:
        """From powers around this batch's mean to powers around the first one's."""
        if self._shift is None:
            self._shift = powers.mean
        by = powers.mean.double() - self._shift.double()
        a, b, c, e = powers.sums
        self._sums[0] += a + n * by
        self._sums[1] += b + by * (2 * a + n * by)
        self._sums[2] += c + by * (3 * b + by * (3 * a + n * by))
        self._sums[3] += e + by * (4 * c + by * (6 * b + by * (4 * a + n * by)))

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept, by name."""
        assert self._shift is not None
        top, bottom = self._top.best(), self._bottom.best()
        assert top.windows is not None
        return {
            "count": np.array([self.count], np.int64),
            "shift": self._shift.double().cpu().numpy(),
            "sums": self._sums.cpu().numpy(),
            "histogram": self._histogram.t().contiguous().cpu().numpy(),
            "top_values": top.values,
            "top_texts": top.texts,
            "top_tokens": top.tokens,
            "top_windows": top.windows,
            "bottom_values": bottom.values,
            "bottom_texts": bottom.texts,
            "bottom_tokens": bottom.tokens,
        }
