"""A short difference for a comment on a change: counts, why, and what moved furthest.

Texts of a study stand in code spans only. There, nothing is a link, a mention or HTML; in a table
a vertical bar would end the cell even so, and is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from stratascope.compare.changes import plain
from stratascope.compare.text import (
    change,
    counts_of_runs,
    moved_rows,
    number,
    others_moved,
    short_key,
    times,
    verdict,
)

if TYPE_CHECKING:
    from stratascope.compare.diff import Difference

TOP = 10
_LISTED = 10


def as_markdown(found: Difference, top: int | None = None) -> str:
    """GitHub-flavoured Markdown, a screen or two whatever the study's size."""
    blocks = [
        f"### {code(found.a)} against {code(found.b)}",
        "\n".join(_warnings(found)),
        f"**Runs:** {counts_of_runs(found)}",
        "\n".join(_reasons(found)),
        f"**Measures:** {verdict(found)}",
        _table(found, TOP if top is None else top),
        others_moved(found) or "",
        "\n".join(f"- {code(note)}" for note in found.notes),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def code(text: object) -> str:
    """A code span that its text cannot end, whatever back-quotes the text holds."""
    shown = plain(text)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    # One space on each side is taken off again by whoever renders it.
    pad = " " if not shown.strip() or shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def cell(text: object) -> str:
    """A code span for a table: a bar would end the cell, a backslash could hide that."""
    return code(plain(text).replace("|", "\u00a6").replace("\\", "\u2216"))


def _warnings(found: Difference) -> Iterator[str]:
    for item in found.runs.environments:
        yield f"- :warning: environments differ: {code(item.change)} ({item.count:,} runs)"
    for answer in found.runs.unsteady[:_LISTED]:
        yield f"- :warning: same definition, other answer: {code(answer)}"


def _reasons(found: Difference) -> Iterator[str]:
    runs = found.runs
    yield from _limited([f"- new: {code(label)}" for label in runs.new])
    yield from _limited([f"- gone: {code(label)}" for label in runs.gone])
    yield from (f"- in all changed runs: {code(reason)}" for reason in runs.shared)
    changed = []
    for run in runs.changed:
        lines = [f"- changed: {code(run.label)}"]
        lines += [f"  - {code(reason)}" for reason in run.reasons]
        lines += [f"  - {run.unexplained}"] if run.unexplained else []
        lines += (
            [f"  - it answers: {code(f'{run.answer.a} -> {run.answer.b}')}"] if run.answer else []
        )
        changed.append("\n".join(lines))
    yield from _limited(changed)
    yield from (
        f"- {code(item.change)} ({item.count:,} scenarios)" for item in found.references[:_LISTED]
    )
    yield from _limited([f"- config.yaml: {code(reason)}" for reason in found.config])


def _table(found: Difference, top: int) -> str:
    rows, left_out, numbers = moved_rows(found, top)
    if not rows:
        return ""
    lines = ["| row | measure | A | B | change | times the spread |", "|---|---|--:|--:|--:|--:|"]
    for row in rows:
        name = cell(f"{row['table']}: {short_key(row['key'])}")
        more = f" +{row['more']}" if row["more"] else ""
        values = (number(row["a"]), number(row["b"]), change(row["change"]), times(row["times"]))
        lines.append(f"| {name} | {cell(row['measure'])}{more} | {' | '.join(values)} |")
    if left_out:
        lines += ["", f"{left_out:,} more rows with {numbers:,} numbers are left out."]
    return "\n".join(lines)


def _limited(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:_LISTED]
    if len(lines) > _LISTED:
        yield f"- ... and {len(lines) - _LISTED:,} more"
