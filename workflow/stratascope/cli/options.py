"""What the commands share: their common options, and how they read the plan and print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stratascope.errors import StratascopeError

if TYPE_CHECKING:
    from stratascope.study.plan import Plan

DIRECTORY = click.option(
    "--directory",
    "-d",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The study folder, holding config/config.yaml and scenarios/.  [default: this folder]",
)
FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print: for eyes, for spreadsheets, for programs (one object with `rows`).",
)

MEMORY_GB = click.option(
    "--memory-gb", type=click.FloatRange(0, min_open=True), help="Memory to allow.  [default: free]"
)
DISK_GB = click.option(
    "--disk-gb", type=click.FloatRange(0, min_open=True), help="Disk to allow.  [default: free]"
)


def plan_of(directory: Path) -> Plan:
    """The plan of the study in ``directory``."""
    from stratascope.store.datasets import content_of
    from stratascope.store.identity import identify
    from stratascope.study.plan import make_plan

    return make_plan(directory, identify, content_of)


def say(line: str) -> None:
    """Tell the person something that is not the result."""
    click.echo(line, err=True)


def print_rows(rows: list[dict[str, Any]], form: str) -> None:
    """Print the result in the format that was asked for."""
    from stratascope.rows import render

    click.echo(render(rows, form), nl=False)


def layer_numbers(text: str) -> list[int]:
    """What --layers names: ``0-2,5`` as [0, 1, 2, 5]."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.strip().isdecimal() or not (last or first).strip().isdecimal():
            raise StratascopeError(f"--layers: {part!r} is neither a layer nor a range as 0-5")
        found += range(int(first), int(last or first) + 1)
    return found
