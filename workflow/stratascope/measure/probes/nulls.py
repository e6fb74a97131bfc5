"""What a probe finds where there is nothing to find: shuffled labels, and control tasks.

Both change the labels and leave the features, the groups and the folds as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.probes.folds import FEWEST
from stratascope.measure.probes.labels import Target

MOST_DRAWS = 200


class TooFewTypesError(StratascopeError):
    """Random labels for so few types cannot be probed."""


WORD = re.compile(r"\w+")
EDGE_WORDS = {"first_word": 0, "last_word": -1}


def shuffled_labels(
    target: Target, groups: IntArray, folds: IntArray, count: int, seed: int
) -> FloatArray:
    """``count`` rearrangements of the labels: ``(count, n)``.

    Under the null hypothesis labels have nothing to do with features, but rows of a group belong
    together, and folds were made so that each has its share of every class. So labels move only
    where that stays so (restricted permutations: Anderson & ter Braak, 2003; Winkler et al.,
    2015): within a fold, groups whose rows share one label exchange it among one another; in any
    other group the rows exchange their labels. Without groups every row is one, and the labels of
    a fold are shuffled.
    """
    rng = np.random.default_rng(seed)
    values = np.repeat(target.values[None], count, axis=0)
    first, shared = _groups_with_one_label(target, groups)
    fold = folds[first]
    for number in np.unique(folds):
        movers = np.flatnonzero(shared & (fold == number))
        labels = np.repeat(target.values[first[movers]][None], count, axis=0)
        labels = rng.permuted(labels, axis=1)
        place = np.full(len(first), -1)
        place[movers] = np.arange(len(movers))
        rows = np.flatnonzero(place[groups] >= 0)
        values[:, rows] = labels[:, place[groups[rows]]]
    for group in np.flatnonzero(~shared):
        rows = np.flatnonzero(groups == group)
        values[:, rows] = rng.permuted(values[:, rows], axis=1)
    return values


def control_labels(
    target: Target, types: IntArray, folds: IntArray, count: int, seed: int
) -> FloatArray:
    """``count`` control tasks (Hewitt & Liang, 2019): ``(count, n)``.

    Every type, such as the token that a state is read at, gets one random label for good, drawn
    from the labels' own frequencies. Features that tell types apart let a probe learn that, from
    rows whose type was in its training set; it is not about what the labels mean. ``types`` ``(n,)``
    number the types. Raises TooFewTypesError if there are too few types for every class to be in
    every training set.
    """
    rng = np.random.default_rng(seed)
    tasks: list[FloatArray] = []
    for _ in range(MOST_DRAWS * count):
        labels = rng.choice(target.values, size=int(types.max()) + 1)[types]
        if _usable(target, labels, folds):
            tasks.append(labels)
        if len(tasks) == count:
            return np.array(tasks)
    raise TooFewTypesError(
        f"control task: {int(types.max()) + 1} types are too few for random labels that leave every "
        "class in every training set; take types of which there are more"
    )


def edge_words(texts: Sequence[str], which: str) -> list[str]:
    """Each text's ``first_word`` or ``last_word``, in lower case, as types for a control task.

    Words that stand in every text, such as a template's own, are passed over; a text of no others
    has "".
    """
    words = [WORD.findall(text.lower()) for text in texts]
    in_all = set.intersection(*map(set, words)) if words else set()
    own = [[word for word in each if word not in in_all] or [""] for each in words]
    return [each[EDGE_WORDS[which]] for each in own]


def _usable(target: Target, labels: FloatArray, folds: IntArray) -> bool:
    if target.kind == "ridge":
        return bool(labels.min() < labels.max())
    codes = range(len(target.classes))
    return all(len(np.unique(folds[labels == code])) >= FEWEST for code in codes)


def _groups_with_one_label(target: Target, groups: IntArray) -> tuple[IntArray, np.ndarray]:
    """Each group's first row, and whether all its rows have the same label."""
    _, first = np.unique(groups, return_index=True)
    differs = target.values != target.values[first][groups]
    return first, np.bincount(groups, weights=differs) == 0
