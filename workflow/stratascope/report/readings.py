"""Probes applied to every token of conversations, as the analyses leave them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Conversation:
    """One conversation of a checkpoint, token by token.

    ``values`` is (classes, tokens): probabilities; for a numeric label (1, tokens): the number that
    the probe predicts. The first ``prompt`` tokens were given, the others generated. ``messages`` are
    (role, start, stop), the tokens of each message's content.
    """

    name: str
    tokens: Sequence[str]
    prompt: int
    messages: Sequence[tuple[str, int, int]]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """The probe of one label on one checkpoint, and the conversations that it was applied to."""

    dataset: str
    checkpoint: str
    label: str
    site: str
    layer: int
    classes: tuple[str, ...]
    conversations: tuple[Conversation, ...]


def readings_of(index: Mapping[str, Any]) -> Iterator[Reading]:
    """What the index of a readings job holds, label by label."""
    for label, found in index["tokens"].items():
        classes = tuple(found["classes"])
        yield Reading(
            index["dataset"],
            index["checkpoint"],
            label,
            found["site"],
            found["layer"],
            classes,
            tuple(_conversation(item, len(classes)) for item in found["conversations"]),
        )


def _conversation(item: Mapping[str, Any], classes: int) -> Conversation:
    values = np.array(item["values"], dtype=np.float64)
    if classes == 2:  # the index has the second class alone
        values = np.stack([1 - values[0], values[0]])
    return Conversation(
        item["run"].rpartition("@")[0],
        item["tokens"],
        item["prompt"],
        [(role, start, stop) for role, start, stop in item["messages"]],
        values,
    )
