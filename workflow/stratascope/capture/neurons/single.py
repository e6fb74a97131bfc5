"""``stratascope neurons``: the neurons of one dataset on one model, without a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stratascope.capture.features.single import asked_features, extract_asked
from stratascope.store.neurons import NeuronFolder
from stratascope.study.dataset import Neurons
from stratascope.study.features import NeuronSet
from stratascope.study.schema import Limits


def count_neurons(
    model: Mapping[str, Any],
    dataset: Mapping[str, Any],
    spec: Neurons,
    folder: Path,
    say: Callable[[str], None],
    *,
    threads: int,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
) -> NeuronFolder:
    """Count the neurons of a dataset into ``folder``, or what of it is not there yet.

    ``model`` and ``dataset`` are the keys of a study's ``Model`` and ``Dataset``.

    Raises:
        StratascopeError: as finding the model, opening the dataset, loading and extracting do.
    """
    features, source = asked_features(model, dataset, threads)
    neurons = NeuronSet.of(features, spec)
    extract_asked(neurons, source, folder, say, limits=limits)
    return NeuronFolder.open(folder)
