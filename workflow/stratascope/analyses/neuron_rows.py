"""Neurons as rows for a terminal: numbers of many, or the examples of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stratascope.analyses.neuron_files import shown_neuron
from stratascope.analyses.neuron_table import most_selective, neuron_table
from stratascope.analyses.neurons import Found
from stratascope.analyses.probes import place_of
from stratascope.errors import StratascopeError

# What a row leaves to the table in a file.
NOT_SHOWN = ("skewness", "q01", "q99", "neighbour_correlation")
OF_LABELS = (
    "property", "class", "auroc", "correlation", "mutual_information", "z", "p", "q", "p_max",
)  # fmt: skip


def neuron_rows(found: Found, most: int) -> list[dict[str, Any]]:
    """The ``most`` most selective neurons of each layer, the best first; with 0 all, by number."""
    table = neuron_table(found)
    lists = [
        name for name in table.column_names if str(table.schema.field(name).type)[:4] == "list"
    ]
    hidden = [*lists, *NOT_SHOWN, *(() if found.properties else OF_LABELS)]
    numbers = list(range(table.num_rows))
    if most:
        layers = dict.fromkeys(table.column("layer").to_pylist())
        numbers = [row for layer in layers for row in most_selective(table, layer, most)]
    rows = table.drop_columns(hidden).take(numbers).to_pylist()
    return [{key: None if v != v else v for key, v in row.items()} for row in rows]


def example_rows(found: Found, layer: int, neuron: int) -> Iterator[dict[str, Any]]:
    """The examples of one neuron, strongest first, then weakest first; the token in « ».

    Raises:
        StratascopeError: a layer that was not read, or a neuron that it has not.
    """
    layers = {place_of(each.name)[0]: each for each in found.layers}
    if layer not in layers:
        there = ", ".join(map(str, layers))
        raise StratascopeError(
            f"neuron {layer}:{neuron}: layer {layer} was not read; read: {there}"
        )
    if neuron >= layers[layer].width:
        raise StratascopeError(
            f"neuron {layer}:{neuron}: {found.folder.site} of layer {layer} has neurons 0 to "
            f"{layers[layer].width - 1}"
        )
    shown = shown_neuron(found, layers[layer], neuron)
    for which in ("top", "bottom"):
        for row in shown[which]:
            tokens, at = row["tokens"], row["at"]
            yield {
                "site": found.folder.site,
                "layer": layer,
                "neuron": neuron,
                "which": which,
                **{key: row[key] for key in ("rank", "value", "line", "position", "token")},
                "text": "".join([*tokens[:at], "«", tokens[at], "»", *tokens[at + 1 :]]),
            }
