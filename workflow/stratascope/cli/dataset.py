"""The model and the dataset of the commands that read labelled texts, and their common options."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from stratascope.study.schema import Limits


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


@dataclass(frozen=True)
class Asked:
    """What a command was told: the keys of a study's ``Model`` and ``Dataset``, and how to run them."""

    model: dict[str, Any]
    dataset: dict[str, Any]
    threads: int
    limits: Limits


# Options that say something of the model; the others are keys of a dataset, some under another name.
_MODEL = ("revision", "dtype", "device", "device_map", "trust_remote_code")
_KEYS = {"label": "labels", "group": "groups", "data_format": "format", "data_revision": "revision"}

# For `@click.command(params=[*DATASET])`: MODEL, DATA and what goes with them.
DATASET: tuple[click.Parameter, ...] = (
    click.Argument(["model"]),
    click.Argument(["data"]),
    click.Option(["--text"], metavar="FIELD", help="The field with the text.  [default: text]"),
    click.Option(["--messages"], metavar="FIELD", help="Or the field with a conversation."),
    click.Option(["--input-ids"], metavar="FIELD", help="Or the field with token ids."),
    click.Option(
        ["--label"], metavar="FIELD", multiple=True, help="A field that says what a text is; may be repeated."
    ),
    click.Option(
        ["--group"], metavar="FIELD", multiple=True, help="Texts that share it belong together."
    ),
    click.Option(
        ["--layers"], type=Layers(), default="all", show_default=True, help="As `0,3` or `0-11`."
    ),
    click.Option(["--max-samples"], type=int, help="A random part of the texts."),
    click.Option(["--seed"], type=int, default=0, show_default=True, help="Of what is random."),
    click.Option(
        ["--on-bad-row"], type=click.Choice(["error", "skip"]), default="error", show_default=True
    ),
    click.Option(
        ["--dtype"], default="auto", show_default=True,
        help="What the model runs in: float16, bfloat16, float32; auto is what it was saved in.",
    ),
    click.Option(["--device"], default="auto", show_default=True, help="auto, cpu, cuda or mps."),
    click.Option(["--device-map"], help="Spread the model over GPUs: auto, balanced, sequential."),
    click.Option(["--revision"], help="A hub model's branch, tag or commit."),
    click.Option(["--trust-remote-code"], is_flag=True),
    click.Option(["--split"], default="train", show_default=True, help="A hub dataset's split."),
    click.Option(["--subset"], help="A hub dataset's configuration."),
    click.Option(["--data-revision"], help="A hub dataset's commit."),
    click.Option(
        ["--data-format"], help="jsonl, csv, parquet, tokens, hub.  [default: by the suffix]"
    ),
    click.Option(["--sequence"], type=int, help="Tokens of a text, in a flat file of token ids."),
    click.Option(
        ["--token-dtype"], help="How a .bin file of token ids stores them.  [default: uint16]"
    ),
    click.Option(
        ["--generation-prompt"], is_flag=True, help="End conversations with the template's own."
    ),
    click.Option(["--shard-texts"], type=int, help="Texts of the input in a file.  [default: 1024]"),
    click.Option(["--threads"], type=click.IntRange(1), default=2, show_default=True),
)  # fmt: skip


def asked_of(options: dict[str, Any], memory_gb: float | None, disk_gb: float | None) -> Asked:
    """What `DATASET` holds, taken out of ``options``; what nobody gave is left to the schema."""
    from stratascope.study.schema import Limits

    given = {str(parameter.name): options.pop(str(parameter.name)) for parameter in DATASET}
    given = {key: value for key, value in given.items() if value is not None}
    threads = given.pop("threads")
    model = {"id": given.pop("model")} | {key: given.pop(key) for key in _MODEL if key in given}
    dataset = {_KEYS.get(key, key): value for key, value in given.items()}
    return Asked(model, dataset, threads, Limits(memory_gb=memory_gb, disk_gb=disk_gb))
