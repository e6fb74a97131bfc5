"""The command line: one thin command for each rule of the workflow and each human task.

Every command imports what it needs when it runs, so that ``--help`` and the analysis stages start
without torch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stratascope import __version__
from stratascope.errors import StratascopeError

if TYPE_CHECKING:
    from stratascope.study.plan import Plan

# Nothing phones home, and tokenizers' threads would make a forked process complain.
ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}

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
TARGET = click.argument("target", type=click.Path(path_type=Path))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="stratascope")
def cli() -> None:
    """Reproducible studies of what happens inside language models, layer by layer.

    A study is a folder with config/config.yaml and scenarios/. `snakemake --cores 2` captures,
    compares and reports it; `stratascope plan` shows what that will do. Without a study,
    `stratascope run SCENARIO.yaml` captures a single scenario file.
    """


def main() -> None:
    """Run the command line: a user's mistake is one line and exit code 1, never a traceback."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        cli()
    except StratascopeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has seen enough, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# Human tasks


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--model", "model_id", help="Run on this model instead of the scenario's own.")
@click.option("--revision", help="A hub model's branch, tag or commit.")
@click.option("--dtype", type=click.Choice(["float16", "bfloat16", "float32"]), help="And in this.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@DIRECTORY
@FORMAT
def run(
    path: Path,
    model_id: str | None,
    revision: str | None,
    dtype: str | None,
    threads: int,
    directory: Path,
    form: str,
) -> None:
    """Capture a scenario file, or every scenario in a folder, without a study.

    Runs lie below the scenario's `output.dir` if that is set, else in results/runs. What was
    captured before is not captured again. Model folders and `output.dir` are relative to
    --directory.

    \b
    Examples:
      stratascope run scenarios/mood_swings.yaml --model models/demo/step-0
      stratascope run my_scenarios/ --format json
    """
    from stratascope.capture.single import run_files

    changes = {"id": model_id, "revision": revision, "dtype": dtype}
    rows = run_files(path, directory, changes, threads, _say)
    _print(rows, form)


@cli.command()
@DIRECTORY
@FORMAT
def plan(directory: Path, form: str) -> None:
    """List every run of the study: its label, its digest, and whether it is captured."""
    from stratascope.store.layout import Layout
    from stratascope.store.runs import is_run

    layout = Layout.of_study()
    rows = [
        {
            "run": item.label,
            "scenario": item.scenario,
            "checkpoint": item.checkpoint.name,
            "digest": item.digest,
            "messages": len(item.messages),
            "done": is_run(directory / layout.runs / item.folder),
        }
        for item in _plan(directory).runs
    ]
    _print(rows, form)


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@DIRECTORY
def lock(paths: tuple[Path, ...], directory: Path) -> None:
    """Pin every hub model of the study to its present commit, in config/lock.json.

    The only command that asks the network. Commit the file: then everybody captures the same
    weights, and the plan needs no network. Run it again to move on to newer commits. With PATHS,
    the models of these scenario files or folders are pinned, for `stratascope run`.
    """
    from stratascope.capture.hub import lock_models

    for key, commit in lock_models(directory, paths).items():
        click.echo(f"{key}  {commit}")


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@FORMAT
def inspect(path: Path, form: str) -> None:
    """Summarise a captured run: PATH is its folder or its run.json."""
    from stratascope.store.inspect import describe, step_rows
    from stratascope.store.runs import RunFolder

    folder = RunFolder.open(path)
    if form == "table":
        click.echo(describe(folder))
    _print(step_rows(folder), form)


@cli.command()
@click.argument("model")
@click.option("--revision", help="A commit of a hub model.")
@click.option("--trust-remote-code", is_flag=True)
@DIRECTORY
@FORMAT
def layers(
    model: str, revision: str | None, trust_remote_code: bool, directory: Path, form: str
) -> None:
    """Print a model's module tree and where each site is read. Loads no weights."""
    from stratascope.capture.layers import outline
    from stratascope.study.schema import Model

    spec = Model(id=model, revision=revision, trust_remote_code=trust_remote_code)
    tree, sites = outline(spec, directory)
    if form == "table":
        click.echo(tree)
    _print(sites, form)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["npz", "pt"]), default="npz", show_default=True
)
@click.option(
    "--layout",
    type=click.Choice(["steps", "one-file"]),
    default="steps",
    show_default=True,
    help="One file a step, as Activation Lab; or a single file.",
)
@click.option(
    "--references",
    type=click.Path(path_type=Path),
    help="Add this reference set, a folder in results/references, to the steps layout.",
)
@click.option("--out", type=click.Path(path_type=Path), help="[default: PATH with -FORMAT added]")
def export(path: Path, form: str, layout: str, references: Path | None, out: Path | None) -> None:
    """Write a run for tools that read NPZ or PyTorch files: PATH is the run's folder.

    NumPy has no bfloat16: such tensors become float32 in NPZ, exactly.
    """
    from stratascope.store.export import export_run

    for written in export_run(path, form, layout, out, references):
        click.echo(str(written))


@cli.command("train-demo")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("models/demo"), show_default=True
)
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--steps", type=click.IntRange(1), help="Stop earlier than the recipe does.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
def train_demo(out: Path, seed: int, steps: int | None, threads: int) -> None:
    """Train the embedded chat model again, from its own grammar (minutes on two cores)."""
    from stratascope.demo.train import train_demo as recipe

    _print(recipe(out, seed=seed, steps=steps, threads=threads, progress=_say), "table")


@cli.command()
@click.argument("what", type=click.Choice(["scenario", "config"]))
def schema(what: str) -> None:
    """Print the JSON Schema of a scenario file or of config.yaml, for editors."""
    import json

    from stratascope.study.schema import Scenario, Study

    model = Scenario if what == "scenario" else Study
    click.echo(json.dumps(model.model_json_schema(), indent=2))


# The workflow's rules: each makes one target of the plan.


@cli.command()
@TARGET
@DIRECTORY
def capture(target: Path, directory: Path) -> None:
    """[workflow] Capture what a job of the plan still lacks, then write its manifest TARGET."""
    from stratascope.workflow import capture_target

    capture_target(_plan(directory), directory, target, _say)


@cli.command()
@TARGET
@DIRECTORY
def states(target: Path, directory: Path) -> None:
    """[workflow] Extract a checkpoint's state vectors into TARGET (.json and .safetensors)."""
    from stratascope.workflow import states_target

    states_target(_plan(directory), directory, target)


@cli.command()
@TARGET
@DIRECTORY
def tables(target: Path, directory: Path) -> None:
    """[workflow] Write results/tables, results/metrics.json and the stamp TARGET."""
    from stratascope.workflow import tables_target

    tables_target(_plan(directory), directory, target)


@cli.command()
@TARGET
@DIRECTORY
def report(target: Path, directory: Path) -> None:
    """[workflow] Render results/report.html and write the stamp TARGET."""
    from stratascope.workflow import report_target

    report_target(_plan(directory), directory, target)


def _plan(directory: Path) -> Plan:
    from stratascope.store.identity import identify
    from stratascope.study.plan import make_plan

    return make_plan(directory, identify)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _print(rows: list[dict[str, Any]], form: str) -> None:
    from stratascope.rows import render

    click.echo(render(rows, form), nl=False)
