"""What a probe is to predict: classes, or numbers; and the features it predicts them from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import FloatArray

Kind = Literal["logistic", "ridge"]

# Whole numbers with more different values than this are quantities, not names of classes.
MOST_NUMBERED_CLASSES = 10


@dataclass(frozen=True)
class Target:
    """The labels of n rows.

    ``values`` ``(n,)`` are the labels themselves for ridge and the places in ``classes``, as
    floats, for logistic. ``classes`` are sorted; of two, the second is the positive one.
    """

    kind: Kind
    values: FloatArray
    classes: tuple[Any, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def codes(self) -> npt.NDArray[np.int64]:
        """The classes' places ``(n,)``."""
        return self.values.astype(np.int64)

    def with_values(self, values: FloatArray) -> Target:
        """The same kind and classes with other labels, as a null needs them."""
        return Target(self.kind, values, self.classes)


def target_of(y: Sequence[Any] | npt.NDArray[Any], kind: Literal["auto"] | Kind = "auto") -> Target:
    """Labels ``(n,)`` as a `Target`.

    ``auto`` takes text, true/false and whole numbers with at most 10 different values as classes,
    other numbers as quantities. Raises StratascopeError for a missing label, a single class,
    equal quantities throughout, and text where numbers are needed.
    """
    items = [each.item() if isinstance(each, np.generic) else each for each in y]
    if any(isinstance(item, (list, tuple, np.ndarray)) for item in items):
        raise StratascopeError(
            f"labels must be one list, a label a row, not of shape {np.shape(y)}"
        )
    for row, item in enumerate(items):
        # NaN is the one value that differs from itself.
        if item is None or item != item:
            raise StratascopeError(f"labels: row {row} has none; leave such rows out")
    if kind == "auto":
        kind = "logistic" if _names_classes(items) else "ridge"
    return _classes(items) if kind == "logistic" else _quantities(items)


def _names_classes(items: list[Any]) -> bool:
    if not all(isinstance(item, (int, float)) for item in items):
        return True
    whole = all(float(item).is_integer() for item in items)
    return whole and len(set(items)) <= MOST_NUMBERED_CLASSES


def _classes(items: list[Any]) -> Target:
    try:
        classes = sorted(set(items))
    except TypeError as error:
        raise StratascopeError("labels: text and numbers are mixed; write all as text") from error
    if len(classes) < 2:
        what = f"only one class, {classes[0]!r}" if classes else "no rows"
        raise StratascopeError(f"labels: {what}; a probe tells at least two classes apart")
    place = {name: float(code) for code, name in enumerate(classes)}
    return Target("logistic", np.array([place[item] for item in items]), tuple(classes))


def _quantities(items: list[Any]) -> Target:
    if not all(isinstance(item, (int, float)) for item in items):
        raise StratascopeError("labels: ridge predicts numbers, these are text; take logistic")
    values = np.array(items, dtype=np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise StratascopeError(f"labels: row {row} is not finite; leave such rows out")
    if len(values) == 0 or values.min() == values.max():
        what = f"every row has the value {values[0]:g}" if len(values) else "no rows"
        raise StratascopeError(f"labels: {what}; there is nothing to predict")
    return Target("ridge", values)


def features_of(features: npt.ArrayLike, rows: int, what: str = "features") -> FloatArray:
    """Features as float64 ``(rows, d)``.

    Raises StratascopeError naming ``what`` if the shape is another or a number is not finite.
    """
    matrix = np.asarray(features, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise StratascopeError(
            f"{what}: a probe needs a matrix (rows, width), got shape {matrix.shape}"
        )
    if len(matrix) != rows:
        raise StratascopeError(f"{what}: {len(matrix)} rows for {rows} labels")
    # A sum is finite only if every number is, unless it overflows: then look closer.
    if not np.isfinite(matrix.sum()) and not np.isfinite(matrix).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(matrix))[0])
        raise StratascopeError(
            f"{what}: row {row}, dimension {column} is not finite; leave such rows out"
        )
    return matrix
