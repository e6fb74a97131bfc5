"""A difference as one self-contained page in the report's style, without any script."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, PackageLoader
from markupsafe import Markup

from stratascope.compare import text
from stratascope.compare.changes import plain
from stratascope.report.page import STYLES, environment
from stratascope.store.commit import new_file

if TYPE_CHECKING:
    from stratascope.compare.diff import Difference

TOP = 200
TITLES = {
    "intra_run_report": "Within a run",
    "comparison_report": "Between two runs",
    "role_averages": "User and assistant",
    "discrimination": "Telling references apart",
    "checkpoints": "Checkpoints",
    "snapshot_reference": "Messages against references",
}


def write_page(found: Difference, out: Path, top: int | None = None) -> None:
    """Write the difference to ``out``; the same difference gives the same bytes."""
    html = render_page(found, TOP if top is None else top)
    with new_file(out) as partial:
        partial.write_text(html, encoding="utf-8", errors="replace", newline="\n")


def render_page(found: Difference, top: int = TOP) -> str:
    """The page's HTML; of what moved, the ``top`` table rows that moved furthest."""
    own = PackageLoader("stratascope.compare", "templates")
    report = environment()
    if report.loader is None:
        raise AssertionError("the report's templates have a loader")
    made = report.overlay(loader=ChoiceLoader([own, report.loader]))
    made.filters.update(
        plain=plain, value=text.number, change=text.change, times=text.times, key=text.short_key
    )
    rows, left_out, numbers = text.moved_rows(found, top)
    return made.get_template("diff.html.j2").render(
        found=found,
        style=Markup("\n".join(_css(name) for name in STYLES)),  # noqa: S704
        verdict=text.verdict(found),
        others=text.others_moved(found),
        facts=_facts(found),
        tables=[t for t in found.tables if t.rows or t.only_a or t.only_b],
        titles=TITLES,
        rows=_with_bars(rows),
        left_out=left_out,
        left_out_numbers=numbers,
        metrics=_with_bars(found.metrics.moved.head(top).to_dict("records")),
    )


def _facts(found: Difference) -> list[tuple[str, int]]:
    runs = found.runs
    return [
        ("New runs", len(runs.new)),
        ("Gone runs", len(runs.gone)),
        ("Changed runs", len(runs.changed)),
        ("Unchanged runs", len(runs.unchanged)),
        ("Numbers compared", found.numbers),
        ("Numbers that moved", found.moved),
    ]


def _with_bars(rows: list[Any]) -> list[dict[str, Any]]:
    """Each row with the length of its bar: its size as a share of the largest one's of its kind."""
    largest: dict[str, float] = {}
    for row in rows:
        size = row["size"] if row["size"] == row["size"] else 0.0
        largest[row["kind"]] = max(size, largest.get(row["kind"], 0.0))
    return [{**row, "bar": _share(row["size"], largest[row["kind"]])} for row in rows]


def _share(size: float, largest: float) -> float:
    return round(100 * size / largest, 1) if size == size and largest > 0 else 0.0


def _css(name: str) -> str:
    return (files("stratascope.report") / "assets" / "css" / name).read_text(encoding="utf-8")
