"""`stratascope diff`: read both sides, compare, and hand the result to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stratascope.compare import runs as runs_of
from stratascope.compare.changes import Change
from stratascope.compare.measures import (
    MetricsDifference,
    TableDifference,
    compare_metrics,
    compare_tables,
)
from stratascope.compare.records import Described, read_metrics, read_runs, read_study_of
from stratascope.compare.sides import LAYOUT, Side, open_sides
from stratascope.compare.tables import TABLES, read_compared


@dataclass(frozen=True)
class Difference:
    """Everything that differs between two sides; ``a`` and ``b`` are their names."""

    a: str
    b: str
    runs: runs_of.Runs
    # In how many scenarios the reference states differ, and what else of config.yaml does.
    references: tuple[runs_of.Counted, ...]
    config: tuple[Change, ...]
    tables: tuple[TableDifference, ...]
    metrics: MetricsDifference
    notes: tuple[str, ...]

    @property
    def numbers(self) -> int:
        """How many numbers both sides have."""
        return self.metrics.numbers + sum(table.numbers for table in self.tables)

    @property
    def moved(self) -> int:
        """How many of them differ."""
        return len(self.metrics.moved) + sum(len(table.moved) for table in self.tables)

    @property
    def one_sided(self) -> int:
        """How many table rows one side alone has."""
        return sum(table.only_a + table.only_b for table in self.tables)


def diff(
    a: str,
    b: str,
    directory: Path,
    form: str = "table",
    html: Path | None = None,
    top: int | None = None,
) -> str:
    """Compare ``a`` and ``b`` and return the text to print; see `sides` for what they may name.

    ``form`` is ``table``, ``csv``, ``json`` or ``markdown``; ``html`` is a page to write as well.
    ``top`` limits the list of what moved; without it a table shows 20, markdown 10, the page 200,
    and CSV and JSON everything. Raises ``StratascopeError`` for anything that cannot be read.
    """
    found = compare(a, b, directory)
    if html is not None:
        from stratascope.compare.page import write_page

        write_page(found, html, top)
    return _forms()[form](found, top)


def compare(a: str, b: str, directory: Path) -> Difference:
    """Everything that differs between what ``a`` and ``b`` name; nothing on disk is changed."""
    with open_sides(a, b, directory) as (left, right):
        studies = read_study_of(left), read_study_of(right)
        tables = compare_tables(
            read_compared(left.path(LAYOUT.tables), left.checkpoint),
            read_compared(right.path(LAYOUT.tables), right.checkpoint),
        )
        return Difference(
            a=left.shown,
            b=right.shown,
            runs=runs_of.compare_runs(read_runs(left, studies[0]), read_runs(right, studies[1])),
            references=runs_of.compare_references(*studies),
            config=runs_of.compare_configs(*studies),
            tables=tables,
            metrics=compare_metrics(read_metrics(left), read_metrics(right)),
            notes=tuple(_notes(left, right, studies, tables)),
        )


def _notes(
    a: Side, b: Side, studies: tuple[Described, Described], tables: tuple[TableDifference, ...]
) -> list[str]:
    notes = [study.trouble for study in studies if study.trouble]
    for table in tables:
        if table.columns_apart:
            names = ", ".join(table.columns_apart)
            notes.append(f"{table.table}: columns that one side alone has: {names}")
        averaged = TABLES[table.table].averaged and a.checkpoint is None
        if averaged and not len(table.moved) and table.only_a + table.only_b == 0:
            name = LAYOUT.tables / f"{table.table}.csv"
            if _bytes(a.path(name)) != _bytes(b.path(name)):
                notes.append(f"{table.table}: no average moved, but single rows differ")
    return notes


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _forms() -> dict[str, Callable[[Difference, int | None], str]]:
    from stratascope.compare.markdown import as_markdown
    from stratascope.compare.text import as_text
    from stratascope.compare.tidy import tidy_rows
    from stratascope.rows import render

    return {
        "table": as_text,
        "markdown": as_markdown,
        "csv": lambda found, top: render(tidy_rows(found, top), "csv"),
        "json": lambda found, top: render(tidy_rows(found, top), "json"),
    }
