"""Probes over the text of conversations: what the figures and the text view draw, token by token."""

from __future__ import annotations

from typing import Any

import numpy as np

from stratascope.report.data import ReportData
from stratascope.report.readings import Conversation, Reading
from stratascope.report.text import source_name

# Of each label so many conversations are drawn, fewer where that would be more than so many numbers.
MOST, MOST_NUMBERS = 6, 150_000
# Probabilities are kept in thousandths.
SCALE = 1000


def token_labels(data: ReportData) -> list[tuple[str, str]]:
    """``(number, words)`` of each dataset and label with conversations."""
    several = len({item.dataset for item in data.readings}) > 1
    keys = dict.fromkeys((item.dataset, item.label) for item in _ordered(data))
    return [
        (str(number), f"{dataset}: {label}" if several else label)
        for number, (dataset, label) in enumerate(keys)
    ]


def _ordered(data: ReportData) -> list[Reading]:
    """Labels in the order of the table of probes, each label's checkpoints in the study's."""
    probes = data.table("probes")
    keys = [] if probes.empty else list(zip(probes["dataset"], probes["label"], strict=True))
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    return sorted(data.readings, key=lambda r: places.get((r.dataset, r.label), len(places)))


def shown(data: ReportData) -> int:
    """How many conversations of each label are drawn: at least one."""

    def numbers(count: int) -> int:
        return sum(
            talk.values.size for item in data.readings for talk in item.conversations[:count]
        )

    return max((n for n in range(2, MOST + 1) if numbers(n) <= MOST_NUMBERS), default=1)


def left_out(data: ReportData) -> int:
    """How many conversations of a label are not drawn, at most."""
    most = max((len(item.conversations) for item in data.readings), default=0)
    return max(0, most - shown(data))


def token_views(data: ReportData) -> dict[str, Any]:
    """``labels``, each with its checkpoints and conversations; ``words``, the tokens they point into."""
    words: dict[str, int] = {}
    count = shown(data)
    endings = {item.dataset: item.ending for item in reversed(data.features)}
    labels: dict[tuple[str, str], dict[str, Any]] = {}
    for item in _ordered(data):
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
        found["found"][item.checkpoint] = _checkpoint(
            item, count, endings.get(item.dataset, ""), words
        )
    return {"labels": list(labels.values()), "words": list(words)} if labels else {}


def _checkpoint(item: Reading, count: int, ending: str, words: dict[str, int]) -> dict[str, Any]:
    return {
        "site": source_name(item.site),
        "layer": item.layer,
        "talks": [
            _talk(talk, bool(item.classes), ending, words) for talk in item.conversations[:count]
        ],
    }


def _talk(talk: Conversation, shares: bool, ending: str, words: dict[str, int]) -> dict[str, Any]:
    # Of two classes one says all.
    values = talk.values[1:] if len(talk.values) == 2 else talk.values
    return {
        "name": talk.name,
        "prompt": talk.prompt,
        "tokens": [words.setdefault(token, len(words)) for token in talk.tokens],
        "messages": [list(message) for message in talk.messages],
        "fitted": _fitted(talk, ending),
        "values": np.rint(values * SCALE).astype(int).tolist() if shares else values,
    }


def _fitted(talk: Conversation, ending: str) -> list[int]:
    """The tokens at which the conversation so far ends as the texts do that the probe was fitted to."""
    found, so_far = [], ""
    for place, token in enumerate(talk.tokens):
        so_far += token
        if ending and so_far.endswith(ending):
            found.append(place)
    return found


def _paints(data: ReportData, classes: tuple[str, ...]) -> list[int]:
    """A class that is also a reference's label has its colour everywhere in the report."""
    known = data.reference_labels
    if set(classes) <= set(known):
        return [known.index(name) for name in classes]
    return list(range(len(classes)))
