"""Which numbers moved, by how much, largest first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from stratascope.compare.changes import leaves
from stratascope.compare.tables import SPREAD, TABLES, Compared

Numbers = npt.NDArray[np.float64]
# What a column holds. Only a measure has a size that ranks a table row. Secondary is what follows from
# the same numbers (a median, a bound) and overlap, which jumps in steps where a hundredth of the
# dimensions are few: they would crowd the list. A layer's number or a count has no size.
KINDS = MEASURE, SECONDARY, LAYER, COUNT = "measure", "secondary", "layer", "count"
_SECONDARY = re.compile(
    r"(std|median|min)_.*|(mean_)?overlap|(lower|upper)(_centred)?|null|chance|majority"
    r"|(user|assistant)_mean"
)
_COUNTS = (
    "n", "correct", "runs", "order", "conversations", "snapshots", "references", "checkpoints",
    "pairs", "pairs_not_comparable", "pairs_left_out",
)  # fmt: skip
# One row a number that differs; see `compare_table`.
COLUMNS = ("table", "key", "measure", "kind", "a", "b", "change", "spread", "times", "size")


@dataclass(frozen=True)
class TableDifference:
    """One table: how much of it was compared, and each number that differs.

    ``moved`` has the columns `COLUMNS`. ``columns_apart`` are columns that one side alone has.
    """

    table: str
    rows: int
    numbers: int
    only_a: int
    only_b: int
    columns_apart: tuple[str, ...]
    moved: pd.DataFrame


@dataclass(frozen=True)
class MetricsDifference:
    """metrics.json: how many numbers both sides have, those that differ, and paths of one side."""

    numbers: int
    moved: pd.DataFrame
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def compare_tables(
    a: Mapping[str, pd.DataFrame], b: Mapping[str, pd.DataFrame]
) -> tuple[TableDifference, ...]:
    """Each table of `TABLES` against its other side."""
    return tuple(compare_table(name, spec, a[name], b[name]) for name, spec in TABLES.items())


def compare_table(name: str, spec: Compared, a: pd.DataFrame, b: pd.DataFrame) -> TableDifference:
    """Join two tables on their keys and compare their numbers.

    A number ``moved`` unless both are equal, or both are gaps. ``change`` is b - a, NaN if one is a
    gap. ``spread`` is the larger of both sides' (half an interval, or the standard deviation of
    unrelated states), NaN where the study gives none, and ``times`` is change / spread. ``size``
    orders: |change|, and for MAE, which has the activations' units, |change| / max(|a|, |b|).
    """
    keys = list(spec.keys)
    left, right = (_keyed(frame, keys) for frame in (a, b))
    shared = left.index.intersection(right.index, sort=False)
    columns = [c for c in _measures(left) if c in set(_measures(right))]
    apart = sorted(set(_measures(left)) ^ set(_measures(right))) if len(shared) else []
    x, y = left.loc[shared], right.loc[shared]
    parts = [_moved(name, column, x, y) for column in columns]
    parts = [part for part in parts if len(part)]
    return TableDifference(
        table=name,
        rows=len(shared),
        numbers=len(shared) * len(columns),
        only_a=len(left) - len(shared),
        only_b=len(right) - len(shared),
        columns_apart=tuple(apart),
        moved=largest_first(pd.concat(parts, ignore_index=True) if parts else _nothing()),
    )


def compare_metrics(a: Mapping[str, object], b: Mapping[str, object]) -> MetricsDifference:
    """metrics.json flattened by dotted path; null is a number that is not known."""
    left, right = dict(leaves(a)), dict(leaves(b))
    both = [path for path in left if path in right]
    frame = pd.DataFrame(
        {
            "key": pd.Series(both, dtype="str"),
            "a": np.array([_number(left[path]) for path in both], dtype=np.float64),
            "b": np.array([_number(right[path]) for path in both], dtype=np.float64),
        }
    )
    differ = frame[~_equal(frame["a"].to_numpy(), frame["b"].to_numpy())]
    rows = _described(
        "metrics.json",
        differ["key"],
        differ["key"].str.rsplit(".", n=1).str[-1],
        differ["a"].to_numpy(),
        differ["b"].to_numpy(),
        np.full(len(differ), np.nan),
    )
    return MetricsDifference(
        numbers=len(both),
        moved=largest_first(rows),
        only_a=tuple(sorted(left.keys() - right.keys())),
        only_b=tuple(sorted(right.keys() - left.keys())),
    )


def largest_first(moved: pd.DataFrame) -> pd.DataFrame:
    """By kind, size, table, key and measure; a change to or from a gap has no size, and is last."""
    tables = {name: i for i, name in enumerate(TABLES)}
    kinds = {name: i for i, name in enumerate(KINDS)}
    order = moved.assign(
        _kind=moved["kind"].map(kinds),
        _table=moved["table"].map(lambda name: tables.get(name, len(tables))),
    ).sort_values(
        ["_kind", "size", "_table", "key", "measure"],
        ascending=[True, False, True, True, True],
        na_position="last",
        kind="stable",
    )
    return order.drop(columns=["_kind", "_table"]).reset_index(drop=True)


def measures_of(moved: pd.DataFrame) -> pd.DataFrame:
    """One line a table row: the measure that moved furthest, and in ``more`` how many others did."""
    only = moved[moved["kind"].isin([MEASURE, SECONDARY])]
    groups = only.groupby(["table", "key"], sort=False)["measure"]
    first = only.assign(more=groups.transform("size") - 1).drop_duplicates(["table", "key"])
    return first.reset_index(drop=True)


def kind_of(column: str) -> str:
    """Which of `KINDS` a column is, by its name."""
    if column == "layer" or column.endswith("_layer"):
        return LAYER
    if column in _COUNTS or column.startswith("n_") or column.endswith("_n"):
        return COUNT
    return SECONDARY if _SECONDARY.fullmatch(column) else MEASURE


def _keyed(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """By one text a row, as ``run=talk@early source=hidden_out``."""
    if frame.empty or not set(keys) <= set(frame.columns):
        return pd.DataFrame(index=pd.Index([], dtype="str"))
    words = [key + "=" + frame[key].astype("str") for key in keys if (frame[key] != "").any()]
    text = words[0]
    for word in words[1:]:
        text = text + " " + word
    return frame.drop(columns=keys).set_axis(pd.Index(text), axis=0)


def _measures(frame: pd.DataFrame) -> list[str]:
    numbers = frame.select_dtypes("number").columns
    return [str(name) for name in numbers if not str(name).startswith(SPREAD)]


def _moved(table: str, column: str, a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    x, y = (frame[column].to_numpy(dtype=np.float64) for frame in (a, b))
    rows = np.flatnonzero(~_equal(x, y))
    spread = np.fmax(_spread(a, column)[rows], _spread(b, column)[rows])
    names = pd.Series(column, index=range(len(rows)), dtype="str")
    return _described(table, pd.Series(a.index[rows]), names, x[rows], y[rows], spread)


def _described(
    table: str,
    key: pd.Series,
    measure: pd.Series,
    a: Numbers,
    b: Numbers,
    spread: Numbers,
) -> pd.DataFrame:
    change = b - a
    largest = np.fmax(np.abs(a), np.abs(b))
    relative = np.divide(np.abs(change), largest, out=np.zeros_like(change), where=largest > 0)
    scaled = measure.str.contains("MAE").to_numpy(dtype=bool)
    return pd.DataFrame(
        {
            "table": table,
            "key": key.to_numpy(),
            "measure": measure.to_numpy(),
            "kind": [kind_of(name) for name in measure],
            "a": a,
            "b": b,
            "change": change,
            "spread": spread,
            "times": np.divide(change, spread, out=np.full_like(change, np.nan), where=spread > 0),
            "size": np.where(scaled, relative, np.abs(change)),
        }
    )


def _nothing() -> pd.DataFrame:
    empty = pd.Series(dtype="str")
    none = np.zeros(0)
    return _described("", empty, empty, none, none, none)


def _spread(frame: pd.DataFrame, column: str) -> Numbers:
    if SPREAD + column not in frame:
        return np.full(len(frame), np.nan)
    return np.asarray(frame[SPREAD + column], dtype=np.float64)


def _equal(a: Numbers, b: Numbers) -> npt.NDArray[np.bool_]:
    return np.equal(a, b) | (np.isnan(a) & np.isnan(b))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
