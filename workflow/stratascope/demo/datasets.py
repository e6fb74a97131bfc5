"""The labelled datasets of the embedded study, drawn from the demo's grammar.

``feelings``: one user message each, with what is true of it. ``turns``: two user messages of opposite
mood, and the same two the other way round. Both conversations of such a pair hold the same words, so
which mood is the present one is in their order alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stratascope.demo.feelings import EMOTIONS
from stratascope.demo.language import asks, is_negated
from stratascope.demo.turns import Told, user_turn
from stratascope.store.commit import new_file

PLEASANT = ("joy", "calm", "love")
UNPLEASANT = ("sadness", "anger", "fear")
# Said between the two messages of a pair, whatever they are.
REPLY = "I am listening."


def feelings(seed: int, each: int) -> Iterator[dict[str, Any]]:
    """``each`` different messages of every emotion, shuffled.

    ``event`` is the group: the messages that tell one kind of event; one without any stands alone.
    ``coin`` is tossed for each message and says nothing about it: a control.
    """
    rng = random.Random(f"stratascope feelings {seed}")  # noqa: S311 - repeatable, not secret
    rows = []
    for emotion in EMOTIONS:
        seen: set[str] = set()
        while len(seen) < each:
            text, told = user_turn(rng, Told(emotion, past=rng.random() < 0.5), [], "")
            if text not in seen:
                seen.add(text)
                rows.append(_feeling(text, told, len(seen), rng))
    rng.shuffle(rows)
    yield from rows


def _feeling(text: str, told: Told, number: int, rng: random.Random) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": text}],
        "emotion": told.emotion,
        "negation": "negated" if is_negated(text) else "plain",
        "tense": "past" if told.past else "present",
        "number": "plural" if told.plural else "singular",
        "question": "asked" if asks(text) else "told",
        "coin": rng.choice(("heads", "tails")),
        "event": f"{told.emotion} {f'alone {number}' if told.event is None else told.row}",
    }


def turns(seed: int, pairs: int) -> Iterator[dict[str, Any]]:
    """``pairs`` pairs of conversations; ``mood`` is that of the last message, ``pair`` the group."""
    rng = random.Random(f"stratascope turns {seed}")  # noqa: S311 - repeatable, not secret
    seen: set[frozenset[str]] = set()
    while len(seen) < pairs:
        said = [
            user_turn(rng, Told(rng.choice(moods), past=False), [], "")[0]
            for moods in (PLEASANT, UNPLEASANT)
        ]
        if frozenset(said) in seen:
            continue
        seen.add(frozenset(said))
        for mood, order in (("unpleasant", said), ("pleasant", said[::-1])):
            yield {
                "messages": [
                    {"role": "user", "content": order[0]},
                    {"role": "assistant", "content": REPLY},
                    {"role": "user", "content": order[1]},
                ],
                "mood": mood,
                "pair": len(seen),
            }


# To add a dataset: a generator, and an entry with how much of it the study reads.
DATASETS = {"feelings": (feelings, 25), "turns": (turns, 100)}


def write_datasets(out: Path, seed: int) -> list[Path]:
    """Write every dataset as ``<out>/<name>.jsonl``; the same seed gives the same bytes."""
    written = []
    for name, (generate, size) in DATASETS.items():
        path = out / f"{name}.jsonl"
        with new_file(path) as partial:
            partial.write_text(
                "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in generate(seed, size)),
                encoding="utf-8",
            )
        written.append(path)
    return written
