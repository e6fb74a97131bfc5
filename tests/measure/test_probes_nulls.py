"""Folds, shuffles and control tasks: what they keep, and what they mix."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from stratascope.errors import StratascopeError
from stratascope.measure.probes import design, edge_words
from stratascope.measure.probes.folds import fold_numbers
from stratascope.measure.probes.labels import target_of
from stratascope.measure.probes.nulls import control_labels, shuffled_labels


def grouped(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of 40 groups: most share one label, every fourth has both."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(40), rng.integers(1, 5, 40))
    labels = rng.integers(0, 2, 40)[groups]
    mixed = groups % 4 == 0
    labels[mixed] = rng.integers(0, 2, mixed.sum())
    return labels, groups


@pytest.mark.parametrize("with_groups", [True, False])
def test_folds_keep_groups_whole_and_classes_even(with_groups: bool) -> None:
    """A group is in one fold; each fold has about its share of rows and of every class."""
    labels, groups = grouped()
    groups = groups if with_groups else np.arange(len(labels))
    folds = fold_numbers(target_of(labels), groups, 5, 0)
    for group in np.unique(groups):
        assert len(np.unique(folds[groups == group])) == 1
    shares = [labels[folds == fold].mean() for fold in range(5)]
    assert np.ptp(shares) < (0.25 if with_groups else 0.06)
    assert not np.array_equal(folds, fold_numbers(target_of(labels), groups, 5, 1))


def test_shuffles_move_labels_only_where_they_may() -> None:
    """Groups with one label keep one, those with several keep theirs, and folds keep their classes."""
    labels, groups = grouped()
    target = target_of(labels)
    folds = fold_numbers(target, groups, 5, 0)
    shuffles = shuffled_labels(target, groups, folds, 60, 3)
    shared = [g for g in np.unique(groups) if len(np.unique(labels[groups == g])) == 1]
    moved = np.zeros(len(labels), dtype=bool)
    for values in shuffles:
        for group in np.unique(groups):
            now, was = values[groups == group], labels[groups == group]
            if group in shared:
                assert len(np.unique(now)) == 1
            else:
                assert Counter(now) == Counter(was)
        for fold in range(5):
            firsts = [np.flatnonzero(groups == g)[0] for g in shared]
            inside = [row for row in firsts if folds[row] == fold]
            assert Counter(values[inside]) == Counter(labels[inside])
        moved |= values != labels
    single = np.bincount(groups)[groups] == 1
    assert moved[single].any()
    assert moved[~single].mean() > 0.6


def test_every_arrangement_is_as_likely() -> None:
    """Without groups each fold's labels are shuffled: all its arrangements come up equally often."""
    target = target_of([0, 0, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1])
    folds = np.repeat([0, 1, 2], 4)
    draws = shuffled_labels(target, np.arange(12), folds, 6000, 0)
    counts = Counter(tuple(values[:4]) for values in draws)
    assert len(counts) == 6
    assert max(counts.values()) - min(counts.values()) < 5 * np.sqrt(1000 * 5 / 6)
    assert (draws[:, 4:8].sum(axis=1) == 2).all()


def test_control_tasks_belong_to_types() -> None:
    """All rows of a type have one label; labels come up as often as in the task."""
    rng = np.random.default_rng(0)
    labels = (rng.random(300) < 0.3).astype(int)
    types = rng.integers(0, 60, 300)
    target = target_of(labels)
    folds = fold_numbers(target, np.arange(300), 5, 0)
    tasks = control_labels(target, types, folds, 200, 1)
    for kind in np.unique(types):
        assert (np.ptp(tasks[:, types == kind], axis=1) == 0).all()
    assert tasks.mean() == pytest.approx(labels.mean(), abs=0.02)
    assert len({task.tobytes() for task in tasks}) == 200


def test_too_few_types_are_told() -> None:
    """One type cannot have two labels: an error that says so."""
    target = target_of([0, 1] * 20)
    folds = fold_numbers(target, np.arange(40), 5, 0)
    with pytest.raises(StratascopeError, match="1 types are too few"):
        control_labels(target, np.zeros(40, dtype=int), folds, 2, 0)


def test_edge_words() -> None:
    """The first and last word of each text, in lower case, but for what all texts have."""
    texts = [
        "<user> Is it so? <end>",
        "<user> Yes <end>",
        "<user> <end>",
        "<user> ¿Qué? - no.X9 <end>",
    ]
    assert edge_words(texts, "first_word") == ["is", "yes", "", "qué"]
    assert edge_words(texts, "last_word") == ["so", "yes", "", "x9"]


BAD = {
    "only one class, 'a'": (["a"] * 20, {}),
    "row 3 has none": (["a", "b", "a", None] * 5, {}),
    "row 1 is not finite": ([1.5, np.inf, 2.5] * 10, {}),
    "row 2 has none": ([1.5, 2.5, np.nan] * 10, {}),
    "every row has the value 2.5": ([2.5] * 20, {"kind": "ridge"}),
    "these are text": (["a", "b"] * 10, {"kind": "ridge"}),
    "text and numbers are mixed": (["a", 1] * 10, {}),
    "2 groups are too few for 5 folds": (["a", "b"], {}),
    "class 'b' is in 3 groups, fewer than the 5 folds": (["a"] * 17 + ["b"] * 3, {}),
    "folds: 2 are too few": (["a", "b"] * 10, {"folds": 2}),
    "groups: 3 names for 20 labels": (["a", "b"] * 10, {"groups": [1, 2, 3]}),
    "groups: row 1 has none": (["a", "b"] * 2, {"groups": [1, None, 3, 4]}),
    "types: 1 names for 20 labels": (["a", "b"] * 10, {"types": ["x"]}),
    "one list": (np.zeros((4, 2)), {}),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_probed_is_told(message: str) -> None:
    """Degenerate labels, groups and folds give one line that says what is wrong and where."""
    labels, options = BAD[message]
    with pytest.raises(StratascopeError, match=message):
        design(labels, **options)


def test_kinds() -> None:
    """Text, booleans and few whole numbers are classes; fractions and many numbers are quantities."""
    assert target_of(["b", "a"]).classes == ("a", "b")
    assert target_of([True, False, True]).classes == (False, True)
    assert target_of(np.array([3, 1, 3])).classes == (1, 3)
    assert target_of([1.0, 2.0, 1.0]).kind == "logistic"
    assert target_of([1.0, 2.5, 1.0]).kind == "ridge"
    assert target_of(list(range(11))).kind == "ridge"
    assert target_of(list(range(11)), "logistic").classes == tuple(range(11))
