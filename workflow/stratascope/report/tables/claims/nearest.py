"""Users' and assistants' messages and the references that they are held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stratascope.measure.interval import seed_of
from stratascope.measure.metrics import BoolArray, FloatArray
from stratascope.measure.nearest import combinations, layer_average, turned_cosines
from stratascope.report.tables.states import ReferenceSet
from stratascope.report.tables.told import Messages

ROLES = ("user", "assistant")


@dataclass(frozen=True, eq=False)
class Compared:
    """Messages ``rows`` and their k references; ``cosines`` ``(n, k)`` are means over layers."""

    messages: Messages
    references: ReferenceSet
    rows: list[int]
    kind: int
    cosines: FloatArray

    @property
    def conversations(self) -> list[str]:
        """The conversation of each row."""
        return [self.messages.conversations[row] for row in self.rows]

    @property
    def untold(self) -> BoolArray:
        """Which rows are known to tell something else than each reference ``(n, k)``."""
        told = self.messages.told[self.rows][:, None]
        return np.asarray((told >= 0) & (told != np.array(self.messages.columns(self.references))))

    def turned(self, places: Sequence[int]) -> FloatArray:
        """Cosines ``(b, n, k)`` of the rows at ``places`` with the references turned elsewhere."""
        messages, checkpoint = self.messages, self.messages.checkpoint
        source = checkpoint.sources[messages.main_place]
        rows = [self.rows[place] for place in places]
        seed = seed_of("turned", *(messages.snapshots[row].prefix for row in rows))
        weights = combinations(len(rows), len(self.references.labels), seed)

        def at(layer: int) -> FloatArray:
            states = messages.states(source, layer)[rows]
            goals = messages.goals(source, layer)[self.references.rows]
            x, y = (messages.of_kind(each, source, layer, self.kind) for each in (states, goals))
            return turned_cosines(x, y, weights)

        return layer_average(map(at, checkpoint.layers))


def compared(messages: Messages, kind: int, averages: FloatArray) -> Compared | None:
    """With their cosines ``(n, k)`` out of ``averages`` of all messages and labels.

    Where messages are compared with several sets of references, the one with most messages counts.
    None without a message that was captured.
    """
    spoken = [i for i, snapshot in enumerate(messages.snapshots) if snapshot.role in ROLES]
    captured = [i for i in spoken if not np.isnan(averages[i]).all()]
    if not captured:
        return None
    sets = [messages.snapshots[i].run.reference_set for i in captured]
    number = Counter(sets).most_common(1)[0][0]
    references = messages.references(messages.snapshots[captured[sets.index(number)]])
    rows = [i for i, other in zip(captured, sets, strict=True) if other == number]
    cosines = averages[np.ix_(rows, messages.columns(references))]
    return Compared(messages, references, rows, kind, cosines)
