"""The command that looks at every neuron of a site over a dataset."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import click

from stratascope.cli.dataset import DATASET, asked_of
from stratascope.cli.options import DISK_GB, FORMAT, MEMORY_GB, print_rows, say


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


@click.command(params=[*DATASET])
@click.option("--site", default="mlp_act", show_default=True, help="See `stratascope layers`.")
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
@MEMORY_GB
@DISK_GB
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False),
    help="Keep what was counted here; then the next call need not.",
)  # fmt: skip
@FORMAT
def neurons(
    neuron: tuple[tuple[int, int], ...],
    most: int,
    site: str,
    top_k: int,
    pool: str,
    permutations: int,
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
    from stratascope.study.validate import validate

    asked = asked_of(options, memory_gb, disk_gb)
    wanted = {"site": site, "top_k": top_k, "pool": pool, "permutations": permutations}
    wanted |= {"layers": asked.dataset.pop("layers"), "seed": asked.dataset["seed"]}
    spec = validate(Neurons, wanted, "neurons")
    with tempfile.TemporaryDirectory() as aside:
        folder = count_neurons(
            asked.model,
            asked.dataset,
            spec,
            out or Path(aside) / "neurons",
            say,
            threads=asked.threads,
            limits=asked.limits,
        )
        found = measure_neurons(folder, spec, asked.dataset["labels"], asked.dataset["groups"])
        if neuron:
            rows = [row for layer, number in neuron for row in example_rows(found, layer, number)]
        else:
            rows = neuron_rows(found, most)
    print_rows(rows, form)
