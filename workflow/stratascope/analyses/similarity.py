"""How alike the layers of a study's checkpoints represent the texts of one dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stratascope.analyses.texts import Rows, column, common_rows
from stratascope.measure.similarity import LayerSimilarity, compare_layers
from stratascope.store.commit import write_json
from stratascope.store.features import Features
from stratascope.store.runs import tensor_name
from stratascope.study.analyses import SimilarityJob


@dataclass(frozen=True)
class Layer:
    """One layer of one checkpoint; ``order`` is the checkpoint's place in the study."""

    checkpoint: str
    order: int
    layer: int

    @property
    def key(self) -> str:
        """Names it among all layers that are compared."""
        return f"{self.order}|{self.layer}"


def measure_similarity(job: SimilarityJob, place: Path, target: Path) -> None:
    """Compare the features of ``job``, which lie below ``place``, and write the index ``target``.

    Within a checkpoint every two layers are compared; so they are between a checkpoint and the next,
    and between the first and the last. Of other checkpoints the same layers are compared with those
    of the first and of the last: that is drift.

    Raises:
        StratascopeError: no text is common to all checkpoints, or too few for a measure.
    """
    sets = [Features.open(place / item.folder) for item in job.sets]
    rows = common_rows(sets)
    groups = job.sets[0].dataset.groups
    group = column(sets[0], groups[0], rows[0]) if groups else None
    sites = dict.fromkeys(name.rpartition("/")[2] for name in sets[0].names if "/" in name)
    found: list[dict[str, Any]] = []
    for site in sites:
        layers = list(_layers(job, sets, site))
        results = compare_layers(
            {
                item.key: Rows(
                    sets[item.order], tensor_name(item.layer, site), rows[item.order]
                )
                for item in layers
            },
            measures=job.spec.measures,
            wanted=wanted_pairs(layers, len(sets)),
            permutations=job.spec.permutations,
            resamples=job.spec.bootstrap,
            groups=group,  # type: ignore[arg-type]
            seed=job.spec.seed,
            threads=1,
        )
        for measure, result in results.items():
            found += _rows(site, measure, result, layers)
    content = {
        "dataset": job.dataset,
        "digest": job.digest,
        "checkpoints": [item.checkpoint.name for item in job.sets],
        "features": [item.folder for item in job.sets],
        "texts": len(rows[0]),
        "rows": found,
    }
    write_json(target, content)


def wanted_pairs(layers: Sequence[Layer], checkpoints: int) -> NDArray[np.bool_]:
    """``(layers, layers)``: which pairs are compared, each once, the earlier one first."""
    last = checkpoints - 1
    whole = {*pairwise(range(checkpoints)), (0, last), *((i, i) for i in range(checkpoints))}

    def wanted(a: Layer, b: Layer) -> bool:
        if a.order == b.order:
            return a.layer < b.layer
        pair = (a.order, b.order)
        return pair in whole or (pair[0] < pair[1] and a.layer == b.layer and bool({0, last} & {*pair}))

    return np.array([[wanted(a, b) for b in layers] for a in layers])


def _layers(job: SimilarityJob, sets: Sequence[Features], site: str) -> Iterator[Layer]:
    for order, (item, features) in enumerate(zip(job.sets, sets, strict=True)):
        there = set(features.names)
        for layer in features.layers:
            if tensor_name(layer, site) in there:
                yield Layer(item.checkpoint.name, order, layer)


def _rows(
    site: str, measure: str, result: LayerSimilarity, layers: Sequence[Layer]
) -> Iterator[dict[str, Any]]:
    columns = {
        "value": result.values,
        "lower": result.lower,
        "upper": result.upper,
        "p": result.p,
        "null_mean": result.null_mean,
        "null_upper": result.null_bound,
    }
    for i, j in np.argwhere(~np.isnan(result.values)):
        a, b = layers[i], layers[j]
        numbers = {
            name: None if matrix is None or math.isnan(matrix[i, j]) else float(matrix[i, j])
            for name, matrix in columns.items()
        }
        yield {
            "checkpoint_a": a.checkpoint,
            "checkpoint_b": b.checkpoint,
            "site": site,
            "layer_a": a.layer,
            "layer_b": b.layer,
            "measure": measure,
            **numbers,
            "n": result.n,
            "groups": result.groups,
        }
