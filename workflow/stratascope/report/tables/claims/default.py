"""Is one reference the default: nearest whatever is told, and more so than its geometry makes it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stratascope.measure.bootstrap import numbered
from stratascope.measure.interval import seed_of
from stratascope.measure.metrics import BoolArray, FloatArray
from stratascope.measure.multiple import holm
from stratascope.measure.nearest import DRAWS, shares, some_conversations
from stratascope.measure.permutation import against, flipped
from stratascope.measure.weighted import SHARE, weighted_ratio
from stratascope.report.tables.claims.nearest import Compared, compared
from stratascope.report.tables.claims.rows import (
    Evidence,
    Flips,
    Row,
    interval,
    least_flip,
    verdict,
)
from stratascope.report.tables.told import KINDS


@dataclass(frozen=True, eq=False)
class _Share:
    """Whether a reference is nearest, ``won`` ``(n,)`` of 0 and 1, to the messages that count."""

    item: Compared
    reference: str
    won: FloatArray
    conversations: list[str]

    @property
    def chance(self) -> float:
        """What blind choice gives."""
        return 1 / len(self.item.references.labels)

    def row(self, quantity: str) -> Row:
        """The share and its interval, not tested yet."""
        codes, total = numbered(self.conversations), len(set(self.conversations))
        share = weighted_ratio(self.won, np.ones(len(codes)), codes, total)
        seed = seed_of("share", self.item.messages.checkpoint.name, self.reference)
        estimate, lower, upper = interval(share, total, seed, SHARE)
        return Row(
            messages=self.item.messages, quantity=quantity, reference=self.reference,
            centred=self.item.kind, estimate=estimate, lower=lower, upper=upper, n=len(codes),
            conversations=total, null=self.chance,
        )  # fmt: skip


def rows(evidence: Evidence) -> Iterator[Row]:
    """How often each reference is nearest, and whether the most frequent one is a default.

    ``share_nearest`` is of all messages of users and assistants, ``share_nearest_untold`` of those
    that are known to tell something else: held against blind choice, with the signs of whole
    conversations flipped, corrected over references and checkpoints. ``largest_share`` is the largest
    of the first, held against that of references turned elsewhere as one rigid body, with Holm's
    correction over checkpoints.
    """
    for i, kind in enumerate(KINDS):
        pairs = zip(evidence.data, evidence.averages, strict=True)
        found = [item for m, a in pairs if (item := compared(m, kind, a[..., i])) is not None]
        every = [_shares(item, np.ones(item.cosines.shape, dtype=bool)) for item in found]
        yield from _flipped("share_nearest", [share for shares in every for share in shares])
        untold = [share for item in found for share in _shares(item, item.untold)]
        yield from _flipped("share_nearest_untold", untold)
        yield from _largest(every)


def _shares(item: Compared, counted: BoolArray) -> list[_Share]:
    """The share of each reference that a message counts for."""
    nearest = item.cosines.argmax(axis=1)
    names = item.conversations
    found = []
    for j, label in enumerate(item.references.labels):
        some = np.flatnonzero(counted[:, j])
        if len(some):
            won = (nearest[some] == j).astype(np.float64)
            found.append(_Share(item, label, won, [names[row] for row in some]))
    return found


def _flipped(quantity: str, family: Sequence[_Share]) -> Iterator[Row]:
    if not family:
        return
    flips = Flips.of([name for share in family for name in share.conversations])
    draws, least = [], []
    for share in family:
        clusters = list(dict.fromkeys(share.conversations))
        signs = flips.among(clusters)
        sums = np.bincount(numbered(share.conversations), share.won - share.chance)
        draws.append(flipped(sums[:, None].astype(np.float64), signs))
        least.append(least_flip(signs, two_sided=False))
    tested = against(np.concatenate(draws, axis=1), two_sided=False)
    for j, share in enumerate(family):
        row, corrected = share.row(quantity), float(tested.corrected[j])
        yield replace(
            row, p=float(tested.p[j]), p_corrected=corrected,
            verdict=_verdict(row, corrected, least[j], share.chance),
        )  # fmt: skip


def _largest(every: Sequence[Sequence[_Share]]) -> Iterator[Row]:
    """The share of the most frequent reference at each checkpoint."""
    made = []
    for found in every:
        best = max(found, key=lambda share: float(share.won.mean()))
        item, row = best.item, best.row("largest_share")
        seed = seed_of("some", *sorted(set(item.conversations)))
        places = some_conversations(item.conversations, seed)
        counted = np.ones((len(places), len(item.references.labels)), dtype=bool)
        draws = shares(item.turned(places), counted).max(axis=1)
        tested = against(np.array([[row.estimate], *draws[:, None]]), two_sided=False)
        p = float(tested.p[0]) if row.conversations > 1 else np.nan
        made.append((replace(row, null=float(tested.null[0]), p=p), best.chance))
    corrected = holm([row.p for row, _ in made]).tolist()
    for (row, chance), p in zip(made, corrected, strict=True):
        yield replace(row, p_corrected=p, verdict=_verdict(row, p, 1 / DRAWS, chance))


def _verdict(row: Row, corrected: float, least: float, chance: float) -> str:
    """Whether the share is above its null and, by its interval, above blind choice."""
    null, ends = row.null - chance, (row.lower - chance, row.upper - chance)
    return verdict(corrected, least, row.estimate - chance, null, ends)
