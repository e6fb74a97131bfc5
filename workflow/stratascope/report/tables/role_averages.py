"""Do a user's and the assistant's messages resemble a reference differently?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stratascope.measure.centre import centred
from stratascope.measure.interval import (
    Interval,
    cluster_difference,
    seed_of,
    stratified_difference,
)
from stratascope.measure.metrics import FloatArray, cosine_pairs
from stratascope.measure.summary import layer_mean
from stratascope.report.tables.centres import snapshot_centre
from stratascope.report.tables.frames import long_frame
from stratascope.report.tables.states import Checkpoint, ReferenceSet, Snapshot, Study

COLUMNS = (
    "scope", "name", "reference", "position", "source",
    "user_mean", "assistant_mean", "difference", "lower", "upper", "n_user", "n_assistant",
    "difference_centred", "lower_centred", "upper_centred",
)  # fmt: skip


@dataclass(frozen=True)
class _Messages:
    """Snapshots and their similarities ``(snapshots, references, sources, raw and centred)``."""

    snapshots: list[Snapshot]
    labels: tuple[str, ...]
    values: FloatArray

    def of_role(self, role: str) -> tuple[FloatArray, list[str]]:
        """The values of one role's messages and the conversation of each."""
        rows = [i for i, snapshot in enumerate(self.snapshots) if snapshot.role == role]
        return self.values[rows], [self.snapshots[row].run.conversation for row in rows]


def role_averages(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`role_averages`: user minus assistant, for each run and for each checkpoint.

    A message's similarity is its mean cosine over layers, at the first position. A run's interval
    resamples its messages within each role. A checkpoint's takes every distinct conversation
    prefix once and resamples whole conversations.
    """
    for checkpoint in study.checkpoints:
        if checkpoint.first_position is None:
            continue
        used = dict.fromkeys(run.reference_set for run in checkpoint.runs)
        sets = {
            number: _messages(checkpoint, number, checkpoint.reference_sets[number])
            for number in used
            if number is not None
        }
        for run in checkpoint.runs:
            if run.reference_set is not None:
                part = _of_run(sets[run.reference_set], run.label)
                seed = seed_of("roles", run.label)
                difference = stratified_difference(
                    part.of_role("user")[0], part.of_role("assistant")[0], seed
                )
                yield _frame(checkpoint, "run", run.label, part, difference)
        seed = seed_of("roles", checkpoint.name)
        for label in dict.fromkeys(label for item in sets.values() for label in item.labels):
            part = _of_label(list(sets.values()), label)
            difference = cluster_difference(*part.of_role("user"), *part.of_role("assistant"), seed)
            yield _frame(checkpoint, "checkpoint", checkpoint.name, part, difference)


def _messages(checkpoint: Checkpoint, number: int, references: ReferenceSet) -> _Messages:
    """All snapshots of the runs that use a reference set, against that set."""
    position = checkpoint.first_position
    assert position is not None
    places = [
        place
        for place, snapshot in enumerate(checkpoint.snapshots)
        if snapshot.run.reference_set == number
    ]
    sources, layers = checkpoint.sources, checkpoint.layers
    values = np.full((len(places), len(references.labels), len(sources), 2, len(layers)), np.nan)
    for s, source in enumerate(sources):
        for k, layer in enumerate(layers):
            states = checkpoint.snapshot_states(position, source, layer, places)
            targets = checkpoint.reference_states(position, source, layer)[references.rows]
            centre = snapshot_centre(checkpoint, position, source, layer)
            values[:, :, s, 0, k] = cosine_pairs(states, targets)
            values[:, :, s, 1, k] = cosine_pairs(centred(states, centre), centred(targets, centre))
    return _Messages(
        [checkpoint.snapshots[place] for place in places], references.labels, layer_mean(values)
    )


def _of_run(messages: _Messages, label: str) -> _Messages:
    rows = [i for i, item in enumerate(messages.snapshots) if item.run.label == label]
    return _Messages(
        [messages.snapshots[row] for row in rows], messages.labels, messages.values[rows]
    )


def _of_label(sets: list[_Messages], label: str) -> _Messages:
    """One reference, whichever sets it is in: distinct prefixes that were captured."""
    snapshots, values, seen = [], [], set()
    for messages in sets:
        if label not in messages.labels:
            continue
        column = messages.labels.index(label)
        for snapshot, row in zip(messages.snapshots, messages.values[:, [column]], strict=True):
            if snapshot.prefix not in seen and not np.isnan(row).all():
                seen.add(snapshot.prefix)
                snapshots.append(snapshot)
                values.append(row)
    shape = (len(values), 1, *sets[0].values.shape[2:])
    return _Messages(snapshots, (label,), np.array(values).reshape(shape))


def _frame(
    checkpoint: Checkpoint, scope: str, name: str, messages: _Messages, difference: Interval
) -> dict[str, pd.DataFrame]:
    user, assistant = messages.of_role("user")[0], messages.of_role("assistant")[0]
    n_user, n_assistant = ((~np.isnan(values[..., 0])).sum(axis=0) for values in (user, assistant))
    columns = {
        "user_mean": _mean(user[..., 0]),
        "assistant_mean": _mean(assistant[..., 0]),
        "difference": difference.estimate[..., 0],
        "lower": difference.lower[..., 0],
        "upper": difference.upper[..., 0],
        "n_user": n_user,
        "n_assistant": n_assistant,
        "difference_centred": difference.estimate[..., 1],
        "lower_centred": difference.lower[..., 1],
        "upper_centred": difference.upper[..., 1],
    }
    axes = (
        {"scope": [scope]},
        {"name": [name]},
        {"reference": messages.labels},
        {"position": [str(checkpoint.first_position)]},
        {"source": checkpoint.sources},
    )
    keep = (n_user + n_assistant > 0)[None, None, :, None, :]
    shaped = {name: values[None, None, :, None, :] for name, values in columns.items()}
    return {"role_averages": long_frame(axes, keep, **shaped)}


def _mean(values: FloatArray) -> FloatArray:
    return layer_mean(np.moveaxis(values, 0, -1))
