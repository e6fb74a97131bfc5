"""How alike two sets of features are, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stratascope.cli.options import FORMAT, layer_numbers, print_rows, say
from stratascope.errors import StratascopeError

if TYPE_CHECKING:
    from stratascope.measure.similarity import LayerSimilarity
    from stratascope.store.layer_arrays import LayerArray


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path), required=False)
@click.option(
    "--measure",
    "measures",
    multiple=True,
    default=["linear_cka_debiased"],
    show_default=True,
    help="Repeat for more: linear_cka_debiased, linear_cka, rbf_cka_debiased, rbf_cka, svcca, pwcca, "
    "procrustes, angular, rsa, rsa_pearson, mutual_knn.",
)
@click.option("--sites", help="Only these, as `hidden_out,attn_out`.  [default: all in common]")
@click.option("--layers", help="Only these, as `0-5,11`.  [default: all]")
@click.option("--same-layer", is_flag=True, help="Each layer against its own number only.")
@click.option(
    "--permutations",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Draws of the null, for p-values.",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Random halves of the texts, for 95 % intervals.",
)
@click.option("--group", help="A field: the interval draws its groups instead of single texts.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--memory-gb", type=click.FloatRange(0, min_open=True), default=4.0, show_default=True,
    help="Memory to allow beside the features.",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="[default: all cores]")
@FORMAT
def similarity(
    a: Path,
    b: Path | None,
    measures: tuple[str, ...],
    sites: str | None,
    layers: str | None,
    same_layer: bool,
    permutations: int,
    bootstrap: int,
    group: str | None,
    seed: int,
    memory_gb: float,
    threads: int | None,
    form: str,
) -> None:
    """How alike the layers of A and B represent the same texts; without B, those of A.

    A and B are folders that `stratascope extract` left, or NPZ, NPY or safetensors files of others
    with one array (texts, features) a layer, or folders of such files.

    \b
    Examples:
      stratascope similarity features/step-0 features/step-1600 --same-layer
      stratascope similarity mine.npz theirs.npz --measure svcca --permutations 200 --format json
    """
    from stratascope.measure.similarity import compare_layers
    from stratascope.store.feature_arrays import check_same_texts, matched_sites, open_layers

    first = open_layers(a)
    second = first if b is None else open_layers(b)
    check_same_texts(first, second)
    numbers = None if layers is None else layer_numbers(layers)
    matched = matched_sites(first, second, [] if sites is None else sites.split(","))
    _tell_left_out(matched, first.sites, second.sites, bool(sites))
    rows: list[dict[str, Any]] = []
    for label, site_a, site_b in matched:
        left, right = first.at(site_a, numbers), second.at(site_b, numbers)
        wanted = [[not same_layer or x.layer == y.layer for y in right] for x in left]
        if not any(map(any, wanted)):
            say(f"{label}: no layers to compare")
            continue
        found = compare_layers(
            {array.name: array for array in left},
            None if b is None else {array.name: array for array in right},
            list(dict.fromkeys(measures)),
            wanted=wanted,
            permutations=permutations,
            resamples=bootstrap,
            groups=first.texts() if group is None else first.field(group),
            seed=seed,
            memory=int(memory_gb * 2**30),
            threads=threads,
        )
        for measure, result in found.items():
            for reason in result.undefined:
                say(f"{measure} of {label}: no value: {reason}")
            rows += _rows(label, measure, result, left, right, wanted)
    if not rows:
        raise StratascopeError(f"{a}: nothing to compare: no layer is wanted on both sides")
    print_rows(rows, form)


def _tell_left_out(
    matched: list[tuple[str, str, str]], sites_a: list[str], sites_b: list[str], chosen: bool
) -> None:
    if chosen:
        return
    for what, sites, used in (
        ("A", sites_a, {site for _, site, _ in matched}),
        ("B", sites_b, {site for _, _, site in matched}),
    ):
        if left := [site for site in sites if site not in used]:
            say(f"only in {what}, left out: {', '.join(left)}")


def _rows(
    site: str,
    measure: str,
    result: LayerSimilarity,
    left: list[LayerArray],
    right: list[LayerArray],
    wanted: list[list[bool]],
) -> Iterator[dict[str, Any]]:
    matrices = {
        "value": result.values,
        "lower": result.lower,
        "upper": result.upper,
        "p": result.p,
        "null_mean": result.null_mean,
        "null_bound": result.null_bound,
    }
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            if not wanted[i][j]:
                continue
            numbers = {
                name: None if (value := float(matrix[i, j])) != value else value
                for name, matrix in matrices.items()
                if matrix is not None
            }
            yield {
                "site": site,
                "layer_a": x.layer,
                "layer_b": y.layer,
                "layer": x.layer if x.layer == y.layer else None,
                "measure": measure,
                **numbers,
                "n": result.n,
                **({} if result.lower is None else {"groups": result.groups}),
            }
