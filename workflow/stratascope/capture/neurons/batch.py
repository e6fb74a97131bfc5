"""A batch of texts as rows of tokens: reduced text by text, and looked up again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

# Numbers that are looked up at one time.
AT_ONCE = 1 << 18


class Batch:
    """Where the texts of a batch lie among its rows, one text after the other, without padding.

    ``numbers`` (texts,) int64 are the texts' numbers in their shard.
    """

    def __init__(
        self, lengths: Sequence[int], numbers: Sequence[int], device: torch.device
    ) -> None:
        self.tokens = sum(lengths)
        self.numbers = torch.tensor(numbers, dtype=torch.int64, device=device)
        self.lengths = torch.tensor(lengths, dtype=torch.int64, device=device)
        self._starts = self.lengths.cumsum(0) - self.lengths
        self._longest = max(lengths)
        # Neighbours of one length are reduced together.
        self._runs = [(length, len(list(texts))) for length, texts in groupby(lengths)]

    def reduce(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Sum, largest and smallest of each text: (tokens, N) to three of (texts, N)."""
        sums, largest, smallest = [], [], []
        start = 0
        for length, texts in self._runs:
            stop = start + length * texts
            part = rows[start:stop].view(texts, length, -1)
            sums.append(part.sum(1))
            largest.append(part.amax(1))
            smallest.append(part.amin(1))
            start = stop
        return torch.cat(sums), torch.cat(largest), torch.cat(smallest)

    def first_token(
        self,
        rows: torch.Tensor,
        values: torch.Tensor,
        texts: torch.Tensor,
        neurons: torch.Tensor,
    ) -> torch.Tensor:
        """(E,): the first token of each text at which its neuron has that value."""
        found = []
        # So many at a time that the index stays small.
        step = max(1, AT_ONCE // self._longest)
        offsets = torch.arange(self._longest, device=rows.device)[:, None]
        for at in range(0, len(values), step):
            part = slice(at, at + step)
            # Behind its end a text's last token stands again.
            places = self._starts[texts[part]] + torch.minimum(
                offsets, self.lengths[texts[part]] - 1
            )
            there = rows.view(-1).take(places * rows.shape[1] + neurons[part])
            found.append((there == values[part]).to(torch.uint8).argmax(0))
        return torch.cat(found)

    def around(
        self,
        rows: torch.Tensor,
        tokens: torch.Tensor,
        texts: torch.Tensor,
        neurons: torch.Tensor,
        reach: tuple[int, int],
    ) -> torch.Tensor:
        """(E, window): the values around each token, NaN outside of its text."""
        before, after = reach
        places = tokens + torch.arange(-before, after, device=rows.device)[:, None]
        inside = (places >= 0) & (places < self.lengths[texts])
        at = (self._starts[texts] + places).clamp(0, self.tokens - 1)
        values = rows.view(-1).take(at * rows.shape[1] + neurons)
        return values.masked_fill(~inside, torch.nan).t()
