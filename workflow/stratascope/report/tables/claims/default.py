"""Is one reference the default: nearest more often than its geometry makes it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from stratascope.measure.bootstrap import numbered
from stratascope.measure.interval import seed_of
from stratascope.measure.metrics import BoolArray, FloatArray
from stratascope.measure.multiple import holm
from stratascope.measure.nearest import (
    DRAWS,
    combinations,
    layer_average,
    shares,
    some_conversations,
    turned_cosines,
)
from stratascope.measure.permutation import against
from stratascope.measure.weighted import SHARE, weighted_ratio
from stratascope.report.tables.claims.rows import Evidence, Row, interval, verdict
from stratascope.report.tables.told import KINDS, Messages

QUANTITIES = ("share_nearest", "share_nearest_untold")
ROLES = ("user", "assistant")


@dataclass(frozen=True, eq=False)
class _Compared:
    """Messages ``rows`` of users and assistants, and the set of references, ``number``, of theirs.

    ``some`` of the rows take part in the null.
    """

    messages: Messages
    number: int
    rows: list[int]
    some: list[int]

    @property
    def columns(self) -> list[int]:
        """Where the references stand among the study's labels."""
        return self.messages.columns(self.messages.checkpoint.reference_sets[self.number])

    def counted(self, quantity: str) -> BoolArray:
        """Which rows count for which reference ``(n, k)``: all, or those known to tell another."""
        told = self.messages.told[self.rows][:, None]
        other = (told >= 0) & (told != np.array(self.columns))
        return np.asarray(other | (quantity == QUANTITIES[0]))

    def turned(self, kind: int) -> FloatArray:
        """Cosines of ``some``, mean over layers, with references turned elsewhere: ``(b, n, k)``."""
        messages, checkpoint = self.messages, self.messages.checkpoint
        source = checkpoint.sources[messages.main_place]
        references = checkpoint.reference_sets[self.number]
        seed = seed_of("default", *(messages.snapshots[row].prefix for row in self.some))
        weights = combinations(len(self.some), len(references.labels), seed)

        def at(layer: int) -> FloatArray:
            states = messages.states(source, layer)[self.some]
            goals = messages.goals(source, layer)[references.rows]
            x, y = (messages.of_kind(each, source, layer, kind) for each in (states, goals))
            return turned_cosines(x, y, weights)

        return layer_average(map(at, checkpoint.layers))


def rows(evidence: Evidence) -> Iterator[Row]:
    """How often each reference is nearest, to any message and to those that tell another one.

    The null turns the references elsewhere as one rigid body. Where a checkpoint's messages are compared
    with several sets of references, the one with most messages counts. p-values are Holm's over
    references and checkpoints.
    """
    found = [_compared(messages) for messages in evidence.data]
    for i, kind in enumerate(KINDS):
        turned = [item.turned(kind) for item in found]
        for quantity in QUANTITIES:
            made = [
                row
                for item, some, average in zip(found, turned, evidence.averages, strict=True)
                for row in _rows(item, quantity, kind, average[..., i], some)
            ]
            yield from _corrected(made)


def _compared(messages: Messages) -> _Compared:
    places = [i for i, snapshot in enumerate(messages.snapshots) if snapshot.role in ROLES]
    sets = [messages.snapshots[row].run.reference_set for row in places]
    number = Counter(sets).most_common(1)[0][0] if sets else messages.snapshots[0].run.reference_set
    assert number is not None
    rows = [row for row, other in zip(places, sets, strict=True) if other == number]
    names = [messages.conversations[row] for row in rows]
    seed = seed_of("default", *sorted(set(names)))
    some = [rows[place] for place in some_conversations(names, seed)]
    return _Compared(messages, number, rows, some)


def _rows(
    item: _Compared, quantity: str, kind: int, cosines: FloatArray, turned: FloatArray
) -> Iterator[Row]:
    """A row a reference, not yet corrected."""
    near = cosines[np.ix_(item.rows, item.columns)]
    counted = item.counted(quantity) & np.isfinite(near).all(axis=1, keepdims=True)
    rows = np.flatnonzero(np.isin(item.rows, item.some))
    draws = [shares(near[None], counted), shares(turned, counted[rows])]
    tested = against(np.concatenate(draws), two_sided=False)
    nearest = np.where(np.isnan(near), -np.inf, near).argmax(axis=1)
    for j, column in enumerate(item.columns):
        some = np.flatnonzero(counted[:, j])
        if len(some):
            names = [item.messages.conversations[item.rows[row]] for row in some]
            codes, total = numbered(names), len(set(names))
            won = weighted_ratio((nearest[some] == j) * 1.0, np.ones(len(some)), codes, total)
            label = item.messages.labels[column]
            seed = seed_of(quantity, item.messages.checkpoint.name, label)
            estimate, lower, upper = interval(won, total, seed, SHARE)
            yield Row(
                messages=item.messages, quantity=quantity, reference=label, centred=kind,
                estimate=estimate, lower=lower, upper=upper, n=len(some), conversations=total,
                null=float(tested.null[j]), p=float(tested.p[j]) if total > 1 else np.nan,
            )  # fmt: skip


def _corrected(made: list[Row]) -> Iterator[Row]:
    for row, corrected in zip(made, holm([row.p for row in made]), strict=True):
        yield replace(
            row,
            p_corrected=float(corrected),
            verdict=verdict(float(corrected), 1 / DRAWS, row.estimate, row.null),
        )
