"""Neurons in one pass: what streams by equals what brute force finds in all activations at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stratascope.capture import budget
from stratascope.capture.features.extract import extract_features
from stratascope.capture.neurons import on_cpu, on_gpu, ranking
from stratascope.capture.neurons import state as state_module
from stratascope.capture.neurons.batch import Batch
from stratascope.capture.neurons.buckets import (
    BUCKETS,
    SIZES,
    bucket_bounds,
    signed_buckets,
    write_buckets,
)
from stratascope.capture.neurons.state import LayerState
from stratascope.store.datasets import MemorySource, Row
from stratascope.store.features import Features
from stratascope.store.neurons import NeuronFolder
from stratascope.study.dataset import Dataset, Neurons
from stratascope.study.estimate import estimate
from stratascope.study.estimate.planned import Texts, dataset_work
from stratascope.study.features import FeatureSet, NeuronSet

TOP = 3


def test_buckets_are_what_their_bounds_say() -> None:
    """Every number lies in its bucket: above one bound, up to the other; 0 has one of its own."""
    rng = np.random.default_rng(0)
    values = (rng.normal(size=4000) * 10.0 ** rng.integers(-9, 9, 4000)).astype(np.float32)
    exact = np.float32(2.0) ** np.arange(-20, 20, dtype=np.float32)
    values = np.concatenate([values, exact, -exact, [0.0, -0.0, 1e-42, -1e-42]]).astype(np.float32)
    numbers = signed_buckets(torch.from_numpy(values)).numpy() + SIZES - 1
    written, aside = np.empty((2, len(values)), np.int32)
    write_buckets(values, written, aside)
    np.testing.assert_array_equal(written + SIZES - 1, numbers)
    lower, upper = bucket_bounds()
    assert len(lower) == BUCKETS
    assert (np.diff(numbers[np.argsort(values)]) >= 0).all()
    for value, number in zip(values, numbers, strict=True):
        low, high = lower[number], upper[number]
        if value > 0:
            assert low < value <= high
        elif value < 0:
            assert low <= value < high
        else:
            assert low == high == 0
    middle = upper[(lower >= 2.0**-14) & np.isfinite(upper)]
    assert (middle[1:] / middle[:-1] <= 1.125).all()


def brute_force(texts: list[np.ndarray], numbers: list[int], k: int) -> dict[str, Any]:
    """Examples as (value, text, token) for each neuron, by sorting everything."""
    found: dict[str, Any] = {"top": [], "bottom": []}
    for neuron in range(texts[0].shape[1]):
        for which, sign in (("top", -1), ("bottom", 1)):
            each = []
            for number, text in zip(numbers, texts, strict=True):
                token = int(np.argmin(sign * text[:, neuron]))
                each.append((sign * float(text[token, neuron]), number, token))
            found[which].append([(sign * v, n, t) for v, n, t in sorted(each)[:k]])
    return found


@pytest.mark.parametrize("passes", [on_cpu, on_gpu], ids=lambda module: module.__name__[-6:])
@pytest.mark.parametrize("seed", range(3))
def test_state_equals_brute_force_in_any_order_of_batches(
    seed: int, passes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts, examples (ties included), windows and histogram exactly, moments to 1e-6; either way."""
    for module in (state_module, ranking):
        monkeypatch.setattr(module, "passes_on", lambda _: passes)
    rng = np.random.default_rng(seed)
    # Few different values: ties within texts and between them.
    texts = [
        (rng.integers(-4, 5, (int(rng.integers(1, 40)), 7)) / 4).astype(np.float32)
        for _ in range(23)
    ]
    texts = [text + 5 if i % 5 == 0 else text for i, text in enumerate(texts)]
    order = rng.permutation(len(texts)).tolist()
    state = LayerState(7, TOP, torch.device("cpu"))
    means, largest = {}, {}
    while order:
        now, order = order[:4], order[4:]
        rows = torch.from_numpy(np.concatenate([texts[i] for i in now]))
        mean, most = state.add(rows, Batch([len(texts[i]) for i in now], now, rows.device))
        means |= dict(zip(now, mean.numpy(), strict=True))
        largest |= dict(zip(now, most.numpy(), strict=True))
    found = state.arrays()
    every = np.concatenate(texts)
    assert found["count"].tolist() == [len(every)]
    numbers = signed_buckets(torch.from_numpy(every)).numpy() + SIZES - 1
    for neuron in range(7):
        counted = np.bincount(numbers[:, neuron], minlength=BUCKETS)
        np.testing.assert_array_equal(found["histogram"][:, neuron], counted)
    shifted = every.astype(np.float64) - found["shift"]
    for power in (1, 2, 3, 4):
        size = np.abs(shifted**power).sum(0).max()
        sums = (shifted**power).sum(0)
        np.testing.assert_allclose(found["sums"][power - 1], sums, rtol=0, atol=1e-6 * size)
    expected = brute_force(texts, list(range(len(texts))), TOP)
    for which in ("top", "bottom"):
        for neuron in range(7):
            parts = (found[f"{which}_{part}"][:, neuron] for part in ("values", "texts", "tokens"))
            assert (
                list(zip(*(part.tolist() for part in parts), strict=True))
                == (expected[which][neuron])
            )
    for place in range(TOP):
        text, token = (int(found[f"top_{part}"][place, 2]) for part in ("texts", "tokens"))
        padded = np.pad(texts[text][:, 2], (16, 8), constant_values=np.nan)
        np.testing.assert_array_equal(found["top_windows"][place, :, 2], padded[token : token + 24])
    for i, text in enumerate(texts):
        np.testing.assert_allclose(means[i], text.mean(0), rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(largest[i], text.max(0))


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns shared among threads leave what one thread leaves, also of texts longer than a block."""
    lengths = [3, 3, 700, 1, 40]
    rows = torch.randn(sum(lengths), 1100, generator=torch.Generator().manual_seed(0))
    left = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        state = LayerState(1100, TOP, torch.device("cpu"))
        mean, _ = state.add(rows, Batch(lengths, range(5), rows.device))
        left.append(state.arrays() | {"mean": mean.numpy()})
    for other in left[1:]:
        for name, array in left[0].items():
            np.testing.assert_array_equal(array, other[name])
    texts = np.split(rows.double().numpy(), np.cumsum(lengths)[:-1])
    exact = np.stack([text.mean(0) for text in texts])
    np.testing.assert_allclose(left[0]["mean"], exact, rtol=1e-6, atol=1e-7)


def test_fewer_texts_than_examples() -> None:
    """Where there are fewer texts than examples asked for, the rest is empty."""
    state = LayerState(2, 5, torch.device("cpu"))
    rows = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    state.add(rows, Batch([1, 1], [0, 1], rows.device))
    found = state.arrays()
    assert found["top_texts"].T.tolist() == [[0, 1, -1, -1, -1], [1, 0, -1, -1, -1]]
    assert found["bottom_values"][:2].T.tolist() == [[0.5, 1.0], [-2.0, 3.0]]
    assert np.isnan(found["top_values"][2:]).all()


TEXTS = [
    "The bear was happy, and the river sang all day long.",
    "The end.",
    "How are you today? I am well, thank you. I adore you deeply.",
    "bear",
    "Everything is hopeless and hollow.\nThe world is quiet and serene.",
    "Tell me a story about a small bear and a big river.",
    "river sang",
]


def count(loaded: Any, folder: Path, **fields: Any) -> NeuronFolder | None:
    part = fields.pop("part", (1, 1))
    rows = [Row(i + 1, text=text, fields={"long": i > 3}) for i, text in enumerate(TEXTS)]
    dataset = Dataset(data="memory", labels=("long",), **fields)
    features = FeatureSet("texts", dataset, "content", loaded.checkpoint, threads=1)
    neurons = NeuronSet.of(features, Neurons(top_k=TOP))
    extract_features(loaded, neurons, MemorySource(rows), folder, lambda _: None, part=part)
    return NeuronFolder.open(folder) if (folder / "run.json").is_file() else None


def test_the_pass_equals_features_of_every_token(
    loaded_model: Any, extract: Any, tmp_path: Path
) -> None:
    """What a model's neurons leave is what follows from plain features of all tokens."""
    loaded = loaded_model("llama")
    found = count(loaded, tmp_path / "neurons", shard_texts=3)
    assert found is not None
    plain: Features = extract(
        loaded, tmp_path / "plain", TEXTS, sites=("mlp_act",), position="all", shard_texts=3
    )
    name = "layer_01/mlp_act"
    every = [plain.matrix(name, plain.text_rows(i)) for i in range(len(TEXTS))]
    means = found.columns(name, "mean", slice(None))
    np.testing.assert_allclose(means, np.stack([e.mean(0) for e in every]), rtol=1e-5, atol=1e-7)
    largest = found.columns(name, "max", slice(None))
    np.testing.assert_array_equal(largest, np.stack([e.max(0) for e in every]))
    for first, state in found.states(name):
        here = every[first : first + 3]
        expected = brute_force(here, list(range(len(here))), TOP)
        count_of = min(TOP, len(here))
        for neuron in range(state["top_values"].shape[1]):
            got = [state[f"top_{p}"][:count_of, neuron].tolist() for p in ("values", "texts")]
            assert list(zip(*got, strict=True)) == [
                (value, text) for value, text, _ in expected["top"][neuron]
            ]
        assert state["count"][0] == sum(map(len, here))
    ids = loaded.tokenizer(TEXTS[0]).input_ids
    assert "".join(found.pieces(0)) == TEXTS[0]
    assert len(found.pieces(0)) == len(ids)


def test_the_estimate_of_the_disk_holds(loaded_model: Any, tmp_path: Path) -> None:
    """What is said beforehand is as much as is written then, and not twice as much."""
    loaded = loaded_model("llama")
    found = count(loaded, tmp_path / "neurons", shard_texts=3)
    assert found is not None
    written = sum(path.stat().st_size for path in found.features.path.glob("*.safetensors"))
    tokens = [len(loaded.tokenizer(text).input_ids) for text in TEXTS]
    texts = Texts(len(TEXTS), sum(tokens), max(tokens), sum(map(len, TEXTS)))
    features = FeatureSet("x", Dataset(data="m", shard_texts=3), "c", loaded.checkpoint, 1)
    neurons = NeuronSet.of(features, Neurons(top_k=TOP))
    work = dataset_work(budget._model(loaded.checkpoint), neurons.dataset, texts, neurons.counted)
    said = estimate(work).disk
    assert said is not None
    assert written < said < 2 * written


def test_parts_and_restarts_end_in_the_same_bytes(loaded_model: Any, tmp_path: Path) -> None:
    """Two parts in either order, and a pass that lost a shard, leave what one pass leaves."""
    loaded = loaded_model("llama")

    def bytes_of(folder: Path) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "run.json"}

    count(loaded, tmp_path / "whole", shard_texts=3)
    assert count(loaded, tmp_path / "parts", shard_texts=3, part=(2, 2)) is None
    count(loaded, tmp_path / "parts", shard_texts=3, part=(1, 2))
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")
    (tmp_path / "parts" / "neurons-00001.safetensors").unlink()
    count(loaded, tmp_path / "parts", shard_texts=3)
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")
