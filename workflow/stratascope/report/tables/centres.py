"""Which states a checkpoint's centres and backgrounds are taken over: the one place to look.

- At a snapshot position, a layer's centre is the mean over the checkpoint's distinct snapshot
  states and its references' states at that position.
- For initial and final states of runs it is the mean over the distinct initial states, final
  states, and snapshots at the first position. The same states give the background.

The same text gives the same state, so it counts once: a snapshot is known by its conversation
prefix, an initial state by its prompt (and is the snapshot at ``generation_prompt`` after the
last message), a final state by its prompt and what was generated. Rows that were not captured do
not count. With fewer than three distinct states there is no centre and what is centred is NaN.
States of different conversations are those of different scenario files.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from stratascope.measure.centre import Background, background, centre_of, centred
from stratascope.measure.metrics import FloatArray, missing
from stratascope.report.tables.states import Checkpoint


@dataclass(frozen=True)
class RunCentre:
    """The centre ``(H,)`` of a checkpoint's run states, their raw and centred background."""

    centre: FloatArray
    raw: Background
    centred: Background


def run_centre(checkpoint: Checkpoint, source: str, layer: int) -> RunCentre:
    """Centre and background for the initial and final states of a checkpoint's runs."""
    return checkpoint.once(
        ("run centre", source, layer), lambda: _run_centre(checkpoint, source, layer)
    )


def pooled_states(checkpoint: Checkpoint, source: str, layer: int) -> tuple[FloatArray, list[str]]:
    """The distinct run states ``(n, H)`` of a checkpoint and the conversation of each."""
    position = checkpoint.first_position
    runs = checkpoint.runs
    blocks = [checkpoint.run_states(which, source, layer) for which in ("initial", "final")]
    prompts: list[Hashable] = [run.prompt_key for run in runs]
    keys: list[Hashable] = [("generation_prompt", key) for key in prompts]
    keys += [("final", run.prompt_key, run.generated) for run in runs]
    conversations = [run.conversation for run in runs] * 2
    if position is not None:
        blocks.append(checkpoint.snapshot_states(position, source, layer))
        keys += [(position, snapshot.prefix) for snapshot in checkpoint.snapshots]
        conversations += [snapshot.run.conversation for snapshot in checkpoint.snapshots]
    states = np.concatenate(blocks)
    rows = distinct_rows(states, keys)
    return states[rows], [conversations[row] for row in rows]


def snapshot_centre(checkpoint: Checkpoint, position: str, source: str, layer: int) -> FloatArray:
    """The centre ``(H,)`` for a checkpoint's snapshots and references at one position."""
    return checkpoint.once(
        ("snapshot centre", position, source, layer),
        lambda: _snapshot_centre(checkpoint, position, source, layer),
    )


def distinct_rows(states: FloatArray, keys: Sequence[Hashable]) -> list[int]:
    """The first captured row of each key."""
    first: dict[Hashable, int] = {}
    for row in np.flatnonzero(~missing(states)).tolist():
        first.setdefault(keys[row], row)
    return list(first.values())


def _run_centre(checkpoint: Checkpoint, source: str, layer: int) -> RunCentre:
    states, conversations = pooled_states(checkpoint, source, layer)
    centre = centre_of(states)
    return RunCentre(
        centre,
        background(states, conversations),
        background(centred(states, centre), conversations),
    )


def _snapshot_centre(checkpoint: Checkpoint, position: str, source: str, layer: int) -> FloatArray:
    snapshots = checkpoint.snapshot_states(position, source, layer)
    references = checkpoint.reference_states(position, source, layer)
    keys: list[Hashable] = [snapshot.prefix for snapshot in checkpoint.snapshots]
    keys += [
        ("reference", number, label)
        for number, item in enumerate(checkpoint.reference_sets)
        for label in item.labels
    ]
    states = np.concatenate([snapshots, references])
    return centre_of(states[distinct_rows(states, keys)])
