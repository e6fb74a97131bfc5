"""The command that turns labelled texts into features."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from stratascope.cli.options import DISK_GB, FORMAT, MEMORY_GB, print_rows, say


class Layers(click.ParamType[Any]):
    """``all``, ``0,3,5``, ``0-11`` or a mix such as ``0-3,8``."""

    name = "layers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | tuple[int, ...]:
        """The layers, as a dataset names them."""
        if not isinstance(value, str):
            return tuple(value)
        if value == "all":
            return value
        numbers: list[int] = []
        for item in value.split(","):
            found = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", item)
            if found is None:
                self.fail(f"{value!r} is neither `all`, nor numbers like 0,3,5 or 0-11", param, ctx)
            numbers += range(int(found[1]), int(found[2] or found[1]) + 1)
        return tuple(numbers)


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


# How options are called that are not called like the key of a dataset.
_KEYS = {"label": "labels", "group": "groups", "module": "modules"}
_MODEL = ("revision", "dtype", "device", "device_map", "trust_remote_code")


@click.command()
@click.argument("model")
@click.argument("data")
@click.option("--text", metavar="FIELD", help="The field with the text.  [default: text]")
@click.option("--messages", metavar="FIELD", help="Or the field with a conversation.")
@click.option("--input-ids", metavar="FIELD", help="Or the field with token ids.")
@click.option("--label", metavar="FIELD", multiple=True, help="Carry this along; may be repeated.")
@click.option("--group", metavar="FIELD", multiple=True, help="And this, as a group; likewise.")
@click.option(
    "--sites", type=_Names(), help="As `hidden_out,attn_out`; see `stratascope layers`."
    "  [default: hidden_out, or none beside --module]",
)  # fmt: skip
@click.option("--module", metavar="NAME", multiple=True, help="Read a module by name; likewise.")
@click.option(
    "--layers", type=Layers(), default="all", show_default=True, help="As `0,3` or `0-11`."
)
@click.option(
    "--position", type=_Position(), default="last", show_default=True,
    help="Which tokens: last, mean, all, a number (-1 is the last), span, span_mean.",
)  # fmt: skip
@click.option("--span", metavar="FIELD", help="The field that marks the span.")
@click.option("--max-samples", type=int, help="A random part of the texts.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which random part.")
@click.option(
    "--on-bad-row", type=click.Choice(["error", "skip"]), default="error", show_default=True
)
@click.option("--store-dtype", help="The precision on disk.  [default: the model's]")
@click.option(
    "--dtype", default="auto", show_default=True,
    help="What the model runs in: float16, bfloat16, float32; auto is what it was saved in.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--device-map", help="Spread the model over GPUs: auto, balanced, sequential.")
@click.option("--revision", help="A hub model's branch, tag or commit.")
@click.option("--split", default="train", show_default=True, help="A hub dataset's split.")
@click.option("--subset", help="A hub dataset's configuration.")
@click.option("--data-revision", help="A hub dataset's commit.")
@click.option("--data-format", help="jsonl, csv, parquet, tokens, hub.  [default: by the suffix]")
@click.option("--sequence", type=int, help="Tokens of a text, in a flat file of token ids.")
@click.option("--token-dtype", help="How a .bin file of token ids stores them.  [default: uint16]")
@click.option(
    "--generation-prompt", is_flag=True, help="End conversations with the template's own."
)
@click.option("--shard-texts", type=int, help="Texts of the input in a file.  [default: 1024]")
@click.option("--part", type=_Part(), default="1/1", help="The I-th of K parts of the shards.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--compile", is_flag=True, help="Run the layers through torch.compile.")
@click.option("--trust-remote-code", is_flag=True)
@MEMORY_GB
@DISK_GB
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@FORMAT
def extract(
    model: str,
    data: str,
    part: tuple[int, int],
    threads: int,
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
    from stratascope.study.schema import Limits

    options["revision"], data_revision = options.pop("revision"), options.pop("data_revision")
    if options["sites"] is None and options["module"]:
        options["sites"] = ()
    given = {key: value for key, value in options.items() if value is not None}
    spec = {"id": model} | {key: given.pop(key) for key in _MODEL if key in given}
    dataset = {"data": data} | {_KEYS.get(key, key): value for key, value in given.items()}
    if (form_of_data := dataset.pop("data_format", None)) is not None:
        dataset["format"] = form_of_data
    if data_revision is not None:
        dataset["revision"] = data_revision
    limits = Limits(memory_gb=memory_gb, disk_gb=disk_gb)
    row = extract_dataset(
        spec, dataset, out, say, threads=threads, part=part, compile=compile, limits=limits
    )
    print_rows([row], form)
