"""What logits say: the likeliest tokens, how likely a given one is, how sure, how far from the end.

The logit lens (nostalgebraist, 2020, *interpreting GPT: the logit lens*) reads every layer by the
model's own final norm and head. Everything is in nats, and in double precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stratascope.measure.readout import Readout


@dataclass(frozen=True)
class Reading:
    """What one layer says at each of some rows.

    ``top`` (rows, k) are the likeliest ids, likeliest first, the smaller id where two are equal;
    ``top_logprobs`` the same shape. ``entropy`` (rows,) lies between 0 and log(vocabulary); ``kl``
    (rows,) is KL(final || layer), 0 and up: what is lost by taking this layer for the final one.
    ``ranks`` and ``logprobs`` (rows, targets) are of the tokens asked for; rank 1 is the likeliest,
    and rank 0 with a logprob of nan stands where no token was asked for (a target of -1).
    """

    top: np.ndarray
    top_logprobs: np.ndarray
    entropy: np.ndarray
    kl: np.ndarray
    ranks: np.ndarray
    logprobs: np.ndarray


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities (rows, vocabulary) in float64; unchanged by a constant added to a row."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def likeliest(values: np.ndarray, k: int) -> np.ndarray:
    """The ``k`` largest of each row (rows, n), largest first; of equals the first. (rows, min(k, n))."""
    k = min(k, values.shape[1])
    found = np.empty((len(values), k), np.int64)
    for row, numbers in enumerate(values):
        least = np.partition(numbers, -k)[-k]
        some = np.flatnonzero(numbers >= least)
        found[row] = some[np.argsort(-numbers[some], kind="stable")][:k]
    return found


def ranks_of(values: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The rank, from 1, of column ``targets`` (rows, n) in each row of values; 0 for a target of -1.

    Of equal values the first column comes first, as in `likeliest`.
    """
    found = np.zeros(targets.shape, np.int64)
    columns = np.arange(values.shape[1])
    for row, place in zip(*np.nonzero(targets >= 0), strict=True):
        numbers, target = values[row], targets[row, place]
        before = (numbers > numbers[target]) | ((numbers == numbers[target]) & (columns < target))
        found[row, place] = 1 + before.sum()
    return found


def read_logits(logits: np.ndarray, final: np.ndarray, targets: np.ndarray, k: int) -> Reading:
    """What ``logits`` (rows, vocabulary) say beside the ``final`` log-probabilities, same shape.

    ``targets`` (rows, n) are ids, -1 where none is asked for.
    """
    said = log_softmax(logits)
    top = likeliest(said, k)
    weight = np.exp(final)
    asked = np.take_along_axis(said, np.maximum(targets, 0), 1)
    return Reading(
        top,
        np.take_along_axis(said, top, 1),
        -(np.exp(said) * said).sum(-1),
        np.maximum((weight * (final - said)).sum(-1), 0),
        ranks_of(said, targets),
        np.where(targets >= 0, asked, np.nan),
    )


def final_logits(readout: Readout, last: np.ndarray) -> np.ndarray:
    """The logits (rows, vocabulary) of the last layer's output (rows, hidden): the model's own."""
    return np.concatenate([readout.logits(last[some]) for some in readout.chunks(len(last))])


def read_layer(
    readout: Readout, states: np.ndarray, final: np.ndarray, targets: np.ndarray, k: int
) -> Reading:
    """What a layer's ``states`` (rows, hidden) say through the model's final norm and head.

    ``final`` as from `final_logits`, and ``targets`` (rows, n) ids, -1 where none is asked for. Beside
    ``final``, only the logits of a chunk of rows are in memory.

    Raises:
        ValueError: no rows.
    """
    parts = [
        read_logits(readout.logits(states[some]), log_softmax(final[some]), targets[some], k)
        for some in readout.chunks(len(states))
    ]
    fields = zip(*(vars(part).values() for part in parts), strict=True)
    return Reading(*(np.concatenate(found) for found in fields))
