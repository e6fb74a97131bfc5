"""Does the assistant's state resemble a reference less than the user's message that it answers?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from stratascope.measure.bootstrap import numbered
from stratascope.measure.interval import seed_of
from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.permutation import Tested, against, flipped
from stratascope.measure.weighted import weighted_ratio
from stratascope.report.tables.claims.rows import (
    Evidence,
    Flips,
    Row,
    beyond_others,
    interval,
    least_flip,
    verdict,
)
from stratascope.report.tables.told import KINDS, Messages, Relabelled

QUANTITIES = ("gap", "gap_told", "gap_told_beyond_others")


@dataclass(frozen=True, eq=False)
class _Differences:
    """A user's message minus the assistant's next, at one reference: ``values`` ``(pairs,)``.

    ``every`` ``(pairs, k)`` are the differences at all references, ``told`` ``(pairs,)`` numbers the one
    that the user is known to tell (-1 where nothing is said).
    """

    messages: Messages
    reference: str
    values: FloatArray
    every: FloatArray
    told: IntArray
    conversations: list[str]

    @cached_property
    def clusters(self) -> list[str]:
        """The conversations, each once."""
        return list(dict.fromkeys(self.conversations))

    @cached_property
    def sums(self) -> FloatArray:
        """The sum of each conversation's differences ``(conversations,)``."""
        codes = numbered(self.conversations)
        return np.bincount(codes, self.values, len(self.clusters)).astype(np.float64)


def rows(evidence: Evidence) -> Iterator[Row]:
    """User minus assistant: for each reference, for the one that was told, and for it beyond others.

    For the first two the signs of whole conversations are flipped, for the third conversations are
    relabelled. p-values are corrected over checkpoints, those of single references over
    references, too.
    """
    for i, kind in enumerate(KINDS):
        found = [
            _differences(messages, average[..., i])
            for messages, average in zip(evidence.data, evidence.averages, strict=True)
        ]
        for quantity in QUANTITIES:
            family = [item for each in found for item in each[quantity] if len(item.values)]
            if family and quantity == QUANTITIES[2]:
                assert evidence.labellings is not None
                yield from _relabelled(kind, family, evidence.labellings)
            elif family:
                yield from _flipped(quantity, kind, family)


def _differences(messages: Messages, cosines: FloatArray) -> dict[str, list[_Differences]]:
    """Each quantity's differences, from cosines ``(n, k)``, mean over layers."""
    user, assistant = _pairs(messages)
    every, told = cosines[user] - cosines[assistant], messages.told[user]
    # Of the user's message: conversations that begin alike share it.
    names = [messages.conversations[row] for row in user]

    def kept(values: FloatArray, reference: str = "") -> _Differences:
        there = np.flatnonzero(~np.isnan(values))
        some = [names[row] for row in there]
        return _Differences(messages, reference, values[there], every[there], told[there], some)

    own, beyond = (
        np.where(told >= 0, values[np.arange(len(values)), told], np.nan)
        for values in (every, beyond_others(every))
    )
    single = [kept(every[:, j], label) for j, label in enumerate(messages.labels)]
    return dict(zip(QUANTITIES, (single, [kept(own)], [kept(beyond)]), strict=True))


def _pairs(messages: Messages) -> tuple[IntArray, IntArray]:
    """The rows of user messages, and of the assistant messages that come next."""
    place = {snapshot.prefix: i for i, snapshot in enumerate(messages.snapshots)}
    prefix = {(s.run.label, s.message): s.prefix for s in messages.checkpoint.snapshots}
    pairs = [
        (place[before], i)
        for i, snapshot in enumerate(messages.snapshots)
        if snapshot.role == "assistant"
        and (before := prefix.get((snapshot.run.label, snapshot.message - 1))) is not None
        and messages.snapshots[place[before]].role == "user"
    ]
    user, assistant = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return user, assistant


def _flipped(quantity: str, kind: int, family: Sequence[_Differences]) -> Iterator[Row]:
    flips = Flips.of([name for item in family for name in item.clusters])
    signs = [flips.among(item.clusters) for item in family]
    draws = [flipped(item.sums[:, None], some) for item, some in zip(family, signs, strict=True)]
    tested = against(np.concatenate(draws, axis=1), two_sided=True)
    # The mean over all patterns of signs, but for rounding.
    tested = replace(tested, null=np.zeros(len(family)))
    least = [least_flip(some, two_sided=True) for some in signs]
    yield from _rows(quantity, kind, family, tested, least)


def _relabelled(kind: int, family: Sequence[_Differences], labellings: Relabelled) -> Iterator[Row]:
    draws = []
    for item in family:
        codes = labellings.codes(item.conversations, item.told)
        draws.append(beyond_others(item.every)[np.arange(len(item.every)), codes].mean(axis=1))
    tested = against(np.stack(draws, axis=1), two_sided=True)
    yield from _rows(QUANTITIES[2], kind, family, tested, [labellings.least] * len(family))


def _rows(
    quantity: str, kind: int, family: Sequence[_Differences], tested: Tested, least: list[float]
) -> Iterator[Row]:
    for j, item in enumerate(family):
        codes, total = numbered(item.conversations), len(item.clusters)
        mean = weighted_ratio(item.values, np.ones(len(codes)), codes, total)
        seed = seed_of(quantity, item.messages.checkpoint.name, item.reference)
        estimate, lower, upper = interval(mean, total, seed)
        null, corrected = float(tested.null[j]), float(tested.corrected[j])
        yield Row(
            messages=item.messages, quantity=quantity, reference=item.reference, centred=kind,
            estimate=estimate, lower=lower, upper=upper, n=len(item.values), conversations=total,
            null=null, p=float(tested.p[j]), p_corrected=corrected,
            verdict=verdict(corrected, least[j], estimate, null, (lower, upper)),
        )  # fmt: skip
