"""The labelled datasets of the embedded study: made again they are the same, and their labels hold."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from stratascope.demo.datasets import (
    DATASETS,
    PLEASANT,
    UNPLEASANT,
    feelings,
    turns,
    write_datasets,
)
from stratascope.demo.feelings import EMOTIONS


def words(row: dict[str, object]) -> Counter[str]:
    return Counter(" ".join(m["content"] for m in row["messages"]).split())  # type: ignore[attr-defined]


def test_the_committed_files_are_what_the_recipe_writes(root: Path, tmp_path: Path) -> None:
    """`stratascope demo-data` with its default seed gives the files of the study, byte for byte."""
    for path in write_datasets(tmp_path, 7):
        assert path.read_bytes() == (root / "scenarios" / "datasets" / path.name).read_bytes()
    assert {path.stem for path in tmp_path.iterdir()} == set(DATASETS)


def test_every_emotion_is_as_frequent_as_the_others() -> None:
    """A probe that always says one emotion is right in one case of eight."""
    rows = list(feelings(1, 5))
    assert Counter(row["emotion"] for row in rows) == dict.fromkeys(EMOTIONS, 5)
    assert len({json.dumps(row["messages"]) for row in rows}) == len(rows)


@pytest.mark.parametrize("label", ["negation", "tense", "number", "question", "coin"])
def test_every_property_has_both_values(label: str) -> None:
    """Each label of the study's dataset takes two values, neither in fewer than a fifth of the rows."""
    counts = Counter(row[label] for row in feelings(7, 25))
    assert len(counts) == 2
    assert min(counts.values()) >= sum(counts.values()) / 5


def test_a_pair_holds_the_same_words_in_two_orders() -> None:
    """What a bag of words can know of the present mood is nothing: both of a pair have the same one."""
    rows = list(turns(1, 20))
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["pair"] == second["pair"]
        assert words(first) == words(second)
        assert {first["mood"], second["mood"]} == {"pleasant", "unpleasant"}
        assert first["messages"][0] == second["messages"][2]


def test_moods_are_those_of_the_grammar() -> None:
    """The emotions of a pair come from the demo's own list, each mood from its own."""
    assert set(PLEASANT) | set(UNPLEASANT) <= set(EMOTIONS)
    assert not set(PLEASANT) & set(UNPLEASANT)
