"""The command that says what a study, or texts on a model, will take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stratascope.cli.options import DIRECTORY, FORMAT, layer_numbers, plan_of, print_rows
from stratascope.errors import StratascopeError

if TYPE_CHECKING:
    from stratascope.capture.forecast import Forecast
    from stratascope.study.estimate.work import Device

DTYPES = click.Choice(["float16", "bfloat16", "float32"])


@click.command()
@click.argument("model", required=False)
@click.option("--texts", type=click.IntRange(1), default=1000, show_default=True)
@click.option(
    "--tokens", type=click.IntRange(1), default=256, show_default=True, help="Tokens of a text."
)
@click.option("--sites", default="hidden_out", show_default=True, help="As `hidden_out,attn_out`.")
@click.option("--layers", default="all", show_default=True, help="As `0,3` or `0-11`.")
@click.option("--position", default="last", show_default=True, help="As `stratascope extract`.")
@click.option("--dtype", type=DTYPES, default="bfloat16", show_default=True, help="Of the model.")
@click.option("--store-dtype", type=DTYPES, help="On disk.  [default: the model's]")
@click.option("--device-map", type=click.Choice(["auto", "balanced", "sequential"]))
@click.option("--revision", help="A hub model's branch, tag or commit.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda", "mps"]),
    help="Where models run that do not say.  [default: cpu]",
)
@click.option("--memory-gb", type=click.FloatRange(0, min_open=True), help="Refuse more memory.")
@click.option("--disk-gb", type=click.FloatRange(0, min_open=True), help="Refuse more disk.")
@DIRECTORY
@FORMAT
def estimate(
    model: str | None,
    device: Device | None,
    memory_gb: float | None,
    disk_gb: float | None,
    directory: Path,
    form: str,
    **asked: Any,
) -> None:
    """Memory, disk and operations of each job of the study, before anything is loaded.

    With MODEL (a folder, a config.json or a hub id) instead: of the features of --texts texts of
    --tokens tokens each. `memory` is that of the device the model runs on, at the peak. With
    --memory-gb or --disk-gb, or `limits` in config.yaml, what does not fit is an error that names the
    cheapest ways to make it fit.

    \b
    Examples:
      stratascope estimate
      stratascope estimate models/demo/step-0 --texts 100000 --tokens 512 --position all
    """
    from stratascope.capture.forecast import refusals, study_forecasts
    from stratascope.study.estimate.room import shown
    from stratascope.study.schema import Limits

    limits = Limits(memory_gb=memory_gb, disk_gb=disk_gb)
    if model is None:
        plan = plan_of(directory)
        said = plan.study.limits
        limits = Limits(
            memory_gb=memory_gb or said.memory_gb,
            disk_gb=disk_gb or said.disk_gb,
        )
        found = study_forecasts(plan, directory, device)
    else:
        found = [_of_texts(model, directory, device, **asked)]
    print_rows([item.row(shown if form == "table" else int) for item in found], form)
    refused = refusals(found, limits)
    if refused:
        raise StratascopeError("; ".join(refused))


def _of_texts(
    model: str,
    directory: Path,
    device: Device | None,
    texts: int,
    tokens: int,
    sites: str,
    layers: str,
    position: str,
    store_dtype: str | None,
    **loading: Any,
) -> Forecast:
    from stratascope.capture.forecast import text_forecast
    from stratascope.study.dataset import Dataset
    from stratascope.study.estimate.planned import BYTES_PER_TOKEN, Texts
    from stratascope.study.schema import Model
    from stratascope.study.validate import validate

    asked = {
        "data": "texts",
        "sites": sites.split(","),
        "layers": "all" if layers == "all" else layer_numbers(layers),
        "position": position,
        "store_dtype": store_dtype,
    }
    if position.startswith("span"):
        asked["span"] = "span"
    read = Texts(texts, texts * tokens, tokens, texts * tokens * BYTES_PER_TOKEN)
    spec = validate(Model, {"id": model, **loading}, "estimate")
    return text_forecast(spec, directory, validate(Dataset, asked, "estimate"), read, device)
