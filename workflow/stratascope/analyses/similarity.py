"""How alike the layers of a study's checkpoints represent the texts of one dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stratascope.analyses.probes import known, place_of
from stratascope.analyses.texts import Rows, common_rows, groups_of
from stratascope.errors import StratascopeError
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
        """Names it among all layers that are compared, also in messages."""
        return f"{self.checkpoint}, layer {self.layer}"


def measure_similarity(job: SimilarityJob, place: Path, target: Path) -> None:
    """Compare the features of ``job``, which lie below ``place``, and write the index ``target``.

    Within a checkpoint every two layers are compared; so they are between a checkpoint and the next,
    and between the first and the last. Of other checkpoints the same layers are compared with those
    of the first and of the last: that is drift. What has no layer (modules, the final norm) is left
    out. ``undefined`` of the index says which layers a measure is not defined on, and why.

    Raises:
        StratascopeError: no text is common to all checkpoints, or too few for a measure.
    """
    sets = [Features.open(place / item.folder) for item in job.sets]
    rows = common_rows(sets)
    group = groups_of(sets[0], job.sets[0].dataset.groups, rows[0])
    found: list[dict[str, Any]] = []
    undefined: list[dict[str, str]] = []
    for site in _sites(sets):
        layers = list(_layers(job, sets, site))
        wanted = wanted_pairs(layers, len(sets))
        if not wanted.any():  # one layer of one checkpoint
            continue
        tensors = {
            item.key: Rows(sets[item.order], tensor_name(item.layer, site), rows[item.order])
            for item in layers
        }
        try:
            results = compare_layers(
                tensors,
                measures=job.spec.measures,
                wanted=wanted,
                permutations=job.spec.permutations,
                resamples=job.spec.bootstrap,
                groups=group,
                seed=job.spec.seed,
                threads=1,
            )
        except StratascopeError as error:
            raise StratascopeError(f"{job.dataset}: similarity of {site}: {error}") from error
        for measure, result in results.items():
            found += _rows(site, measure, result, layers)
            undefined += [
                {"measure": measure, "site": site, "why": why} for why in result.undefined
            ]
    content = {
        "dataset": job.dataset,
        "digest": job.digest,
        "checkpoints": [item.checkpoint.name for item in job.sets],
        "features": [item.folder for item in job.sets],
        "texts": len(rows[0]),
        "rows": found,
        "undefined": undefined,
    }
    write_json(target, content)


def wanted_pairs(layers: Sequence[Layer], checkpoints: int) -> NDArray[np.bool_]:
    """``(layers, layers)``: which pairs are compared, each once, the earlier one first."""
    last = checkpoints - 1
    whole = {*pairwise(range(checkpoints)), (0, last)}

    def wanted(a: Layer, b: Layer) -> bool:
        if a.order == b.order:
            return a.layer < b.layer
        pair = (a.order, b.order)
        drifted = a.order < b.order and a.layer == b.layer and (a.order == 0 or b.order == last)
        return pair in whole or drifted

    return np.array([[wanted(a, b) for b in layers] for a in layers])


def _sites(sets: Sequence[Features]) -> list[str]:
    """The sites that have layers, in the order of the first checkpoint that has them."""
    places = [place_of(name) for features in sets for name in features.names]
    return list(dict.fromkeys(site for layer, site in places if layer is not None))


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
            name: None if matrix is None else known(float(matrix[i, j]))
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
