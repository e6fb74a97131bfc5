"""A difference as rows that share their columns: for spreadsheets and programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from stratascope.compare.changes import Change, plain
from stratascope.compare.measures import largest_first

if TYPE_CHECKING:
    from stratascope.compare.diff import Difference
    from stratascope.compare.runs import Runs

# What every row has: the kind of difference, where it is, both values, and of numbers how far.
COLUMNS = ("kind", "table", "key", "measure", "a", "b", "change", "spread", "times", "count")


def tidy_rows(found: Difference, top: int | None = None) -> list[dict[str, Any]]:
    """One row a difference. ``kind`` says which:

    ``compared`` (the two sides); ``new``, ``gone``, ``changed``, ``unchanged`` (runs, with digests);
    ``reason`` (why a run changed, in ``measure`` the key); ``answer`` (a run's generated text);
    ``environment``, ``references``, ``config`` (``count`` runs or scenarios); ``rows`` (a table:
    rows in both and on one side alone); ``measure``, ``secondary``, ``layer``, ``count`` (a number
    that moved, largest first); ``metric``; ``note``; ``left_out`` (``count`` more, beyond ``top``).
    """
    rows = [_row("compared", a=found.a, b=found.b, count=found.numbers)]
    rows += _runs(found.runs)
    for item in found.runs.environments:
        rows.append(_change("environment", item.change, count=item.count))
    for item in found.references:
        rows.append(_change("references", item.change, count=item.count))
    rows += [_change("config", change) for change in found.config]
    for table in found.tables:
        for side, only in (("a", table.only_a), ("b", table.only_b)):
            if only:
                rows.append(_row("rows", table=table.table, measure=f"only in {side}", count=only))
        rows.append(_row("rows", table=table.table, measure="in both", count=table.rows))
    moved = all_moved(found)
    shown = moved if top is None else moved.head(top)
    rows += [_number(row["kind"], row) for row in shown.to_dict("records")]
    if len(moved) > len(shown):
        rows.append(_row("left_out", measure="moved", count=len(moved) - len(shown)))
    rows += [_number("metric", row) for row in found.metrics.moved.to_dict("records")]
    for side, paths in (("a", found.metrics.only_a), ("b", found.metrics.only_b)):
        rows += [_row("metric", key=path, measure=f"only in {side}") for path in paths]
    return rows + [_row("note", measure=note) for note in found.notes]


def all_moved(found: Difference) -> pd.DataFrame:
    """Every number of the tables that moved, measures first."""
    frames = [table.moved for table in found.tables if len(table.moved)]
    if not frames:
        return found.tables[0].moved
    return largest_first(pd.concat(frames, ignore_index=True))


def _runs(runs: Runs) -> Iterator[dict[str, Any]]:
    yield from (_row("new", key=label) for label in runs.new)
    yield from (_row("gone", key=label) for label in runs.gone)
    for run in runs.changed:
        yield _row("changed", key=run.label, a=run.a, b=run.b)
        for change in (*runs.shared, *run.reasons):
            yield _change("reason", change, key=run.label)
        if run.unexplained:
            yield _row("reason", key=run.label, measure=run.unexplained)
        if run.answer:
            yield _row("answer", key=run.label, a=run.answer.a, b=run.answer.b)
    yield from (_row("unchanged", key=label) for label in runs.unchanged)
    for answer in runs.unsteady:
        yield _row("answer", key=answer.path, a=answer.a, b=answer.b)


def _change(kind: str, change: Change, **values: Any) -> dict[str, Any]:
    return _row(kind, measure=change.path, a=change.a, b=change.b, **values)


def _number(kind: str, row: dict[Any, Any]) -> dict[str, Any]:
    return _row(
        str(kind), **{name: row[name] for name in COLUMNS if name in row and name != "kind"}
    )


def _row(kind: str, **values: Any) -> dict[str, Any]:
    known = {name: _known(value) for name, value in values.items()}
    return {**dict.fromkeys(COLUMNS), "kind": kind, **known}


def _known(value: Any) -> Any:
    """Text that no terminal obeys; no number rather than NaN, which JSON does not have."""
    if isinstance(value, str):
        return plain(value)
    return None if isinstance(value, float) and value != value else value
