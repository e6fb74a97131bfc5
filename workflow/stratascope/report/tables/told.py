"""A study's distinct messages against their references, and what they are known to tell.

Everything is at the first snapshot position, with raw and centred cosines side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stratascope.measure.centre import centred
from stratascope.measure.interval import seed_of
from stratascope.measure.metrics import FloatArray, IntArray, cosine_pairs
from stratascope.measure.permutation import least_p, relabellings
from stratascope.report.tables.centres import distinct_rows, snapshot_centre
from stratascope.report.tables.states import Checkpoint, ReferenceSet, Snapshot, Study

# The kinds of cosines, in this order on the last axis: how the tables' column `centred` has them.
KINDS = (1, 0)
MAIN_SOURCE = "hidden_out"


@dataclass(frozen=True, eq=False)
class Messages:
    """One checkpoint's distinct messages whose runs have references.

    ``labels`` are the study's k reference labels; ``told`` ``(n,)`` numbers what each message is
    known to tell, -1 where nothing is said.
    """

    checkpoint: Checkpoint
    labels: tuple[str, ...]
    snapshots: tuple[Snapshot, ...]

    @cached_property
    def told(self) -> IntArray:
        """The number of each message's label, -1 without."""
        return np.array(
            [self.labels.index(s.label) if s.label else -1 for s in self.snapshots], dtype=np.int64
        )

    @property
    def main_place(self) -> int:
        """The place of the main source: the residual stream after each block, where captured."""
        sources = self.checkpoint.sources
        return sources.index(MAIN_SOURCE) if MAIN_SOURCE in sources else 0

    @cached_property
    def conversations(self) -> list[str]:
        """The conversation of each message."""
        return [snapshot.run.conversation for snapshot in self.snapshots]

    def references(self, snapshot: Snapshot) -> ReferenceSet:
        """The references of a message's run."""
        number = snapshot.run.reference_set
        assert number is not None
        return self.checkpoint.reference_sets[number]

    def columns(self, references: ReferenceSet) -> list[int]:
        """Where a set's references stand among the study's labels."""
        return [self.labels.index(label) for label in references.labels]

    def states(self, source: str, layer: int) -> FloatArray:
        """The state ``(n, H)`` of each message, taken from the first run that captured it."""
        position = self.checkpoint.first_position
        assert position is not None
        captured = self.checkpoint.snapshot_states(position, source, layer)
        prefixes = [snapshot.prefix for snapshot in self.checkpoint.snapshots]
        place = {snapshot.prefix: i for i, snapshot in enumerate(self.snapshots)}
        rows = [row for row in distinct_rows(captured, prefixes) if prefixes[row] in place]
        states = np.full((len(self.snapshots), captured.shape[1]), np.nan)
        states[[place[prefixes[row]] for row in rows]] = captured[rows]
        return states

    def of_kind(self, states: FloatArray, source: str, layer: int, kind: int) -> FloatArray:
        """States as they are, or minus the checkpoint's centre."""
        position = self.checkpoint.first_position
        assert position is not None
        if not kind:
            return states
        return centred(states, snapshot_centre(self.checkpoint, position, source, layer))

    def goals(self, source: str, layer: int) -> FloatArray:
        """The states ``(references of all sets, H)`` of the references."""
        position = self.checkpoint.first_position
        assert position is not None
        return self.checkpoint.reference_states(position, source, layer)

    def cosines(self, source: str, layer: int) -> FloatArray:
        """Cosines ``(n, k, kinds)``; NaN with labels that are not among a message's references."""
        states, goals = self.states(source, layer), self.goals(source, layer)
        found = np.full((len(states), len(self.labels), len(KINDS)), np.nan)
        for number, rows in self._by_set.items():
            references = self.checkpoint.reference_sets[number]
            place, columns = np.array(rows)[:, None], self.columns(references)
            for i, kind in enumerate(KINDS):
                x, y = (
                    self.of_kind(some, source, layer, kind)
                    for some in (states[rows], goals[references.rows])
                )
                found[place, columns, i] = cosine_pairs(x, y)
        return found

    @cached_property
    def _by_set(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for i, snapshot in enumerate(self.snapshots):
            assert snapshot.run.reference_set is not None
            found.setdefault(snapshot.run.reference_set, []).append(i)
        return found


@dataclass(frozen=True, eq=False)
class Relabelled:
    """Relabellings of a study's conversations, the same at every checkpoint, source and layer.

    ``maps`` ``(draws, conversations, k)`` say what each label becomes; ``least`` is the smallest
    p-value that they can give.
    """

    names: dict[str, int]
    maps: IntArray
    least: float

    def codes(self, conversations: Sequence[str], labels: IntArray) -> IntArray:
        """What labels ``(n,)`` in these conversations become: ``(draws, n)``."""
        places = [self.names[name] for name in conversations]
        return np.asarray(self.maps[:, places, labels])


def messages_of(study: Study) -> list[Messages]:
    """The messages of every checkpoint that has snapshots and references."""
    labels = dict.fromkeys(
        label
        for checkpoint in study.checkpoints
        for references in checkpoint.reference_sets
        for label in references.labels
    )
    found = []
    for checkpoint in study.checkpoints:
        snapshots = _distinct(checkpoint)
        if snapshots and checkpoint.positions:
            found.append(Messages(checkpoint, tuple(labels), snapshots))
    return found


def _distinct(checkpoint: Checkpoint) -> tuple[Snapshot, ...]:
    """Each conversation prefix once, from a run that labels it if one does."""
    chosen: dict[str, Snapshot] = {}
    for snapshot in checkpoint.snapshots:
        if snapshot.run.reference_set is not None:
            before = chosen.get(snapshot.prefix)
            if before is None or (before.label is None and snapshot.label is not None):
                chosen[snapshot.prefix] = snapshot
    return tuple(chosen.values())


def relabelled(data: Sequence[Messages]) -> Relabelled | None:
    """Relabellings of all labelled conversations; None without any."""
    told: dict[str, set[int]] = {}
    strata: dict[str, tuple[str, ...]] = {}
    for messages in data:
        for snapshot in messages.snapshots:
            for label in snapshot.run.told:
                if label is not None:
                    code = messages.labels.index(label)
                    told.setdefault(snapshot.run.conversation, set()).add(code)
                    strata[snapshot.run.conversation] = messages.references(snapshot).labels
    if not told:
        return None
    names = sorted(told)
    maps = relabellings(
        [sorted(told[name]) for name in names],
        [strata[name] for name in names],
        len(data[0].labels),
        seed_of("relabellings", *names),
    )
    return Relabelled({name: i for i, name in enumerate(names)}, maps, least_p(maps))
