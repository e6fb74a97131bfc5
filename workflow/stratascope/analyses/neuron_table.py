"""The table of a dataset's neurons: a row a neuron, with its best label and all its examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow

from stratascope.analyses.neurons import Found, LayerNeurons
from stratascope.analyses.probes import place_of
from stratascope.measure.multiple import benjamini_hochberg
from stratascope.measure.neurons.selectivity import best_of, p_of_largest

# p-values are not given as smaller: so far out the normal distribution says nothing any more.
SMALLEST = 1e-12


def neuron_table(found: Found) -> pyarrow.Table:
    """A row a neuron, layers one after the other: its numbers, its best property, its examples.

    ``q`` is adjusted for all neurons, classes and labels together (Benjamini & Hochberg 1995), ``p_max``
    by the largest of all in each shuffle.
    """
    every = [layer.selective for layer in found.layers]
    tests = [one.p.ravel() for some in every for one in some]
    q = benjamini_hochberg(np.concatenate(tests)) if tests else np.zeros(0)
    largest, at, tables = found.largest, 0, []
    for layer in found.layers:
        size = len(found.contrasts) * layer.width
        own = q[at : at + size].reshape(-1, layer.width) if size else None
        at += size
        place, site = place_of(layer.name)
        tables.append(
            pyarrow.table(
                {
                    "site": [site] * layer.width,
                    "layer": pyarrow.array([place] * layer.width, pyarrow.int32()),
                    "neuron": np.arange(layer.width),
                    **layer.numbers,
                    **_best(found, layer, own, largest),
                    "n": np.full(layer.width, len(found.folder.features)),
                    "neighbour": layer.neighbours[:, 0],
                    "neighbour_correlation": layer.neighbour_correlations[:, 0],
                    **_listed(found, layer),
                }
            )
        )
    return pyarrow.concat_tables(tables)


BEST = ("auroc", "correlation", "mutual_information", "z", "p", "q", "p_max")


def _best(
    found: Found, layer: LayerNeurons, q: np.ndarray | None, largest: np.ndarray
) -> dict[str, Any]:
    """Of each neuron the property that it depends on most: the one with the largest |z|."""
    if q is None:
        names: dict[str, Any] = dict.fromkeys(("property", "class"), [""] * layer.width)
        return names | {name: np.full(layer.width, np.nan) for name in BEST}
    row, z = best_of([one.z for one in layer.selective])
    taken = np.maximum(row, 0)[None]

    def picked(what: np.ndarray) -> np.ndarray:
        return np.where(row < 0, np.nan, np.take_along_axis(what, taken, axis=0)[0])

    information = [
        np.broadcast_to(bits, (len(prop.classes), layer.width))
        for bits, prop in zip(layer.information, found.properties, strict=True)
    ]
    named = found.contrasts
    return {
        "property": [named[i][0] if i >= 0 else "" for i in row],
        "class": [named[i][1] if i >= 0 else "" for i in row],
        "auroc": picked(np.concatenate([one.auroc for one in layer.selective])),
        "correlation": picked(np.concatenate([one.correlation for one in layer.selective])),
        "mutual_information": picked(np.concatenate(information)),
        "z": z,
        "p": np.maximum(picked(np.concatenate([one.p for one in layer.selective])), SMALLEST),
        "q": np.maximum(picked(q), SMALLEST),
        "p_max": p_of_largest(z, largest),
    }


def _listed(found: Found, layer: LayerNeurons) -> dict[str, Any]:
    """What is a list for each neuron: AUROC of every class, neighbours, and all examples."""
    aurocs = [one.auroc for one in layer.selective]
    lists: dict[str, Any] = {
        "aurocs": list(np.concatenate(aurocs).T) if aurocs else [[]] * layer.width,
        "neighbours": list(layer.neighbours),
        "neighbour_correlations": list(layer.neighbour_correlations),
    }
    lines = found.folder.features.index.column("line").to_numpy()
    for which, examples in (("top", layer.top), ("bottom", layer.bottom)):
        there = (examples["texts"] >= 0).sum(axis=0)
        parts = {
            "values": examples["values"],
            "texts": examples["texts"],
            "lines": lines[np.maximum(examples["texts"], 0)],
            "positions": examples["tokens"],
        }
        for name, array in parts.items():
            lists[f"{which}_{name}"] = [array[:n, i] for i, n in enumerate(there)]
    return {
        name: pyarrow.array(
            values, pyarrow.list_(pyarrow.int64() if name.endswith(INTEGERS) else pyarrow.float64())
        )
        for name, values in lists.items()
    }


INTEGERS = ("texts", "lines", "positions", "neighbours")


def most_selective(table: pyarrow.Table, layer: int | None, count: int) -> list[int]:
    """The rows of a layer's ``count`` most selective neurons, or without labels its most peaked ones."""
    wanted = table.column("layer").to_pylist()
    rows = np.array([row for row, place in enumerate(wanted) if place == layer], dtype=np.int64)
    z = np.abs(table.column("z").to_numpy()[rows])
    by = table.column("kurtosis").to_numpy()[rows] if np.isnan(z).all() else z
    return list(rows[np.argsort(-by, kind="stable")[:count]])  # NaN comes last
