"""The texts at which each neuron is strongest: kept while batches pass, in any order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from stratascope.capture.neurons.batch import Batch
from stratascope.capture.neurons.passes import passes_on
from stratascope.store.neurons import AFTER, BEFORE

WINDOW = BEFORE + AFTER
_LOWEST = torch.iinfo(torch.int64).min


class Best(NamedTuple):
    """The examples of N neurons, the best first: (k, N), and (k, WINDOW, N) for the values around.

    ``texts`` are numbers of the shard's texts, -1 where there are fewer than k. Outside of a text
    ``windows`` are NaN.
    """

    values: np.ndarray
    texts: np.ndarray
    tokens: np.ndarray
    windows: np.ndarray | None


class Ranking:
    """The k texts at which each of ``width`` neurons is largest, or with ``sign`` -1 smallest.

    A text counts once, at its extreme token. Of equal values the text that comes first in the input
    counts, and its first token. ``windows``: the values around are kept, too.
    """

    def __init__(
        self, k: int, width: int, device: torch.device, *, sign: int, windows: bool
    ) -> None:
        # A value and its text in one number, so that no two are alike and order decides alone.
        empty = _LOWEST + torch.arange(k, device=device)[:, None]
        self._keys = empty.expand(k, width).clone()
        self._tokens = torch.zeros((k, width), dtype=torch.int32, device=device)
        self._windows: torch.Tensor | None = None
        if windows:
            self._windows = torch.full((k, width, WINDOW), torch.nan, device=device)
        self._passes = passes_on(device)
        self._k = k
        self._sign = sign

    def add(self, extremes: torch.Tensor, rows: torch.Tensor, batch: Batch) -> None:
        """``extremes`` (texts, N) of each text, ``rows`` (tokens, N) that they are taken from."""
        keys = _keys(self._sign * extremes, batch.numbers)
        both = torch.cat([self._keys, keys])
        least = torch.topk(both, self._k, dim=0).values[-1]
        # What goes and what comes, neuron by neuron, are as many: each takes another's place.
        gone = (self._keys < least).t().nonzero()
        new = keys >= least
        come = new.t().nonzero()
        if not len(come):
            return
        places = torch.zeros_like(keys)
        places[come[:, 1], come[:, 0]] = gone[:, 1]
        # Text by text from here on: so they are looked up where they lie together.
        texts, neurons = new.nonzero().unbind(1)
        slots = places[texts, neurons]
        self._keys[slots, neurons] = keys[texts, neurons]
        reach = None if self._windows is None else (BEFORE, AFTER)
        tokens, windows = self._passes.look_up(rows, batch, extremes, texts, neurons, reach)
        self._tokens[slots, neurons] = tokens.to(torch.int32)
        if self._windows is not None and windows is not None:
            self._windows[slots, neurons] = windows

    def best(self) -> Best:
        """What is kept, sorted."""
        order = self._keys.argsort(dim=0, descending=True)
        keys = self._keys.gather(0, order)
        empty = keys < _LOWEST + self._k
        texts = torch.where(empty, -1, 0x7FFFFFFF - (keys & 0x7FFFFFFF))
        bits = (keys >> 32).to(torch.int32)
        values = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)
        windows = self._windows
        if windows is not None:
            index = order[:, :, None].expand(-1, -1, WINDOW)
            windows = windows.gather(0, index).transpose(1, 2)
        return Best(
            (self._sign * values + 0.0).masked_fill(empty, torch.nan).cpu().numpy(),
            texts.to(torch.int32).cpu().numpy(),
            self._tokens.gather(0, order).masked_fill(empty, -1).cpu().numpy(),
            None if windows is None else windows.contiguous().cpu().numpy(),
        )


def _keys(values: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """(texts, N) int64 in the order of values; of equal ones the smaller number is the larger key."""
    bits = (values + 0.0).view(torch.int32)  # -0 is 0
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.to(torch.int64) << 32) | (0x7FFFFFFF - numbers[:, None])
