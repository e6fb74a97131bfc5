"""The commands that people type."""

from __future__ import annotations

from pathlib import Path

import click

from stratascope.cli.options import (
    DIRECTORY,
    DISK_GB,
    FORMAT,
    MEMORY_GB,
    plan_of,
    print_rows,
    say,
)
from stratascope.cli.source import Source, with_source


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--model", "model_id", help="Run on this model instead of the scenario's own.")
@click.option("--revision", help="A hub model's branch, tag or commit.")
@click.option("--dtype", type=click.Choice(["float16", "bfloat16", "float32"]), help="And in this.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@MEMORY_GB
@DISK_GB
@DIRECTORY
@FORMAT
def run(
    path: Path,
    model_id: str | None,
    revision: str | None,
    dtype: str | None,
    threads: int,
    memory_gb: float | None,
    disk_gb: float | None,
    directory: Path,
    form: str,
) -> None:
    """Capture a scenario file, or every scenario in a folder, without a study.

    Runs lie below the scenario's `output.dir` if that is set, else in results/runs; answered
    questions in results/questions. What was captured before is not captured again. Model folders
    and `output.dir` are relative to --directory.

    \b
    Examples:
      stratascope run scenarios/mood_swings.yaml --model models/demo/step-0
      stratascope run my_scenarios/ --format json
    """
    from stratascope.capture.single import run_files
    from stratascope.study.schema import Limits

    changes = {"id": model_id, "revision": revision, "dtype": dtype}
    limits = Limits(memory_gb=memory_gb, disk_gb=disk_gb)
    rows = run_files(path, directory, changes, threads, say, limits)
    print_rows(rows, form)


@click.command()
@DIRECTORY
@FORMAT
def plan(directory: Path, form: str) -> None:
    """List every run and question set of the study: its digest, and whether it is captured."""
    from stratascope.store.layout import Layout
    from stratascope.store.questions import is_question_set
    from stratascope.store.runs import is_run

    layout, planned = Layout.of_study(), plan_of(directory)
    rows = [
        {
            "run": item.label,
            "scenario": item.scenario,
            "checkpoint": item.checkpoint.name,
            "digest": item.digest,
            "messages": len(item.messages),
            "questions": None,
            "done": is_run(
                directory / layout.runs / item.folder,
                gradients=item.capture.gradients is not None,
            ),
        }
        for item in planned.runs
    ]
    rows += [
        {
            "run": item.label,
            "scenario": item.scenario.name,
            "checkpoint": item.checkpoint.name,
            "digest": item.digest,
            "messages": None,
            "questions": len(item.scenario.questions),
            "done": is_question_set(directory / layout.questions / item.folder),
        }
        for item in planned.questions
    ]
    print_rows(rows, form)


@click.command()
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


@click.command()
@with_source
@FORMAT
def inspect(source: Source, form: str) -> None:
    """Summarise SOURCE: a captured run (its folder or run.json), NPZ files, or a model with --prompt.

    \b
    Examples:
      stratascope inspect results/runs/RUN
      stratascope inspect models/demo/step-1600 --prompt "I am so happy" --new-tokens 5
    """
    from stratascope.store.inspect import describe, describe_trace, pass_rows, step_rows
    from stratascope.store.runs import RunFolder, is_run

    path = Path(source.name)
    folder = path.parent if path.name == "run.json" else path
    if source.prompt is None and is_run(folder):
        run = RunFolder.open(folder)
        text, rows = describe(run), step_rows(run)
    else:
        trace = source.trace(["logits"])
        text, rows = describe_trace(trace), pass_rows(trace)
    if form == "table":
        click.echo(text)
    print_rows(rows, form)


@click.command()
@with_source
@click.option("--trust-remote-code", is_flag=True)
@DIRECTORY
@FORMAT
def layers(source: Source, trust_remote_code: bool, directory: Path, form: str) -> None:
    """Where a model keeps what, and what was recorded of a sequence.

    SOURCE is a model: its module tree, and where each site is read; loads no weights. Or it is a
    captured run, NPZ files, or a model with --prompt: the layers and sites recorded, with shapes.

    \b
    Examples:
      stratascope layers models/demo/step-1600
      stratascope layers results/runs/RUN --format json
    """
    if source.prompt is not None or source.is_stored():
        from stratascope.store.inspect import tensor_rows

        print_rows(tensor_rows(source.trace(None)), form)
        return
    from stratascope.capture.layers import outline
    from stratascope.study.schema import Model

    spec = Model(id=source.name, revision=source.revision, trust_remote_code=trust_remote_code)
    tree, sites = outline(spec, directory)
    if form == "table":
        click.echo(tree)
    print_rows(sites, form)


@click.command()
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


@click.command()
@click.argument("scenarios", nargs=-1, required=True, metavar="SCENARIO...")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="[default: results/pages/SCENARIO.html, of the first]",
)
@DIRECTORY
def page(scenarios: tuple[str, ...], out: Path | None, directory: Path) -> None:
    """Write a report that shows SCENARIOs one by one, each on every checkpoint, in full.

    The report of a study of more than 300 runs shows some of them; this shows those that you name.
    Sums, statistics and curves are of the whole study, as in the report.

    \b
    Example:
      stratascope page mood_swings --directory studies/mine
    """
    from stratascope.store.layout import RESULTS
    from stratascope.workflow.publishing import write_page

    where = out or directory / RESULTS / "pages" / f"{scenarios[0]}.html"
    write_page(plan_of(directory), directory, scenarios, where)
    click.echo(str(where))


@click.command("train-demo")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("models/demo"), show_default=True
)
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--steps", type=click.IntRange(1), help="Stop earlier than the recipe does.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
def train_demo(out: Path, seed: int, steps: int | None, threads: int) -> None:
    """Train the embedded chat model again, from its own grammar (minutes on two cores)."""
    from stratascope.demo.train import train_demo as recipe

    print_rows(recipe(out, seed=seed, steps=steps, threads=threads, progress=say), "table")


@click.command("demo-data")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("scenarios/datasets"), show_default=True
)
@click.option("--seed", type=int, default=7, show_default=True)
def demo_data(out: Path, seed: int) -> None:
    """Write the embedded study's labelled datasets again, from the demo's own grammar."""
    from stratascope.demo.datasets import write_datasets

    for path in write_datasets(out, seed):
        click.echo(str(path))


@click.command()
@click.argument("what", type=click.Choice(["scenario", "questions", "config"]))
def schema(what: str) -> None:
    """Print the JSON Schema of a scenario file, of one with questions, or of config.yaml."""
    import json

    from stratascope.study.questions import QuestionScenario
    from stratascope.study.schema import Scenario, Study
    from stratascope.study.strict import Strict

    models: dict[str, type[Strict]] = {
        "scenario": Scenario,
        "questions": QuestionScenario,
        "config": Study,
    }
    click.echo(json.dumps(models[what].model_json_schema(), indent=2))
