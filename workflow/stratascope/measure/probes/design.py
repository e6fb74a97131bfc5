"""Everything about a probe that does not depend on the features, made once for all layers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stratascope.errors import StratascopeError
from stratascope.measure.bootstrap import numbered, resample_counts
from stratascope.measure.interval import seed_of
from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.probes.folds import fold_numbers
from stratascope.measure.probes.labels import Kind, Target, target_of
from stratascope.measure.probes.nulls import control_labels, shuffled_labels

FOLDS = 5
PERMUTATIONS = 100
RESAMPLES = 1000
# The control task is a mean over so many random tasks.
CONTROLS = 5


@dataclass(frozen=True)
class Design:
    """Labels, folds, shuffled labels, control tasks and bootstrap of n rows.

    ``groups`` and ``folds`` ``(n,)`` are numbers from 0; ``shuffled`` ``(N, n)`` and ``controls``
    ``(D, n)`` are label vectors, none of them if not asked for; ``counts`` ``(B, groups)`` is how
    often each resample draws each group.
    """

    target: Target
    groups: IntArray
    folds: IntArray
    shuffled: FloatArray
    controls: FloatArray
    counts: FloatArray


def design(
    y: Sequence[Any] | npt.NDArray[Any],
    *,
    groups: Sequence[Hashable] | None = None,
    types: Sequence[Hashable] | None = None,
    kind: Literal["auto"] | Kind = "auto",
    folds: int = FOLDS,
    permutations: int = PERMUTATIONS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Design:
    """Plan probes for the labels ``y`` ``(n,)``.

    ``groups`` ``(n,)`` names what belongs together, such as the conversation a text is from; by
    default every row stands alone. All rows of a group are in one fold, and groups are what the
    bootstrap draws. ``types`` ``(n,)`` names what the control task gives random labels to; without it
    there is none. Everything random follows from ``seed``.

    Raises StratascopeError for labels that cannot be probed (see `target_of`, `fold_numbers`,
    `control_labels`) and for groups or types that are not one a row.
    """
    target = target_of(y, kind)
    numbers = numbers_of(groups, len(target), "groups")
    fold = fold_numbers(target, numbers, folds, seed_of(seed, "folds") % 2**32)
    controls = np.empty((0, len(target)))
    if types is not None:
        type_numbers = numbers_of(types, len(target), "types")
        controls = control_labels(target, type_numbers, fold, CONTROLS, seed_of(seed, "control"))
    return Design(
        target,
        numbers,
        fold,
        shuffled_labels(target, numbers, fold, permutations, seed_of(seed, "shuffled")),
        controls,
        resample_counts(int(numbers.max()) + 1, resamples, seed_of(seed, "bootstrap")),
    )


def numbers_of(names: Sequence[Hashable] | None, rows: int, what: str) -> IntArray:
    """Names ``(rows,)`` as numbers from 0; by default every row has its own.

    Raises StratascopeError for another number of names and for a missing one.
    """
    if names is None:
        return np.arange(rows)
    listed = list(names)
    if len(listed) != rows:
        raise StratascopeError(f"{what}: {len(listed)} names for {rows} labels")
    for row, name in enumerate(listed):
        if name is None or name != name:
            raise StratascopeError(f"{what}: row {row} has none; leave such rows out")
    return numbered(listed)
