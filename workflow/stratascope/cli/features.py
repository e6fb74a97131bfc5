"""The command that turns labelled texts into features."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from stratascope.cli.dataset import DATASET, asked_of
from stratascope.cli.options import DISK_GB, FORMAT, MEMORY_GB, print_rows, say


class _Position(click.ParamType[Any]):
    """``last``, ``mean``, ``all``, ``span``, ``span_mean``, or a token's number."""

    name = "position"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | int:
        if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value):
            return int(value)
        return str(value)


class _Part(click.ParamType[Any]):
    """``I/K``: the I-th of K parts."""

    name = "i/k"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        found = re.fullmatch(r"(\d+)/(\d+)", str(value))
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            self.fail(f"{value!r} is not a part such as 1/4 or 4/4", param, ctx)
        return int(found[1]), int(found[2])


class _Names(click.ParamType[Any]):
    """Names with commas between them."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if not isinstance(value, str):
            return tuple(value)
        return tuple(name for item in value.split(",") if (name := item.strip()))


@click.command(params=[*DATASET])
@click.option(
    "--sites", type=_Names(), help="As `hidden_out,attn_out`; see `stratascope layers`."
    "  [default: hidden_out, or none beside --module]",
)  # fmt: skip
@click.option("--module", metavar="NAME", multiple=True, help="Read a module by name; likewise.")
@click.option(
    "--position", type=_Position(), default="last", show_default=True,
    help="Which tokens: last, mean, all, a number (-1 is the last), span, span_mean.",
)  # fmt: skip
@click.option("--span", metavar="FIELD", help="The field that marks the span.")
@click.option("--store-dtype", help="The precision on disk.  [default: the model's]")
@click.option("--part", type=_Part(), default="1/1", help="The I-th of K parts of the shards.")
@click.option("--compile", is_flag=True, help="Run the layers through torch.compile.")
@MEMORY_GB
@DISK_GB
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@FORMAT
def extract(
    part: tuple[int, int],
    sites: tuple[str, ...] | None,
    module: tuple[str, ...],
    compile: bool,  # noqa: A002 (the option's name)
    memory_gb: float | None,
    disk_gb: float | None,
    out: Path,
    form: str,
    **options: Any,
) -> None:
    """The activations of labelled texts: DATA through MODEL, into files that memory-map.

    MODEL is a folder or a hub id. DATA is a JSONL, CSV or Parquet file, files of token ids, or the
    name of a hub dataset. --out then holds index.parquet, a row a text, and
    features-NNNNN.safetensors. A killed extraction goes on where it was when it is called again;
    with --part several machines share one.

    \b
    Examples:
      stratascope extract models/demo/step-1600 feelings.jsonl --label label --out features/feelings
      stratascope extract models/demo/step-1600 feelings.jsonl --position all --layers 0-2 --out f
    """
    from stratascope.capture.features.single import extract_dataset

    asked = asked_of(options, memory_gb, disk_gb)
    if sites is None and module:
        sites = ()
    own = {"sites": sites, "modules": module, **options}
    row = extract_dataset(
        asked.model,
        asked.dataset | {key: value for key, value in own.items() if value is not None},
        out,
        say,
        threads=asked.threads,
        part=part,
        compile=compile,
        limits=asked.limits,
    )
    print_rows([row], form)
