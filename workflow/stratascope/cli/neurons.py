"""The command that looks at every neuron of a site over a dataset."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import click

from stratascope.cli.features import Layers
from stratascope.cli.options import DISK_GB, FORMAT, MEMORY_GB, print_rows, say

_MODEL = ("revision", "dtype", "device", "device_map", "trust_remote_code")
_SPEC = ("site", "layers", "top_k", "pool", "permutations")
_KEYS = {"label": "labels", "group": "groups", "data_format": "format", "data_revision": "revision"}


class _Neuron(click.ParamType[Any]):
    """``LAYER:INDEX``."""

    name = "layer:index"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        found = re.fullmatch(r"(\d+):(\d+)", str(value))
        if found is None:
            self.fail(f"{value!r} is not a layer and a neuron such as 3:120", param, ctx)
        return int(found[1]), int(found[2])


@click.command()
@click.argument("model")
@click.argument("data")
@click.option("--text", metavar="FIELD", help="The field with the text.  [default: text]")
@click.option("--messages", metavar="FIELD", help="Or the field with a conversation.")
@click.option("--input-ids", metavar="FIELD", help="Or the field with token ids.")
@click.option("--label", metavar="FIELD", multiple=True, help="Hold neurons against this label.")
@click.option(
    "--group", metavar="FIELD", multiple=True, help="Texts that share it belong together."
)
@click.option("--site", default="mlp_act", show_default=True, help="See `stratascope layers`.")
@click.option(
    "--layers", type=Layers(), default="all", show_default=True, help="As `0,3` or `0-11`."
)
@click.option(
    "--top-k", type=click.IntRange(1, 100), default=10, show_default=True,
    help="Texts kept at which a neuron is strongest, and weakest.",
)  # fmt: skip
@click.option(
    "--neuron", type=_Neuron(), multiple=True,
    help="Show this neuron's examples instead; may be repeated.",
)  # fmt: skip
@click.option(
    "--most", type=click.IntRange(0), default=10, show_default=True,
    help="Show so many neurons of each layer, the most selective ones; 0 shows all.",
)  # fmt: skip
@click.option("--pool", type=click.Choice(["mean", "max"]), default="mean", show_default=True,
              help="A text's value: over its tokens.")  # fmt: skip
@click.option("--permutations", type=click.IntRange(0), default=100, show_default=True)
@click.option("--max-samples", type=int, help="A random part of the texts.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of that, and of shuffles.")
@click.option(
    "--on-bad-row", type=click.Choice(["error", "skip"]), default="error", show_default=True
)
@click.option("--dtype", default="auto", show_default=True, help="What the model runs in.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--device-map", help="Spread the model over GPUs: auto, balanced, sequential.")
@click.option("--revision", help="A hub model's branch, tag or commit.")
@click.option("--split", default="train", show_default=True, help="A hub dataset's split.")
@click.option("--subset", help="A hub dataset's configuration.")
@click.option("--data-revision", help="A hub dataset's commit.")
@click.option("--data-format", help="jsonl, csv, parquet, tokens, hub.  [default: by the suffix]")
@click.option(
    "--generation-prompt", is_flag=True, help="End conversations with the template's own."
)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--trust-remote-code", is_flag=True)
@MEMORY_GB
@DISK_GB
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False),
    help="Keep what was counted here; then the next call need not.",
)  # fmt: skip
@FORMAT
def neurons(
    model: str,
    data: str,
    neuron: tuple[tuple[int, int], ...],
    most: int,
    threads: int,
    memory_gb: float | None,
    disk_gb: float | None,
    out: Path | None,
    form: str,
    **options: Any,
) -> None:
    """What every neuron does over the texts of DATA, token by token.

    A row a neuron: count, mean, standard deviation, quantiles, firing rate; with --label also the
    label that its value over a text depends on most. --neuron shows the texts at which one is
    strongest and weakest, the token in « ».

    \b
    Examples:
      stratascope neurons models/demo/step-1600 feelings.jsonl --label label --layers 2
      stratascope neurons models/demo/step-1600 feelings.jsonl --neuron 2:17 --top-k 5
    """
    from stratascope.analyses.neuron_rows import example_rows, neuron_rows
    from stratascope.analyses.neurons import measure_neurons
    from stratascope.capture.neurons.single import count_neurons
    from stratascope.study.dataset import Neurons
    from stratascope.study.schema import Limits
    from stratascope.study.validate import validate

    given = {key: value for key, value in options.items() if value is not None}
    asked = {"id": model} | {key: given.pop(key) for key in _MODEL if key in given}
    wanted = {key: given.pop(key) for key in _SPEC} | {"seed": given["seed"]}
    spec = validate(Neurons, wanted, "neurons")
    dataset = {"data": data} | {_KEYS.get(key, key): value for key, value in given.items()}
    limits = Limits(memory_gb=memory_gb, disk_gb=disk_gb)
    with tempfile.TemporaryDirectory() as aside:
        folder = count_neurons(
            asked,
            dataset,
            spec,
            out or Path(aside) / "neurons",
            say,
            threads=threads,
            limits=limits,
        )
        found = measure_neurons(folder, spec, dataset["labels"], dataset["groups"])
        if neuron:
            rows = [row for layer, number in neuron for row in example_rows(found, layer, number)]
        else:
            rows = neuron_rows(found, most)
    print_rows(rows, form)
