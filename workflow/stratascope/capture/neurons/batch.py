"""A batch of texts as rows of tokens: reduced text by text, and looked up again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

# Numbers that are looked up at one time.
AT_ONCE = 1 << 17
# Numbers that are reduced at one time.
BLOCK = 1 << 19


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
            # A few texts at a time stay in the cache for all three.
            step = length * max(1, BLOCK // (length * rows.shape[1]))
            for part in torch.split(rows[start:stop], step):
                block = part.view(-1, length, rows.shape[1])
                sums.append(block.sum(1))
                largest.append(block.amax(1))
                smallest.append(block.amin(1))
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
        width, longest = rows.shape[1], self._longest
        kind = index_kind(rows)
        first = (self._starts[texts] * width + neurons).to(kind)
        last = first + ((self.lengths[texts] - 1) * width).to(kind)
        steps = (torch.arange(longest, device=rows.device) * width).to(kind)[:, None]
        # The earlier a token, the larger the number it stands for: the largest is the first's.
        small = torch.uint8 if longest < 256 else torch.int32
        worth = torch.arange(longest, 0, -1, dtype=small, device=rows.device)[:, None]
        found = []
        step = max(1, AT_ONCE // longest)
        for at in range(0, len(values), step):
            part = slice(at, at + step)
            # Behind its end a text's last token stands again.
            places = torch.minimum(steps + first[part], last[part])
            there = rows.view(-1).index_select(0, places.view(-1)).view(longest, -1)
            found.append(longest - ((there == values[part]) * worth).amax(0).long())
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
        kind = index_kind(rows)
        places = tokens + torch.arange(-before, after, device=rows.device)[:, None]
        inside = (places >= 0) & (places < self.lengths[texts])
        at = (self._starts[texts] + places).clamp_(0, self.tokens - 1)
        index = at.mul_(rows.shape[1]).add_(neurons).to(kind)
        values = rows.view(-1).index_select(0, index.view(-1)).view(index.shape)
        return values.masked_fill_(~inside, torch.nan).t()


def index_kind(rows: torch.Tensor) -> torch.dtype:
    """What numbers the places of ``rows``: half as wide where that is enough."""
    return torch.int32 if rows.numel() < 1 << 31 else torch.int64
