"""The passes in NumPy: on a CPU, a block at a time that fits into its cache, columns shared among threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from stratascope.capture.neurons.batch import Batch
from stratascope.capture.neurons.buckets import BUCKETS, SIZES, write_buckets
from stratascope.capture.neurons.passes import Powers, Reduced, Scratch

Floats = NDArray[np.float32]

# Numbers that are worked on at one time: with 2 threads, half of them each.
AT_ONCE = 1 << 18
# A thread takes at least so many columns; the threads' own work is too small else.
COLUMNS = 256
# So many tokens are summed in float32 before the sum is added up in float64.
SUMMED = 128


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="neurons")


def reduce(rows: torch.Tensor, batch: Batch) -> Reduced:
    """See `Passes`."""
    reduced = _empty(rows, batch)
    _reduce(rows.numpy(), batch, _step(rows), *(each.numpy() for each in reduced))
    return reduced


def sweep(
    rows: torch.Tensor, batch: Batch, histogram: torch.Tensor, scratch: Scratch
) -> tuple[Reduced, Powers]:
    """See `Passes`. The same bits for any number of threads: columns do not depend on one another."""
    width = rows.shape[1]
    reduced = _empty(rows, batch)
    powers = Powers(torch.empty(width), torch.empty((4, width), dtype=torch.float64))
    places = scratch(rows.numel(), rows.device).numpy()
    shares = min(torch.get_num_threads(), max(1, width // COLUMNS))
    bounds = [width * i // shares for i in range(shares + 1)]
    columns = [slice(a, b) for a, b in pairwise(bounds)]
    work = partial(
        _sweep_columns,
        batch,
        _step(rows),
        rows.numpy(),
        places,
        histogram.numpy(),
        reduced,
        powers,
    )
    if shares == 1:
        work(columns[0])
    else:
        list(_threads().map(work, columns))
    return reduced, powers


def _step(rows: torch.Tensor) -> int:
    return min(SUMMED, max(1, AT_ONCE // rows.shape[1]))


def _empty(rows: torch.Tensor, batch: Batch) -> Reduced:
    shape = (len(batch.lengths), rows.shape[1])
    return Reduced(torch.zeros(shape, dtype=torch.float64), torch.empty(shape), torch.empty(shape))


def _reduce(
    values: Floats,
    batch: Batch,
    step: int,
    sums: NDArray[np.float64],
    largest: Floats,
    smallest: Floats,
) -> None:
    """Fill the last three, (texts, columns), from the rows ``values``, about ``step`` rows at a time."""
    row = text = 0
    for length, texts in batch.runs:
        together = max(1, step // length)
        for first in range(0, texts, together):
            count = min(together, texts - first)
            block = values[row : row + count * length].reshape(count, length, -1)
            here = slice(text, text + count)
            for at in range(0, length, SUMMED):
                sums[here] += block[:, at : at + SUMMED].sum(1)
            block.max(1, out=largest[here])
            block.min(1, out=smallest[here])
            row, text = row + count * length, text + count


def _sweep_columns(
    batch: Batch,
    step: int,
    rows: Floats,
    places: NDArray[np.int32],
    histogram: NDArray[np.int32],
    reduced: Reduced,
    powers: Powers,
    columns: slice,
) -> None:
    values = rows[:, columns]
    width = values.shape[1]
    of_texts = [each.numpy()[:, columns] for each in reduced]
    _reduce(values, batch, step, *of_texts)
    total = of_texts[0].sum(0)
    mean = (total / len(values)).astype(np.float32)
    sums = np.zeros((4, width))
    sums[0] = total - len(values) * mean.astype(np.float64)
    mine = places[len(values) * columns.start : len(values) * columns.stop].reshape(-1, width)
    first = np.arange(width, dtype=np.int32) * np.int32(BUCKETS) + np.int32(SIZES - 1)
    d, square = np.empty((2, step, width), np.float32)
    for start in range(0, len(values), step):
        part = values[start : start + step]
        a, b = d[: len(part)], square[: len(part)]
        np.subtract(part, mean, out=a)
        np.multiply(a, a, out=b)
        sums[1] += b.sum(0)
        sums[2] += np.multiply(a, b, out=a).sum(0)
        sums[3] += np.multiply(b, b, out=b).sum(0)
        at = mine[start : start + step]
        write_buckets(part, at, a.view(np.int32))
        np.add(at, first, out=at)
    # PyTorch's needs no wider numbers, and lets other threads run.
    counts = torch.bincount(torch.from_numpy(mine).view(-1), minlength=BUCKETS * width)
    histogram[columns] += counts.numpy().reshape(width, BUCKETS)
    powers.mean.numpy()[columns] = mean
    powers.sums.numpy()[:, columns] = sums


def look_up(
    rows: torch.Tensor,
    batch: Batch,
    extremes: torch.Tensor,
    texts: torch.Tensor,
    neurons: torch.Tensor,
    reach: tuple[int, int] | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """See `Passes`. Text by text: what is read of one lies together."""
    values, wanted, which = rows.numpy(), extremes.numpy(), neurons.numpy()
    tokens = np.empty(len(which), np.int64)
    windows = None if reach is None else np.empty((len(which), sum(reach)), np.float32)
    steps = np.arange(sum(reach or ()))[:, None]
    bounds = np.searchsorted(texts.numpy(), np.arange(len(wanted) + 1))
    starts, lengths = batch.starts.tolist(), batch.lengths.tolist()
    for text in np.flatnonzero(np.diff(bounds)).tolist():
        part = slice(bounds[text], bounds[text + 1])
        mine = which[part]
        block = values[starts[text] : starts[text] + lengths[text]].take(mine, axis=1)
        # The earlier a token, the larger the number it stands for: the largest is the first's.
        worth = np.arange(len(block), 0, -1, dtype=np.uint8 if len(block) < 256 else np.int32)
        hits = (block == wanted[text].take(mine)) * worth[:, None]
        tokens[part] = len(block) - hits.max(0).astype(np.int64)
        if windows is not None and reach is not None:
            padded = np.full((len(block) + sum(reach), len(mine)), np.nan, np.float32)
            padded[reach[0] : reach[0] + len(block)] = block
            at = (tokens[part] + steps) * len(mine) + np.arange(len(mine))
            windows[part] = padded.reshape(-1).take(at).T
    return torch.from_numpy(tokens), None if windows is None else torch.from_numpy(windows)
