"""Which rows are held out together: grouped and stratified folds."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import IntArray
from stratascope.measure.probes.labels import Target

# The penalty is chosen on the other folds of a training set, so that it takes two of them.
FEWEST = 3


def fold_numbers(target: Target, groups: IntArray, count: int, seed: int) -> IntArray:
    """Each row's fold, from 0: ``(n,)``. All rows of a group are in one fold.

    ``groups`` ``(n,)`` number the groups from 0. Classes are spread evenly over the folds
    (scikit-learn's StratifiedKFold, and StratifiedGroupKFold where a group has several rows);
    quantities are not stratified. Raises StratascopeError if there are fewer groups than folds,
    if a class is in fewer groups than there are folds, or if a class ends up in so few folds
    that a training set would lack it.
    """
    if count < FEWEST:
        raise StratascopeError(
            f"folds: {count} are too few; one is held out and the penalty is chosen on the others, "
            f"which takes at least {FEWEST}"
        )
    total = int(groups.max(initial=-1)) + 1
    if total < count:
        raise StratascopeError(
            f"{total} groups are too few for {count} folds; give more texts, or fewer folds"
        )
    if target.kind == "logistic":
        _check_classes(target, groups, count)
    numbers = np.empty(len(target), dtype=np.int64)
    for number, rows in enumerate(_split(target, groups, count, seed, total < len(target))):
        numbers[rows] = number
    if target.kind == "logistic":
        _check_folds(target, numbers)
    return numbers


def _split(
    target: Target, groups: IntArray, count: int, seed: int, grouped: bool
) -> list[IntArray]:
    options = {"n_splits": count, "shuffle": True, "random_state": seed}
    if target.kind == "logistic":
        splitter = StratifiedGroupKFold(**options) if grouped else StratifiedKFold(**options)
    else:
        splitter = GroupKFold(**options) if grouped else KFold(**options)
    with warnings.catch_warnings():
        # What it warns of, a class with few rows, is an error above where it matters.
        warnings.simplefilter("ignore", UserWarning)
        split = splitter.split(np.zeros((len(target), 1)), target.values, groups)
        return [held_out for _, held_out in split]


def _check_classes(target: Target, groups: IntArray, count: int) -> None:
    for code, name in enumerate(target.classes):
        found = len(np.unique(groups[target.codes == code]))
        if found < count:
            raise StratascopeError(
                f"labels: class {name!r} is in {found} groups, fewer than the {count} folds; "
                "give more of it, leave it out, or take fewer folds"
            )


def _check_folds(target: Target, numbers: IntArray) -> None:
    for code, name in enumerate(target.classes):
        inside = np.unique(numbers[target.codes == code])
        # Two folds may be away at once: the one held out, and the one the penalty is judged on.
        if len(inside) < FEWEST:
            raise StratascopeError(
                f"labels: the groups leave class {name!r} in {len(inside)} folds only, so that a "
                "training set would lack it; take smaller groups or more texts"
            )
