"""A difference for eyes: sections of aligned lines, ASCII as far as the study's own texts are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from stratascope.compare.changes import plain
from stratascope.compare.measures import COUNT, LAYER, MEASURE, measures_of
from stratascope.compare.tidy import all_moved
from stratascope.rows import render

if TYPE_CHECKING:
    from stratascope.compare.diff import Difference

TOP = 20


def as_text(found: Difference, top: int | None = None) -> str:
    """The whole difference; of what moved, the ``top`` table rows that moved furthest."""
    top = TOP if top is None else top
    sections = [
        [f"A  {plain(found.a)}", f"B  {plain(found.b)}"],
        list(_warnings(found, top)),
        list(_runs(found, top)),
        list(_study(found)),
        list(_measures(found, top)),
        list(_metrics(found, top)),
        [f"note: {plain(note)}" for note in found.notes],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def verdict(found: Difference) -> str:
    """In a sentence whether any number moved."""
    if not found.numbers:
        return "No numbers to compare: the two sides share no table row"
    one_sided = f"; {found.one_sided:,} table rows are on one side only" if found.one_sided else ""
    if not found.moved:
        return f"Nothing moved: all {found.numbers:,} numbers are equal{one_sided}"
    return f"{found.moved:,} of {found.numbers:,} numbers moved{one_sided}"


def counts_of_runs(found: Difference) -> str:
    """How many runs are new, gone, changed and unchanged."""
    runs = found.runs
    return (
        f"{len(runs.new):,} new, {len(runs.gone):,} gone, {len(runs.changed):,} changed, "
        f"{len(runs.unchanged):,} unchanged"
    )


def moved_rows(found: Difference, top: int) -> tuple[list[Mapping[str, Any]], int, int]:
    """The table rows that moved furthest; how many more did, and how many numbers they have."""
    ranked = measures_of(all_moved(found))
    rest = ranked.iloc[top:]
    return ranked.head(top).to_dict("records"), len(rest), int(rest["more"].sum()) + len(rest)


def others_moved(found: Difference) -> str | None:
    """Layers' numbers and counts that differ: they have no size to be ranked by."""
    moved = all_moved(found)
    rest = moved[moved["kind"].isin([LAYER, COUNT])]
    if rest.empty:
        return None
    counts = rest.groupby("measure").size()
    names = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"Layers' numbers and counts that differ, too: {len(rest):,} ({names})"


def number(value: float | None) -> str:
    """Six significant digits; a dash for a gap."""
    return "-" if value is None or math.isnan(value) else f"{value:.6g}"


def change(value: float | None) -> str:
    """A difference, with its sign and four significant digits."""
    return "-" if value is None or math.isnan(value) else f"{value:+.4g}"


def times(value: float | None) -> str:
    """A change in units of the spread."""
    return "" if value is None or math.isnan(value) else f"{value:+.2f}x"


def short_key(key: str) -> str:
    """``run=talk@early layer=3`` as ``talk@early layer 3``: the columns say the rest."""
    parts = [part.partition("=") for part in plain(key).split(" ")]
    return " ".join(
        f"{name} {value}" if name == "layer" else value or name for name, _, value in parts
    )


def _warnings(found: Difference, top: int) -> Iterator[str]:
    for item in found.runs.environments:
        yield f"WARNING: environments differ: {item.change} ({_count(item.count, 'run')})"
    unsteady = [f"WARNING: same definition, other answer: {plain(c)}" for c in found.runs.unsteady]
    yield from _limited(unsteady, top)


def _runs(found: Difference, top: int) -> Iterator[str]:
    runs = found.runs
    yield f"Runs: {counts_of_runs(found)}"
    for word, labels in (("new", runs.new), ("gone", runs.gone)):
        yield from _limited([f"  {word:8} {plain(label)}" for label in labels], top)
    for reason in runs.shared:
        yield f"  in all {len(runs.changed):,} changed runs: {plain(reason)}"
    blocks = []
    for run in runs.changed:
        lines = [f"  changed  {plain(run.label)}  {run.a} -> {run.b}"]
        lines += [f"           {plain(reason)}" for reason in run.reasons]
        if run.unexplained:
            lines.append(f"           {run.unexplained}")
        if run.answer:
            lines.append(f"           it answers: {run.answer.a} -> {run.answer.b}")
        blocks.append("\n".join(lines))
    yield from _limited(blocks, top)


def _study(found: Difference) -> Iterator[str]:
    if found.references or found.config:
        yield "Study:"
    for item in found.references:
        yield f"  {plain(item.change)} ({_count(item.count, 'scenario')})"
    for reason in found.config:
        yield f"  config.yaml: {plain(reason)}"


def _measures(found: Difference, top: int) -> Iterator[str]:
    yield f"Measures: {verdict(found)}"
    if not found.moved and not found.one_sided:
        return
    yield ""
    yield _table([row for table in found.tables if (row := _summary(table))])
    rows, left_out, numbers = moved_rows(found, top)
    if rows:
        yield ""
        yield f"Largest first, one line a table row{_more(left_out, numbers)}:"
        yield _table([_line(row) for row in rows])
        yield "x: times the spread that chance gives (interval, or unrelated states); more: further"
        yield "measures of the row that moved. MAE is ordered by its change relative to its size."
    others = others_moved(found)
    if others:
        yield others


def _summary(table: Any) -> dict[str, str] | None:
    if not table.rows and not table.only_a and not table.only_b:
        return None
    measures: pd.DataFrame = table.moved[table.moved["kind"] == MEASURE]
    return {
        "table": table.table,
        "rows": f"{table.rows:,}",
        "only in A": f"{table.only_a:,}",
        "only in B": f"{table.only_b:,}",
        "numbers": f"{table.numbers:,}",
        "moved": f"{len(table.moved):,}",
        "largest": change(measures["change"].iloc[0]) if len(measures) else "",
    }


def _line(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "table": row["table"],
        "row": short_key(row["key"]),
        "measure": plain(row["measure"]),
        "A": number(row["a"]),
        "B": number(row["b"]),
        "change": change(row["change"]),
        "x": times(row["times"]),
        "more": f"+{row['more']}" if row["more"] else "",
    }


def _metrics(found: Difference, top: int) -> Iterator[str]:
    metrics = found.metrics
    moved = metrics.moved
    if not len(moved) and not metrics.only_a and not metrics.only_b:
        return
    yield f"Headline (metrics.json): {len(moved):,} of {metrics.numbers:,} numbers moved"
    rows = [
        {
            "path": plain(row["key"]),
            "A": number(row["a"]),
            "B": number(row["b"]),
            "change": change(row["change"]),
        }
        for row in moved.head(top).to_dict("records")
    ]
    if rows:
        yield _table(rows)
    if len(moved) > top:
        yield f"... and {len(moved) - top:,} more (--top)"
    for side, paths in (("A", metrics.only_a), ("B", metrics.only_b)):
        yield from _limited([f"only in {side}: {plain(path)}" for path in paths], top)


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    return render(rows, "table").rstrip("\n")


def _limited(lines: Sequence[str], top: int) -> Iterator[str]:
    yield from lines[:top]
    if len(lines) > top:
        yield f"  ... and {len(lines) - top:,} more (--top)"


def _more(left_out: int, numbers: int) -> str:
    if not left_out:
        return ""
    return f" ({left_out:,} more rows with {numbers:,} numbers left out; --top)"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
