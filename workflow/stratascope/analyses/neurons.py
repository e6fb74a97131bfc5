"""Every neuron of a site: how its values are spread, what it tells of labels, where it is strongest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from stratascope.analyses.texts import column, groups_of
from stratascope.errors import StratascopeError
from stratascope.measure.neurons.examples import merged_examples
from stratascope.measure.neurons.moments import Moments, merged, moments_of
from stratascope.measure.neurons.selectivity import (
    Property,
    Selective,
    mutual_information,
    neighbours,
    property_of,
    selective,
)
from stratascope.measure.neurons.sketch import positive_share, quantiles, zero_share
from stratascope.measure.probes.labels import target_of
from stratascope.store.neurons import NeuronFolder
from stratascope.study.dataset import Neurons

# So many numbers of per-text values are in memory at one time: 64 MB of float64.
AT_ONCE = 8_000_000
QUANTILES = {
    "q01": 0.01,
    "q05": 0.05,
    "q25": 0.25,
    "median": 0.5,
    "q75": 0.75,
    "q95": 0.95,
    "q99": 0.99,
}
# The neurons that rise and fall with each one.
NEIGHBOURS = 5
# They are found over at most so many texts, evenly spread: all neurons are in memory together.
NEIGHBOUR_TEXTS = 8192


@dataclass(frozen=True)
class LayerNeurons:
    """All N neurons of one tensor.

    ``numbers`` have an item a neuron. ``selective`` has one for each property. ``histogram`` is
    (buckets, N). ``examples`` are (k, N), texts numbered by the index's rows; ``windows`` of the top
    ones (k, window, N).
    """

    name: str
    numbers: dict[str, np.ndarray]
    histogram: np.ndarray
    top: dict[str, np.ndarray]
    bottom: dict[str, np.ndarray]
    information: list[np.ndarray]
    selective: list[Selective]
    neighbours: np.ndarray
    neighbour_correlations: np.ndarray

    @property
    def width(self) -> int:
        """How many neurons there are."""
        return int(self.histogram.shape[1])


@dataclass(frozen=True)
class Found:
    """All neurons, layer by layer, and the properties that they were held against."""

    folder: NeuronFolder
    spec: Neurons
    properties: tuple[Property, ...]
    bounds: np.ndarray
    layers: tuple[LayerNeurons, ...]

    @property
    def contrasts(self) -> list[tuple[str, str]]:
        """(label, class) of every row of all properties' measures, one after the other."""
        return [(p.name, name) for p in self.properties for name in p.classes]

    @property
    def largest(self) -> np.ndarray:
        """(shuffles,): the largest |z| of any neuron, class and label, in each shuffle."""
        each = [one.largest for layer in self.layers for one in layer.selective]
        return reduce(np.maximum, each) if each else np.zeros(0)


def measure_neurons(
    folder: NeuronFolder, spec: Neurons, labels: Sequence[str], groups: Sequence[str]
) -> Found:
    """Merge what the shards counted, and hold every neuron against every label.

    Raises:
        StratascopeError: a label that the texts do not carry, or that has only one value.
    """
    features = folder.features
    every = np.arange(len(features))
    together = groups_of(features, groups, every)
    numbered = None if together is None else np.unique(together, return_inverse=True)[1]
    properties = []
    for place, name in enumerate(labels):
        try:
            target = target_of(column(features, name, every))
            seed = spec.seed + place  # labels are shuffled apart
            properties.append(property_of(name, target, numbered, spec.permutations, seed))
        except StratascopeError as error:
            raise StratascopeError(f"{features.info['label']}: label {name!r}: {error}") from error
    bounds = folder.bounds()
    layers = tuple(_layer(folder, name, spec.pool, properties, bounds) for name in folder.tensors)
    return Found(folder, spec, tuple(properties), bounds, layers)


def _layer(
    folder: NeuronFolder, name: str, pool: str, properties: Sequence[Property], bounds: np.ndarray
) -> LayerNeurons:
    moments, histogram, top, bottom = _merged(folder, name)
    low, high = bottom["values"][0], top["values"][0]
    spread = quantiles(histogram, bounds, list(QUANTILES.values()), low, high)
    firing = positive_share(histogram, bounds)
    numbers = {
        "count": np.full(len(low), moments.count),
        "mean": moments.mean,
        "std": moments.std,
        "min": low,
        "max": high,
        **dict(zip(QUANTILES, spread, strict=True)),
        "firing_rate": firing,
        "kurtosis": moments.kurtosis,
        "skewness": moments.skewness,
        "dead": firing == 0,
        "silent": zero_share(histogram, bounds) == 1,
    }
    found, information, near = _over_texts(folder, name, pool, properties)
    return LayerNeurons(name, numbers, histogram, top, bottom, information, found, *near)


def _merged(
    folder: NeuronFolder, name: str
) -> tuple[Moments, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Moments, histogram, top and bottom examples of all shards, in their order."""
    result = None
    for first, state in folder.states(name):
        moments = moments_of(int(state["count"][0]), state["shift"], state["sums"])
        top = _examples(state, "top", first) | {"windows": np.array(state["top_windows"])}
        bottom = _examples(state, "bottom", first)
        histogram = state["histogram"].astype(np.int64)
        if result is None:
            result = moments, histogram, top, bottom
            continue
        result = (
            merged(result[0], moments),
            result[1] + histogram,
            merged_examples(result[2], top, largest=True),
            merged_examples(result[3], bottom, largest=False),
        )
    assert result is not None  # features have at least one text
    return result


def _examples(state: dict[str, np.ndarray], which: str, first: int) -> dict[str, np.ndarray]:
    texts = state[f"{which}_texts"].astype(np.int64)
    return {
        "values": np.array(state[f"{which}_values"]),
        "texts": np.where(texts < 0, -1, texts + first),
        "tokens": np.array(state[f"{which}_tokens"]),
    }


def _over_texts(
    folder: NeuronFolder, name: str, pool: str, properties: Sequence[Property]
) -> tuple[list[Selective], list[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """What depends on each text's value: selectivity, information, neighbours; a few columns at a time."""
    width = folder.tensors[name]
    step = max(1, AT_ONCE // max(1, len(folder.features)))
    found: list[list[Selective]] = [[] for _ in properties]
    information: list[list[np.ndarray]] = [[] for _ in properties]
    for start in range(0, width, step):
        values = folder.columns(name, pool, slice(start, start + step)).astype(np.float64)
        for place, prop in enumerate(properties):
            found[place].append(selective(values, prop))
            information[place].append(mutual_information(values, prop.target))
    every = -(-len(folder.features) // NEIGHBOUR_TEXTS)
    near = neighbours(folder.columns(name, pool, slice(None), every), NEIGHBOURS)
    return (
        [_joined(parts) for parts in found],
        [np.concatenate(parts) for parts in information],
        near,
    )


def _joined(parts: Sequence[Selective]) -> Selective:
    return Selective(
        auroc=np.concatenate([part.auroc for part in parts], axis=1),
        correlation=np.concatenate([part.correlation for part in parts], axis=1),
        z=np.concatenate([part.z for part in parts], axis=1),
        p=np.concatenate([part.p for part in parts], axis=1),
        largest=reduce(np.maximum, [part.largest for part in parts]),
    )
