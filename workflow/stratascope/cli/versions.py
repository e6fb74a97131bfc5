"""Commands about versions of results: what changed, what is there, what is no longer needed."""

from __future__ import annotations

from pathlib import Path

import click

from stratascope.cli.options import DIRECTORY, FORMAT, plan_of, print_rows
from stratascope.errors import StratascopeError


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


@click.command()
@DIRECTORY
def restore(directory: Path) -> None:
    """After `git clone`: bring the artifacts (`dvc pull`) and prove that nothing needs to run.

    Exit code 1, and the list, if something that the study asks for is not there.
    """
    from stratascope.versions import restore as bring

    planned = plan_of(directory)
    missing = bring(planned, directory)
    for path in missing:
        click.echo(f"missing  {path}")
    if missing:
        raise StratascopeError(
            f"{directory}: {len(missing)} artifacts were not recorded; snakemake makes them"
        )
    click.echo(f"{len(planned.runs)} runs and their report are there; nothing needs to run")


@click.command()
@DIRECTORY
@FORMAT
def verify(directory: Path, form: str) -> None:
    """Check every artifact below results against the hashes recorded when it was made.

    Exit code 1 if a file is damaged or missing; it is named.
    """
    from stratascope.store.verify import verify as check

    count, found = check(directory)
    rows = [{"state": f.state, "file": str(f.path), "detail": f.detail} for f in found]
    if form != "table" or rows:
        print_rows(rows, form)
    bad = sum(finding.bad for finding in found)
    if bad:
        raise StratascopeError(
            f"{directory}: {bad} of {count} files are not as they were made; `dvc checkout --force` puts "
            "back what was recorded"
        )
    if form == "table":
        click.echo(f"{count - len(found)} of {count} files are as they were made; none is damaged")


@click.command()
@click.option("--yes", is_flag=True, help="Really delete; without it, only list.")
@DIRECTORY
@FORMAT
def prune(yes: bool, directory: Path, form: str) -> None:
    """List the artifacts that no scenario of the study uses any more; with --yes, delete them.

    Only what Stratascope made is deleted. What else lies there is listed as left, with the reason.
    """
    from stratascope.store.prune import leftovers, remove

    found = leftovers(plan_of(directory), directory)
    if yes:
        remove(found, directory)
    word = "deleted" if yes else "unused"
    rows = [
        {
            "what": word if item.ours else "left",
            "bytes": item.size,
            "path": str(item.path),
            "why": item.why,
        }
        for item in found
    ]
    print_rows(rows, form)
    if form == "table":
        total = sum(item.size for item in found if item.ours)
        hint = "" if yes or not total else "; `stratascope prune --yes` deletes them"
        click.echo(f"{sum(i.ours for i in found)} artifacts, {total / 1e6:.1f} MB, {word}{hint}")
