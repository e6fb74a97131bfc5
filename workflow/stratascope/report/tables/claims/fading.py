"""Does a state resemble an emotion less, the longer ago it was told?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stratascope.measure.bootstrap import numbered
from stratascope.measure.interval import seed_of
from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.permutation import against
from stratascope.measure.slopes import slopes, within
from stratascope.measure.weighted import weighted_ratio
from stratascope.report.tables.claims.rows import (
    Evidence,
    Row,
    beyond_others,
    interval,
    verdict,
)
from stratascope.report.tables.told import KINDS, Messages, Relabelled


@dataclass(frozen=True, eq=False)
class _Points:
    """``n`` similarities: of message ``rows`` to label ``codes``, at ``x`` from its group's mean."""

    messages: Messages
    rows: IntArray
    codes: IntArray
    x: FloatArray
    conversations: list[str]

    def draws(self, cosines: FloatArray, labellings: Relabelled) -> FloatArray:
        """The slope of cosines ``(n, k)`` under each relabelling ``(draws,)``, the data first."""
        codes = labellings.codes(self.conversations, self.codes)
        return slopes(self.x, cosines[self.rows, codes])


def rows(evidence: Evidence) -> Iterator[Row]:
    """Slopes of the similarity to what was told, in cosine a message.

    ``slope_since_told`` is over the messages since a label was last told, each telling with a level
    of its own; ``slope_of_told`` over the place in the conversation of the messages that tell; each
    also ``beyond_others``, of the similarity minus its mean to the other references. The null
    relabels conversations: it has the slope that a conversation's length alone gives. p-values are
    corrected over checkpoints.
    """
    if evidence.labellings is None:
        return
    for i, kind in enumerate(KINDS):
        averages = [average[..., i] for average in evidence.averages]
        for name, collect in (("slope_since_told", _since_told), ("slope_of_told", _of_told)):
            found = [
                (points, cosines)
                for messages, cosines in zip(evidence.data, averages, strict=True)
                if (points := collect(messages, cosines)) is not None
            ]
            if found:
                beyond = [(points, beyond_others(cosines)) for points, cosines in found]
                yield from _family(name, kind, found, evidence.labellings)
                yield from _family(f"{name}_beyond_others", kind, beyond, evidence.labellings)


def _since_told(messages: Messages, cosines: FloatArray) -> _Points | None:
    """Every message and label told by then: messages since it was last told."""
    points = []
    for row in _captured(messages, cosines):
        snapshot = messages.snapshots[row]
        last = {
            label: place
            for place, label in enumerate(snapshot.run.told[: snapshot.message + 1])
            if label is not None
        }
        points += [
            (row, messages.labels.index(label), snapshot.message - place, (label, place))
            for label, place in last.items()
        ]
    return _points(messages, points)


def _of_told(messages: Messages, cosines: FloatArray) -> _Points | None:
    """Every labelled message and its own label: its place in the conversation."""
    return _points(
        messages,
        [
            (row, int(messages.told[row]), messages.snapshots[row].message, ())
            for row in _captured(messages, cosines)
            if messages.told[row] >= 0
        ],
    )


def _captured(messages: Messages, cosines: FloatArray) -> list[int]:
    """The messages that are compared with every reference of their run."""
    return [
        row
        for row, snapshot in enumerate(messages.snapshots)
        if not np.isnan(cosines[row, messages.columns(messages.references(snapshot))]).any()
    ]


def _points(
    messages: Messages, points: Sequence[tuple[int, int, int, tuple[object, ...]]]
) -> _Points | None:
    """``points`` are (row, label, x, group within the conversation); None without variation in x."""
    if not points:
        return None
    rows, codes, x = (np.array([point[i] for point in points]) for i in range(3))
    names = [messages.conversations[row] for row in rows]
    groups = [(name, *point[3]) for name, point in zip(names, points, strict=True)]
    deviations = within(x.astype(np.float64), groups)
    return _Points(messages, rows, codes, deviations, names) if deviations.any() else None


def _family(
    quantity: str,
    kind: int,
    found: Sequence[tuple[_Points, FloatArray]],
    labellings: Relabelled,
) -> Iterator[Row]:
    draws = np.stack([points.draws(cosines, labellings) for points, cosines in found], axis=1)
    tested = against(draws, two_sided=True)
    for j, (points, cosines) in enumerate(found):
        clusters = numbered(points.conversations)
        total = int(clusters.max()) + 1
        y = cosines[points.rows, points.codes]
        slope = weighted_ratio(points.x * y, np.square(points.x), clusters, total)
        seed = seed_of(quantity, points.messages.checkpoint.name)
        estimate, lower, upper = interval(slope, total, seed)
        null, corrected = float(tested.null[j]), float(tested.corrected[j])
        yield Row(
            messages=points.messages, quantity=quantity, centred=kind, estimate=estimate,
            lower=lower, upper=upper, n=len(points.rows), conversations=total, null=null,
            p=float(tested.p[j]), p_corrected=corrected,
            # It fades if it falls, and falls more than the similarity to what was not told.
            verdict=verdict(corrected, labellings.least, -estimate, -null, (-upper, -lower)),
        )  # fmt: skip
