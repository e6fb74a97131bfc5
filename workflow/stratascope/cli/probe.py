"""What can be read off features with a linear probe, layer by layer."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stratascope.cli.options import FORMAT, layer_numbers, print_rows, say
from stratascope.errors import StratascopeError

if TYPE_CHECKING:
    from stratascope.measure.probes import Design, ProbeResult
    from stratascope.store.labelled import Labelled
    from stratascope.store.layer_arrays import LayerArray, LayerArrays

# What a table for eyes shows; the other formats hold everything.
SHOWN = (
    "site", "layer", "measure", "estimate", "lower", "upper", "n", "majority",
    "bag_of_tokens", "difference_of_means", "shuffled_95", "p", "control", "selectivity",
)  # fmt: skip


@click.command()
@click.argument("features", type=click.Path(path_type=Path))
@click.option("--label", required=True, help="The field to predict.")
@click.option("--group", help="A field: its rows stay together in folds and in the bootstrap.")
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path),
    help="A CSV, JSONL, parquet or NPZ file with the fields, a row a row of FEATURES.",
)
@click.option("--sites", help="Only these, as `hidden_out,attn_out`.  [default: all]")
@click.option("--layers", help="Only these, as `0-5,11`.  [default: all]")
@click.option(
    "--kind",
    type=click.Choice(["auto", "logistic", "ridge"]),
    default="auto",
    show_default=True,
    help="Classes or quantities; auto: quantities are numbers with more than 10 values, or "
    "fractions.",
)
@click.option("--folds", type=click.IntRange(3), default=5, show_default=True)
@click.option(
    "--bootstrap",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Resamples, for 95 % intervals.",
)
@click.option(
    "--permutations",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Shuffles of the labels, for p-values and for the width of intervals.",
)
@click.option(
    "--control",
    is_flag=False,
    flag_value="first_word",
    help="Also a control task: random labels for each `first_word` (the default), `last_word`, or "
    "value of the field CONTROL.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    help="Leave the weights of probes fitted on everything in SAVE/probes.safetensors.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="[default: all cores]")
@FORMAT
def probe(
    features: Path,
    label: str,
    group: str | None,
    labels_file: Path | None,
    sites: str | None,
    layers: str | None,
    kind: Any,
    folds: int,
    bootstrap: int,
    permutations: int,
    control: str | None,
    save: Path | None,
    seed: int,
    threads: int | None,
    form: str,
) -> None:
    """How well a linear probe reads a label off each layer, and against what that stands.

    FEATURES is a folder that `stratascope extract` left, or an NPZ, NPY or safetensors file of others
    with one array (texts, width) a layer. Fields are those of the dataset, arrays (texts,) in the
    file, or the columns of --labels; rows without a label are left out.

    \b
    Examples:
      stratascope probe features/step-1600 --label emotion --control first_word
      stratascope probe mine.npz --labels labels.csv --label topic --group author --format json
    """
    from stratascope.measure.probes import design, probe_layers
    from stratascope.store.feature_arrays import open_layers
    from stratascope.store.labelled import labelled

    stored = open_layers(features)
    arrays = _chosen(stored, sites, layers)
    rows = labelled(stored, label, labels_file)
    if len(rows.kept) < rows.total:
        say(f"{rows.total - len(rows.kept)} of {rows.total} rows have no {label}; left out")
    plan = design(
        rows.field(label),
        groups=rows.groups(group),
        types=None if control is None else _types(rows, control),
        kind=kind,
        folds=folds,
        permutations=permutations,
        resamples=bootstrap,
        seed=seed,
    )
    loads = {array.name: partial(rows.matrix, array) for array in arrays}
    workers = threads or os.cpu_count() or 1
    found = probe_layers(loads, plan, workers=workers)
    if save is not None:
        _save(save, loads, plan, label, workers)
    printed = _rows(arrays, found, _text_alone(rows, plan))
    if form == "table":
        printed = [{name: row[name] for name in SHOWN} for row in printed]
    print_rows(printed, form)


def _chosen(stored: LayerArrays, sites: str | None, layers: str | None) -> list[LayerArray]:
    numbers = None if layers is None else layer_numbers(layers)
    wanted = stored.sites if sites is None else sites.split(",")
    for site in wanted:
        if site not in stored.sites:
            sites_there = ", ".join(stored.sites)
            raise StratascopeError(f"{stored.path}: no site {site!r}; there are {sites_there}")
    arrays = [array for site in wanted for array in stored.at(site, numbers)]
    if not arrays:
        there = sorted({array.layer for array in stored.arrays if array.layer is not None})
        raise StratascopeError(f"{stored.path}: none of these layers; there are {there}")
    return arrays


def _types(rows: Labelled, control: str) -> list[Any]:
    """What a control task gives random labels to."""
    from stratascope.measure.probes import EDGE_WORDS, edge_words

    if control in rows.fields or control not in EDGE_WORDS:
        return rows.field(control)
    if rows.texts is None or rows.text_of is not None:
        raise StratascopeError(
            f"--control: {control} needs one text for each row; name a field instead, such as one "
            "that holds each row's token"
        )
    return edge_words(rows.texts, control)


def _text_alone(rows: Labelled, plan: Design) -> ProbeResult | None:
    """The same probe of the words: what the text alone gives away."""
    from stratascope.measure.probes import Settings, probe_layers, token_counts

    if rows.texts is None:
        return None
    counts = {"bag of tokens": token_counts(rows.texts)}
    return probe_layers(counts, plan, Settings(standardise=False))["bag of tokens"]


def _rows(
    arrays: list[LayerArray], found: Mapping[str, ProbeResult], text: ProbeResult | None
) -> list[dict[str, Any]]:
    """A row for each layer and measure; p-values are adjusted over the layers of a measure."""
    from stratascope.measure.multiple import benjamini_hochberg, holm, max_statistic
    from stratascope.measure.probes import MEASURES

    probed = [found[array.name] for array in arrays]
    results = [one.measures for one in probed]
    p_values = {name: [result[name].p for result in results] for name in results[0]}
    p_holm = {name: holm(p) for name, p in p_values.items()}
    p_bh = {name: benjamini_hochberg(p) for name, p in p_values.items()}
    p_max = {
        name: max_statistic(
            [result[name].estimate for result in results],
            [one.shuffled[name] for one in probed],
            MEASURES[name].higher_is_better,
        )
        for name in p_values
    }
    rows = []
    for place, (array, result) in enumerate(zip(arrays, results, strict=True)):
        for name, measured in result.items():
            words = None if text is None else text.measures[name]
            numbers = asdict(measured) | {
                "p_holm": float(p_holm[name][place]),
                "p_max": float(p_max[name][place]),
                "p_bh": float(p_bh[name][place]),
                "bag_of_tokens": math.nan if words is None else words.estimate,
                "bag_of_tokens_lower": math.nan if words is None else words.lower,
                "bag_of_tokens_upper": math.nan if words is None else words.upper,
            }
            known = {key: None if value != value else value for key, value in numbers.items()}
            rows.append({"site": array.site, "layer": array.layer, **known})
    return rows


def _save(folder: Path, loads: Mapping[str, Any], plan: Design, label: str, workers: int) -> None:
    from stratascope.measure.probes import weights_of_layers
    from stratascope.store.probes import save_probes

    fitted = weights_of_layers(loads, plan, workers=workers)
    arrays = {name: {"weights": one.weights, "bias": one.bias} for name, one in fitted.items()}
    about = {"label": label, "kind": plan.target.kind, "classes": list(plan.target.classes)}
    save_probes(folder / "probes.safetensors", arrays, about)
