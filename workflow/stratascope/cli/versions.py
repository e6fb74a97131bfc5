"""Commands about versions of results: what changed, what is there, what is no longer needed."""

from __future__ import annotations

from pathlib import Path

import click

from stratascope.cli.options import DIRECTORY


@click.command()
@click.argument("a")
@click.argument("b", default=".")
@DIRECTORY
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "markdown"]),
    default="table",
    show_default=True,
    help="For eyes, for spreadsheets, for programs, for a comment on a pull request.",
)
@click.option("--html", type=click.Path(path_type=Path), help="Also write a page to this file.")
@click.option("--top", type=click.IntRange(1), help="Show this many measures of those that moved.")
def diff(a: str, b: str, directory: Path, form: str, html: Path | None, top: int | None) -> None:
    """What changed from A to B: which runs, why, and which measures moved, largest first.

    A and B are git revisions, folders with results, `.` (what lies here now), or checkpoints of
    this study. Revisions are read through DVC's cache; the working tree is not touched.

    \b
    Examples:
      stratascope diff HEAD~1
      stratascope diff main . --format markdown
      stratascope diff step-0 step-1600 --html training.html
    """
    from stratascope.compare.diff import diff as compared

    click.echo(compared(a, b, directory, form, html, top), nl=False)
