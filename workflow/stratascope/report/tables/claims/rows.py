"""What every claim is tested on, and the row that a test leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stratascope.measure.bootstrap import resample_counts
from stratascope.measure.interval import RESAMPLES, seed_of
from stratascope.measure.metrics import FloatArray
from stratascope.measure.permutation import sign_flips
from stratascope.measure.summary import layer_mean
from stratascope.measure.weighted import Statistic, cluster_ends
from stratascope.report.tables.recognition import Recognised, recognise
from stratascope.report.tables.told import KINDS, Messages, Relabelled, relabelled

COLUMNS = (
    "checkpoint", "claim", "quantity", "reference", "position", "source", "layer", "centred",
    "estimate", "lower", "upper", "n", "conversations", "null", "p", "p_corrected", "verdict",
)  # fmt: skip
ALPHA = 0.05


@dataclass(frozen=True)
class Row:
    """One number of a claim on one checkpoint; what does not apply is NaN or empty."""

    messages: Messages
    quantity: str
    centred: int
    estimate: float
    n: int
    conversations: int
    lower: float = np.nan
    upper: float = np.nan
    reference: str = ""
    layer: float = np.nan
    null: float = np.nan
    p: float = np.nan
    p_corrected: float = np.nan
    verdict: str = ""

    def record(self, claim: str) -> dict[str, object]:
        """The row of the table."""
        checkpoint = self.messages.checkpoint
        return {
            "checkpoint": checkpoint.name,
            "claim": claim,
            "position": checkpoint.first_position,
            "source": checkpoint.sources[self.messages.main_place],
            **{name: getattr(self, name) for name in COLUMNS if hasattr(self, name)},
        }


@dataclass(frozen=True, eq=False)
class Evidence:
    """A study's messages and their cosines ``(n, k, sources, layers, kinds)``, by checkpoint."""

    data: Sequence[Messages]
    cosines: Sequence[FloatArray]
    labellings: Relabelled | None

    @cached_property
    def recognised(self) -> dict[str, Recognised]:
        """How well labelled messages are told apart; empty without any."""
        if self.labellings is None:
            return {}
        return recognise(self.data, self.cosines, self.labellings)

    @cached_property
    def averages(self) -> list[FloatArray]:
        """Cosines at the main source, mean over layers: ``(n, k, kinds)``, by checkpoint."""
        return [
            layer_mean(np.moveaxis(cosines[:, :, messages.main_place], 2, -1))
            for messages, cosines in zip(self.data, self.cosines, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Flips:
    """Signs of a study's conversations, the same at every checkpoint: ``(draws, conversations)``."""

    names: dict[str, int]
    signs: FloatArray

    @classmethod
    def of(cls, conversations: Sequence[str]) -> Flips:
        """For these conversations, in any order."""
        names = sorted(set(conversations))
        signs = sign_flips(len(names), seed_of("signs", *names))
        return cls({name: i for i, name in enumerate(names)}, signs)

    def among(self, conversations: Sequence[str]) -> FloatArray:
        """The signs of some conversations: ``(draws, conversations)``."""
        return np.asarray(self.signs[:, [self.names[name] for name in conversations]])


def least_flip(signs: FloatArray, *, two_sided: bool) -> float:
    """The smallest p-value that these signs can give: how often nothing changes, in (0, 1]."""
    same = (signs == 1).all(axis=1)
    return float((same | (signs == -1).all(axis=1) if two_sided else same).mean())


def evidence_of(data: Sequence[Messages]) -> Evidence:
    """Compare all messages with their references, at every source and layer."""
    cosines = []
    for messages in data:
        sources, layers = messages.checkpoint.sources, messages.checkpoint.layers
        shape = (len(messages.snapshots), len(messages.labels), len(sources), len(layers))
        found = np.full((*shape, len(KINDS)), np.nan)
        for s, source in enumerate(sources):
            for k, layer in enumerate(layers):
                found[:, :, s, k] = messages.cosines(source, layer)
        cosines.append(found)
    return Evidence(data, cosines, relabelled(data))


def interval(
    statistic: Statistic, clusters: int, seed: int, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[float, float, float]:
    """A statistic with every cluster counted once, and the ends of its 95 % interval."""
    estimate = float(statistic(np.ones((1, clusters)))[0])
    draws = statistic(resample_counts(clusters, RESAMPLES, seed))
    return estimate, *cluster_ends(estimate, draws, clusters, bounds)


def beyond_others(values: FloatArray) -> FloatArray:
    """Values ``(n, k)`` at each reference minus their mean at the others; NaN without another."""
    known = ~np.isnan(values)
    count = known.sum(axis=1, keepdims=True) - 1
    others = np.where(known, values, 0.0).sum(axis=1, keepdims=True) - values
    return np.asarray(np.where(count > 0, values - others / np.maximum(count, 1), np.nan))


def verdict(
    p_corrected: float,
    least: float,
    estimate: float,
    null: float,
    ends: tuple[float, float] = (np.nan, np.nan),
) -> str:
    """What a test says of a claim that ``estimate`` is above 0 and above the ``null``'s mean.

    ``found``: so it is, p is at most `ALPHA`, and the interval, if its ``ends`` are given, does not
    hold 0; ``opposite``: as clearly below both; ``too few``: no data of this size could have
    given such a p-value, or there are none; ``not found``: anything else.
    """
    if np.isnan(p_corrected) or least > ALPHA:
        return "too few"
    if p_corrected > ALPHA or ends[0] <= 0 <= ends[1]:
        return "not found"
    if estimate > max(0.0, null):
        return "found"
    return "opposite" if estimate < min(0.0, null) else "not found"
