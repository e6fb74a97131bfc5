"""Two sequences side by side."""

from __future__ import annotations

from dataclasses import replace

import click

from stratascope.cli.options import FORMAT, print_rows, say
from stratascope.cli.source import LAYERS, Source, numbers, with_source


@click.command()
@with_source
@click.argument("other")
@click.option(
    "--sites",
    default="hidden_in,hidden_out,attn_out,mlp_down_out",
    show_default=True,
    help="Those that both have are compared.",
)
@LAYERS
@FORMAT
def compare(source: Source, other: str, sites: str, layers: str, form: str) -> None:
    """Compare two SOURCES: runs, NPZ files, or with --prompt two models, layer by layer.

    Cosine, MAE and overlap (of the largest hundredth of dimensions) of the `initial` states (the last
    token of the prompt), of the `final` ones (the last token read), and, of `tokens` that both begin
    with, the mean over them. Layers are those that both have.

    \b
    Examples:
      stratascope compare models/demo/step-0 models/demo/step-1600 --prompt "I am so happy"
      stratascope compare results/runs/A results/runs/B --sites hidden_out --format csv
    """
    from stratascope.analyses.pairs import compare_traces

    wanted, chosen = [site.strip() for site in sites.split(",")], numbers(layers, "layers")
    a = source.trace(wanted, chosen)
    b = replace(source, name=other).trace(wanted, chosen)
    rows, left = compare_traces(a, b, wanted, chosen)
    for reason in left:
        say(reason)
    print_rows(rows, form)
