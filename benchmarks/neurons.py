"""Every MLP neuron of every layer, followed over every token of a dataset (sums of powers, histogram,
examples with the values around them, and two values a text), against plain extraction of the same
site (one value a text, its mean): the same texts, in batches of the same size. All texts of 64 tokens;
and of mixed length, uniform from 5 to 200 tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agree import largest_difference
from bench import Bench
from race import Row, race
from stratascope.capture.features.extract import extract_features
from stratascope.store.datasets import MemorySource
from stratascope.store.datasets.rows import Row as Text
from stratascope.store.features import Features
from stratascope.store.neurons import NeuronFolder
from stratascope.study.dataset import Dataset, Neurons
from stratascope.study.features import FeatureSet, NeuronSet

NEURONS, PLAIN = "neurons", "plain extraction, mean"
TOLERANCE = 1e-4


def measure(bench: Bench) -> list[Row]:
    """Texts of one length, then of mixed lengths."""
    sizes = bench.sizes
    draw = np.random.default_rng(0)
    same = [sizes.text_tokens] * sizes.texts
    mixed = draw.integers(*sizes.mixed_tokens, endpoint=True, size=sizes.texts).tolist()
    return [
        _measure(bench, what, [draw.integers(4, sizes.vocabulary, n) for n in lengths])
        for what, lengths in (
            (f"{sizes.texts} texts of {sizes.text_tokens} tokens", same),
            (f"{sizes.texts} texts of mixed length", mixed),
        )
    ]


def _measure(bench: Bench, what: str, texts: Sequence[np.ndarray]) -> Row:
    dataset = Dataset(
        data="memory", input_ids="ids", sites=("mlp_act",), position="mean", shard_texts=len(texts)
    )
    plain = FeatureSet("bench", dataset, "bench", bench.deep.checkpoint, threads=2)
    source = MemorySource([Text(i + 1, ids=ids) for i, ids in enumerate(texts)])

    def extract(features: FeatureSet, folder: Path) -> Path:
        extract_features(bench.deep, features, source, folder / "out", say=lambda _: None)
        return folder / "out"

    def agree(ours: Path, theirs: Path) -> str:
        neurons, means = NeuronFolder.open(ours), Features.open(theirs)
        mine = {name: neurons.columns(name, "mean", slice(None)) for name in means.names}
        differ = largest_difference(mine, {n: means.matrix(n) for n in means.names}, TOLERANCE)
        for name in means.names:
            _check_counts(neurons, name, texts)
        return f"means differ by {differ:.0e}"

    done = race(
        {
            NEURONS: lambda folder: extract(NeuronSet.of(plain, Neurons()), folder),
            PLAIN: lambda folder: extract(plain, folder),
        },
        agree,
        bench.sizes.rounds,
    )
    return done.row(what, NEURONS, PLAIN, reads="cost", target="at most 1.25")


def _check_counts(neurons: NeuronFolder, name: str, texts: Sequence[np.ndarray]) -> None:
    """Every token was counted, and the best example of each neuron is its largest value."""
    ((_, state),) = neurons.states(name)
    tokens = sum(map(len, texts))
    assert (state["histogram"].sum(axis=0) == tokens).all(), name
    largest = neurons.columns(name, "max", slice(None)).max(axis=0)
    assert (state["top_values"][0] == largest).all(), name
