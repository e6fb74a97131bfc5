"""Looking into one sequence: statistics, layers, neurons, attention, pictures, two sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stratascope.cli.options import FORMAT, print_rows, say
from stratascope.cli.source import (
    LAYERS,
    POSITION,
    STEPS,
    Source,
    numbers,
    picked_steps,
    rows_of,
    with_source,
)
from stratascope.errors import StratascopeError

STATISTICS = ("mean", "std", "min", "max", "norm", "sparsity", "entropy", "kurtosis")
BAR = 24


@click.command()
@with_source
@click.option("--sites", default="hidden_out", show_default=True, help="As `hidden_out,mlp_act`.")
@LAYERS
@STEPS
@POSITION
@click.option(
    "--threshold",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Sparsity is the share of numbers with a magnitude of at most this.",
)
@click.option(
    "--bar",
    type=click.Choice(STATISTICS),
    default="norm",
    show_default=True,
    help="The statistic that the table draws.",
)
@FORMAT
def analyze(
    source: Source, sites: str, layers: str, steps: str, position: str, threshold: float, bar: str,
    form: str,
) -> None:  # fmt: skip
    """Statistics of each layer of SOURCE: a run, a folder of NPZ files, or a model with --prompt.

    Mean, standard deviation, least, greatest, norm; sparsity; entropy of each token's magnitudes
    (nats, mean over tokens); excess kurtosis. The table draws one of them as bars.

    \b
    Examples:
      stratascope analyze models/demo/step-1600 --prompt "I am so happy" --layers 0,2,-1
      stratascope analyze results/runs/RUN --sites mlp_act --threshold 0.01 --bar sparsity
    """
    from stratascope.measure.tensor_stats import tensor_stats

    wanted, chosen = [site.strip() for site in sites.split(",")], numbers(layers, "layers")
    trace = source.trace(wanted, chosen)
    tokens = rows_of(trace, numbers(steps, "steps"), numbers(position, "position"))
    rows: list[dict[str, Any]] = []
    for site in wanted:
        for layer in trace.chosen_layers(chosen, site):
            tensor = trace.at(layer, site)
            part = tensor[:, tokens] if tensor.ndim == 3 else tensor[tokens]
            found: dict[str, Any] = {**tensor_stats(part, threshold)}
            rows.append(
                {"site": site, "layer": layer}
                | {name: _number(found[name]) for name in STATISTICS}
                | {"threshold": threshold, "tokens": len(tokens), "non_finite": found["non_finite"]}
            )
    if form == "table":
        _draw(rows, bar)
    print_rows(rows, form)


def _draw(rows: list[dict[str, Any]], statistic: str) -> None:
    """Give each row a bar: as long as its magnitude, against the largest of its site."""
    for row in rows:
        sizes = [abs(other[statistic] or 0.0) for other in rows if other["site"] == row["site"]]
        most = 1.0 if statistic == "sparsity" else max(sizes)
        share = abs(row[statistic] or 0.0) / most if most else 0.0
        row[f"|{statistic}|"] = "█" * round(BAR * share)


@click.command("cross-layer")
@with_source
@click.option("--site", default="hidden_out", show_default=True)
@LAYERS
@STEPS
@POSITION
@FORMAT
def cross_layer(
    source: Source, site: str, layers: str, steps: str, position: str, form: str
) -> None:
    """How alike the layers of SOURCE are: cosine and CKA of all pairs, over its tokens.

    `cosine` is the mean over tokens, `centred` the same with each layer's mean over the tokens taken
    away (from 2 tokens), `cka` debiased linear CKA (from 4). `--position -1` is Activation Lab's.

    \b
    Examples:
      stratascope cross-layer models/demo/step-1600 --prompt "I am so happy and full of joy"
      stratascope cross-layer results/runs/RUN --position -1 --format csv
    """
    from stratascope.analyses.cross_layer import layer_rows

    chosen = numbers(layers, "layers")
    trace = source.trace([site], chosen)
    tokens = rows_of(trace, numbers(steps, "steps"), numbers(position, "position"))
    print_rows(layer_rows(trace, site, chosen, tokens), form)


@click.command()
@with_source
@click.option(
    "--neuron",
    "neurons",
    multiple=True,
    required=True,
    metavar="LAYER:INDEX",
    help="Repeat for more.",
)
@click.option("--site", default="mlp_act", show_default=True)
@STEPS
@POSITION
@FORMAT
def trajectory(
    source: Source, neurons: tuple[str, ...], site: str, steps: str, position: str, form: str
) -> None:
    """What neurons of SOURCE do, token by token and step by step.

    \b
    Examples:
      stratascope trajectory models/demo/step-1600 --prompt "I am so happy" --new-tokens 5 --neuron 2:17
      stratascope trajectory results/runs/RUN --neuron 0:3 --neuron 1:3 --site hidden_out --format csv
    """
    from stratascope.analyses.trajectories import follow
    from stratascope.study.microscope import neuron_of

    wanted = [neuron_of(name) for name in neurons]
    trace = source.trace([site], sorted({layer for layer, _ in wanted}))
    tokens = rows_of(trace, numbers(steps, "steps"), numbers(position, "position"))
    print_rows(follow(trace, site, wanted, tokens), form)


@click.command()
@with_source
@LAYERS
@click.option(
    "--induction", is_flag=True, help="Of a model: detect heads on repeated random tokens."
)
@click.option(
    "--sequences", type=click.IntRange(2), default=32, show_default=True, help="With --induction."
)
@click.option(
    "--length",
    type=click.IntRange(2),
    default=25,
    show_default=True,
    help="With --induction: random tokens, which come twice.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@FORMAT
def attention(
    source: Source, layers: str, induction: bool, sequences: int, length: int, seed: int, form: str
) -> None:
    """Where each attention head looks, in SOURCE or on repeated random tokens.

    Per head: entropy (nats), mean distance in tokens, and the weight of the first, the same and the
    previous token, means over tokens with more than one key; `_uniform` is what uniform attention
    scores. With --induction, SOURCE is a model: its heads' induction and previous-token scores on
    random tokens, each against its null.

    \b
    Examples:
      stratascope attention models/demo/step-1600 --prompt "I am so happy and full of joy"
      stratascope attention models/demo/step-1600 --induction --sequences 16
    """
    chosen = numbers(layers, "layers")
    if induction:
        if source.prompt is not None:
            raise StratascopeError("--induction: reads random tokens; leave --prompt out")
        print_rows(_detected(source, chosen, sequences, length, seed), form)
        return
    from stratascope.analyses.attention import head_rows

    trace = source.trace(["attn_weights"], chosen)
    print_rows(head_rows(trace, chosen), form)


def _detected(
    source: Source, layers: Any, sequences: int, length: int, seed: int
) -> list[dict[str, Any]]:
    from stratascope.api.heads import detect_heads

    found = detect_heads(
        source.model(), layers=layers, sequences=sequences, length=length, seed=seed
    )
    return found.rows()


@click.command()
@with_source
@click.option(
    "--source", "what", default="hidden_out", show_default=True,
    help="What to draw: hidden_out, mlp_act, q, k, v, attn_weights, ... (`inspect` lists them).",
)  # fmt: skip
@LAYERS
@STEPS
@click.option("--per-head", is_flag=True, help="Of attn_weights: a picture a head, not their mean.")
@click.option(
    "--normalize",
    type=click.Choice(["none", "per_image", "signed", "global"]),
    default="per_image",
    show_default=True,
)
@click.option(
    "--reduce",
    type=click.Choice(["signed", "abs"]),
    default="signed",
    show_default=True,
    help="Keep signs, or draw magnitudes.",
)
@click.option("--cmap", default="viridis", show_default=True, help="A colour map of Matplotlib.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), show_default=True,
    help="The pictures lie below its folder `heatmaps`.",
)  # fmt: skip
@FORMAT
def heatmap(
    source: Source, what: str, layers: str, steps: str, per_head: bool, normalize: Any, reduce: Any,
    cmap: str, out: Path, form: str,
) -> None:  # fmt: skip
    """Draw tensors of SOURCE as PNG files: OUT/heatmaps/WHAT/layer_NN_step_MMM.png.

    A row of pixels a token of the step, a column a dimension, or a key of attention weights.

    \b
    Examples:
      stratascope heatmap results/runs/RUN --source hidden_out --layers 0,1,3 --steps 0,1,5
      stratascope heatmap models/demo/step-1600 --prompt "I am so happy" --source attn_weights --per-head
    """
    from stratascope.analyses.heatmaps import Drawing, draw_heatmaps

    chosen = numbers(layers, "layers")
    trace = source.trace([what], chosen)
    passes = picked_steps(trace, numbers(steps, "steps"))
    drawing = Drawing(what, chosen, passes, per_head, normalize, reduce, cmap)
    rows = draw_heatmaps(trace, out / "heatmaps", drawing)
    print_rows(rows, form)
    say(f"{len(rows)} pictures in {out / 'heatmaps' / what}")


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if value == value else None
