"""Probes over the text of conversations: what the figures and the text view draw, token by token."""

from __future__ import annotations

from typing import Any

import numpy as np

from stratascope.report.inputs import ReportData
from stratascope.report.scored import Conversation, Scored
from stratascope.report.text import source_name

# Of each label so many conversations are drawn.
MOST = 6
# Probabilities are kept in thousandths.
SCALE = 1000


def token_labels(data: ReportData) -> list[tuple[str, str]]:
    """``(number, words)`` of each dataset and label with conversations, in order of first naming."""
    several = len({item.dataset for item in data.scored}) > 1
    keys = dict.fromkeys((item.dataset, item.label) for item in data.scored)
    return [
        (str(number), f"{dataset}: {label}" if several else label)
        for number, (dataset, label) in enumerate(keys)
    ]


def token_views(data: ReportData) -> dict[str, Any]:
    """``labels``, each with its checkpoints and conversations; ``words``, the tokens they point into."""
    words: dict[str, int] = {}
    labels: dict[tuple[str, str], dict[str, Any]] = {}
    for item in data.scored:
        found = labels.setdefault(
            (item.dataset, item.label),
            {
                "classes": list(item.classes),
                "paints": _paints(data, item.classes),
                "checkpoints": [],
                "found": {},
            },
        )
        found["checkpoints"].append(item.checkpoint)
        found["found"][item.checkpoint] = _checkpoint(item, words)
    return {"labels": list(labels.values()), "words": list(words)} if labels else {}


def _checkpoint(item: Scored, words: dict[str, int]) -> dict[str, Any]:
    return {
        "site": source_name(item.site),
        "layer": item.layer,
        "talks": [_talk(talk, bool(item.classes), words) for talk in item.conversations[:MOST]],
    }


def _talk(talk: Conversation, shares: bool, words: dict[str, int]) -> dict[str, Any]:
    # Of two classes one says all.
    values = talk.values[1:] if len(talk.values) == 2 else talk.values
    return {
        "name": talk.name,
        "prompt": talk.prompt,
        "tokens": [words.setdefault(token, len(words)) for token in talk.tokens],
        "messages": [list(message) for message in talk.messages],
        "values": np.rint(values * SCALE).astype(int).tolist() if shares else values,
    }


def _paints(data: ReportData, classes: tuple[str, ...]) -> list[int]:
    """A class that is also a reference's label has its colour everywhere in the report."""
    known = data.reference_labels
    if set(classes) <= set(known):
        return [known.index(name) for name in classes]
    return list(range(len(classes)))
