"""A batch of texts as rows of tokens, one text after the other, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch


class Batch:
    """Where the texts of a batch lie among its rows.

    ``numbers``, ``lengths`` and ``starts`` are (texts,) int64: the texts' numbers in their shard, how
    many tokens they have and which row is the first. ``runs`` are (length, how many) of neighbours of
    one length.
    """

    def __init__(
        self, lengths: Sequence[int], numbers: Sequence[int], device: torch.device
    ) -> None:
        self.tokens = sum(lengths)
        self.longest = max(lengths)
        self.numbers = torch.tensor(numbers, dtype=torch.int64, device=device)
        self.lengths = torch.tensor(lengths, dtype=torch.int64, device=device)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.runs = [(length, len(list(texts))) for length, texts in groupby(lengths)]
