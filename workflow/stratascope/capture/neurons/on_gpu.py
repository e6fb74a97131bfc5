"""The passes in PyTorch: on a GPU, whose memory they fill as far as is good for it."""

from __future__ import annotations

import torch

from stratascope.capture.neurons.batch import Batch
from stratascope.capture.neurons.buckets import BUCKETS, SIZES, signed_buckets
from stratascope.capture.neurons.passes import Powers, Reduced, Scratch

# Numbers that are worked on at one time.
AT_ONCE = 1 << 26
# Numbers that are looked up at one time.
LOOKED_UP = 1 << 22


def reduce(rows: torch.Tensor, batch: Batch) -> Reduced:
    """See `Passes`."""
    sums, largest, smallest = [], [], []
    start = 0
    for length, texts in batch.runs:
        stop = start + length * texts
        block = rows[start:stop].view(-1, length, rows.shape[1])
        sums.append(block.sum(1, dtype=torch.float64))
        largest.append(block.amax(1))
        smallest.append(block.amin(1))
        start = stop
    return Reduced(torch.cat(sums), torch.cat(largest), torch.cat(smallest))


def sweep(
    rows: torch.Tensor, batch: Batch, histogram: torch.Tensor, scratch: Scratch
) -> tuple[Reduced, Powers]:
    """See `Passes`."""
    reduced = reduce(rows, batch)
    width = rows.shape[1]
    total = reduced.sums.sum(0)
    mean = (total / len(rows)).float()
    sums = torch.zeros((4, width), dtype=torch.float64, device=rows.device)
    sums[0] = total - len(rows) * mean.double()
    columns = torch.arange(width, dtype=torch.int32, device=rows.device) * BUCKETS + (SIZES - 1)
    places = scratch(rows.numel(), rows.device).view(rows.shape)
    step = max(1, AT_ONCE // width)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        d = part - mean
        square = d * d
        sums[1] += square.sum(0)
        sums[2] += (square * d).sum(0)
        sums[3] += square.square_().sum(0)
        places[start : start + step] = signed_buckets(part).add_(columns)
    counts = torch.bincount(places.view(-1), minlength=BUCKETS * width)
    histogram += counts.view(histogram.shape)
    return reduced, Powers(mean, sums)


def look_up(
    rows: torch.Tensor,
    batch: Batch,
    extremes: torch.Tensor,
    texts: torch.Tensor,
    neurons: torch.Tensor,
    reach: tuple[int, int] | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """See `Passes`."""
    tokens = _first_token(rows, batch, extremes[texts, neurons], texts, neurons)
    if reach is None:
        return tokens, None
    before, after = reach
    places = tokens[:, None] + torch.arange(-before, after, device=rows.device)
    inside = (places >= 0) & (places < batch.lengths[texts][:, None])
    at = (batch.starts[texts][:, None] + places).clamp_(0, batch.tokens - 1)
    index = at.mul_(rows.shape[1]).add_(neurons[:, None]).to(_index_kind(rows))
    values = rows.view(-1).index_select(0, index.view(-1)).view(index.shape)
    return tokens, values.masked_fill_(~inside, torch.nan)


def _first_token(
    rows: torch.Tensor,
    batch: Batch,
    values: torch.Tensor,
    texts: torch.Tensor,
    neurons: torch.Tensor,
) -> torch.Tensor:
    width, longest = rows.shape[1], batch.longest
    kind = _index_kind(rows)
    first = (batch.starts[texts] * width + neurons).to(kind)
    last = first + ((batch.lengths[texts] - 1) * width).to(kind)
    steps = (torch.arange(longest, device=rows.device) * width).to(kind)[:, None]
    # The earlier a token, the larger the number it stands for: the largest is the first's.
    small = torch.uint8 if longest < 256 else torch.int32
    worth = torch.arange(longest, 0, -1, dtype=small, device=rows.device)[:, None]
    found = []
    step = max(1, LOOKED_UP // longest)
    for at in range(0, len(values), step):
        part = slice(at, at + step)
        # Behind its end a text's last token stands again.
        places = torch.minimum(steps + first[part], last[part])
        there = rows.view(-1).index_select(0, places.view(-1)).view(longest, -1)
        found.append(longest - ((there == values[part]) * worth).amax(0).long())
    return torch.cat(found)


def _index_kind(rows: torch.Tensor) -> torch.dtype:
    """What numbers the places of ``rows``: half as wide where that is enough."""
    return torch.int32 if rows.numel() < 1 << 31 else torch.int64
