"""The passes over all values of a batch: in NumPy on a CPU, where that is several times as fast as PyTorch.

Either is a module with the same functions.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch

from stratascope.capture.neurons.batch import Batch


class Reduced(NamedTuple):
    """Of each text and neuron, (texts, N): the sum in float64, the largest and the smallest value."""

    sums: torch.Tensor
    largest: torch.Tensor
    smallest: torch.Tensor


class Powers(NamedTuple):
    """Of each neuron: the mean (N,) float32, and around it the sums of powers 1 to 4, (4, N) float64."""

    mean: torch.Tensor
    sums: torch.Tensor


class Scratch:
    """Memory that all layers use in turn: fresh memory costs more than what is written to it."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.int32)

    def __call__(self, size: int, device: torch.device) -> torch.Tensor:
        """(size,) int32, of any content."""
        if len(self._memory) < size or self._memory.device != device:
            self._memory = torch.empty(size, dtype=torch.int32, device=device)
        return self._memory[:size]


class Passes(Protocol):
    """What `on_cpu` and `on_gpu` are. ``rows`` are (tokens, N) float32, all finite."""

    def reduce(self, rows: torch.Tensor, batch: Batch) -> Reduced:
        """Sum, largest and smallest of each text."""

    def sweep(
        self, rows: torch.Tensor, batch: Batch, histogram: torch.Tensor, scratch: Scratch
    ) -> tuple[Reduced, Powers]:
        """Everything, and each value counted in ``histogram`` (N, buckets) int32."""

    def look_up(
        self,
        rows: torch.Tensor,
        batch: Batch,
        extremes: torch.Tensor,
        texts: torch.Tensor,
        neurons: torch.Tensor,
        reach: tuple[int, int] | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Where each of E neurons first has the extreme of a text, and the values around that token.

        ``extremes`` (texts, N) are the largest, or the smallest, of every text; ``texts`` (E,) ascend.
        Returns tokens of the texts, (E,) int64, and (E, window), NaN outside of the text; the window is
        ``reach``, tokens before and from it on, and None without.
        """


def passes_on(device: torch.device) -> Passes:
    """The passes for tensors on ``device``."""
    from stratascope.capture.neurons import on_cpu, on_gpu

    return on_cpu if device.type == "cpu" else on_gpu
