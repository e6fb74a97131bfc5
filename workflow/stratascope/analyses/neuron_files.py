"""What is kept of a dataset's neurons: a table of all, and an index with the most selective in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from stratascope.analyses.neuron_table import most_selective, neuron_table
from stratascope.analyses.neurons import Found, LayerNeurons, measure_neurons
from stratascope.analyses.probes import known, place_of
from stratascope.store.commit import new_file, write_json
from stratascope.store.hashes import recorded
from stratascope.store.neurons import AFTER, BEFORE, NeuronFolder
from stratascope.study.neurons import SelectivityJob

# Of each layer so many neurons stand in the index with all their examples.
SHOWN = 20
# What counts as a discovery: at most this share of those named is expected to be false.
RATE = 0.05


def write_neurons(job: SelectivityJob, place: Path, target: Path) -> None:
    """Measure the neurons of ``job``, which lie below ``place``; write the index ``target``.

    Beside it, with the suffix ``.parquet``, a row for every neuron, with all examples.

    Raises:
        StratascopeError: a label that the texts do not carry, or with a single value.
    """
    folder = NeuronFolder.open(place / job.neurons.folder)
    found = measure_neurons(folder, job.spec, job.labels, job.neurons.dataset.groups)
    table = neuron_table(found)
    beside = target.with_suffix(".parquet")
    with new_file(beside) as partial:
        pyarrow.parquet.write_table(table, partial)
    write_json(
        target,
        {
            "dataset": job.neurons.name,
            "checkpoint": job.neurons.checkpoint.name,
            "digest": job.digest,
            "neurons": job.neurons.folder,
            **described(found, table),
            "shown": [
                shown_neuron(found, layer, number)
                for layer in found.layers
                for number in _numbers(table, layer)
            ],
            "files": recorded([beside], target.parent),
        },
    )


def _numbers(table: pyarrow.Table, layer: LayerNeurons) -> list[int]:
    rows = most_selective(table, place_of(layer.name)[0], SHOWN)
    return [table.column("neuron")[row].as_py() for row in rows]


def described(found: Found, table: pyarrow.Table) -> dict[str, Any]:
    """What all neurons have in common: texts, labels, how many depend on each, the null's size."""
    features = found.folder.features
    tests = table.num_rows * len(found.contrasts)
    largest = found.largest
    return {
        "site": found.folder.site,
        "pool": found.spec.pool,
        "texts": len(features),
        "tokens": int(table.column("count")[0].as_py()),
        "groups": len(np.unique(found.properties[0].groups)) if found.properties else None,
        "widths": [[place_of(layer.name)[0], layer.width] for layer in found.layers],
        "permutations": len(largest),
        "tests": tests,
        "largest_95": known(float(np.quantile(largest, 0.95))) if len(largest) else None,
        "discoveries": _discoveries(found, table),
        "contrasts": [list(pair) for pair in found.contrasts],
        "bounds": [[_finite(v) for v in row] for row in found.bounds.tolist()],
    }


def _discoveries(found: Found, table: pyarrow.Table) -> dict[str, int]:
    """Neurons whose best property is each label, at a false discovery rate of 5 %."""
    names = table.column("property").to_pylist()
    sure = table.column("q").to_numpy() <= RATE
    return {
        prop.name: sum(1 for name, ok in zip(names, sure, strict=True) if ok and name == prop.name)
        for prop in found.properties
    }


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None


def shown_neuron(found: Found, layer: LayerNeurons, neuron: int) -> dict[str, Any]:
    """One neuron in full: its histogram, AUROC of every class, neighbours, and its examples."""
    counts = layer.histogram[:, neuron]
    used = np.flatnonzero(counts)
    aurocs = [row for one in layer.selective for row in one.auroc[:, neuron].tolist()]
    near = zip(
        layer.neighbours[neuron].tolist(),
        layer.neighbour_correlations[neuron].tolist(),
        strict=True,
    )
    return {
        "layer": place_of(layer.name)[0],
        "neuron": neuron,
        "histogram": {
            "first": int(used[0]),
            "counts": counts[used[0] : used[-1] + 1].tolist(),
        },
        "aurocs": [None if value != value else round(value, 4) for value in aurocs],
        "neighbours": [[number, round(r, 4)] for number, r in near if number >= 0],
        "top": _examples(found, layer.top, neuron),
        "bottom": _examples(found, layer.bottom, neuron),
    }


def _examples(found: Found, side: dict[str, np.ndarray], neuron: int) -> list[dict[str, Any]]:
    """Value, line, position and token of each example, with what stands around it.

    ``tokens`` are those around, ``at`` the place of the strongest among them, ``values`` theirs.
    """
    lines = found.folder.features.index.column("line")
    rows = []
    for rank in range(len(side["values"])):
        text, token = int(side["texts"][rank, neuron]), int(side["tokens"][rank, neuron])
        if text < 0:
            break
        pieces = found.folder.pieces(text)
        first = max(0, token - BEFORE)
        row: dict[str, Any] = {
            "rank": rank + 1,
            "value": float(side["values"][rank, neuron]),
            "line": lines[text].as_py(),
            "position": token,
            "token": pieces[token],
            "tokens": pieces[first : token + AFTER],
            "at": token - first,
        }
        if "windows" in side:
            around = side["windows"][rank, :, neuron]
            row["values"] = [float(f"{v:.4g}") for v in around if np.isfinite(v)]
        rows.append(row)
    return rows
