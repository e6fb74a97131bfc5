"""Neurons end to end: a planted one is found, shards do not matter, and noise is called noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch
from click.testing import CliRunner

from stratascope.analyses.neuron_files import write_neurons
from stratascope.analyses.neuron_rows import example_rows, neuron_rows
from stratascope.analyses.neuron_table import most_selective, neuron_table
from stratascope.analyses.neurons import measure_neurons
from stratascope.capture.features.extract import extract_features
from stratascope.capture.loading import Loaded, load
from stratascope.cli import cli
from stratascope.errors import StratascopeError
from stratascope.report.neurons import NeuronIndex
from stratascope.store.datasets import MemorySource, Row
from stratascope.store.features import Features
from stratascope.store.neurons import NeuronFolder
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.dataset import Neurons, StudyDataset
from stratascope.study.features import FeatureSet, NeuronSet
from stratascope.study.neurons import SelectivityJob
from stratascope.study.schema import Model

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "models" / "demo" / "step-0"
PLANTED, LAYER = 17, 1
WORD = " happy"


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """The demo model before training, one neuron of which fires on one word and nothing else."""
    model = Model(id="step-0", dtype="float32", device="cpu")
    found = load(Checkpoint("step-0", model, str(CHECKPOINT), None, "test"))
    token = found.tokenizer(WORD).input_ids[-1]
    assert found.tokenizer.decode([token]) == WORD
    layer = found.model.model.layers[LAYER]
    with torch.no_grad():
        # All embeddings but the word's lose one direction; nothing before the MLP writes to it.
        weights = found.model.model.embed_tokens.weight
        weights[:, 0] = 0
        weights[token, 0] = 8
        for below in found.model.model.layers[: LAYER + 1]:
            below.self_attn.o_proj.weight[0] = 0
        for below in found.model.model.layers[:LAYER]:
            below.mlp.down_proj.weight[0] = 0
        layer.mlp.gate_proj.weight[PLANTED] = 0
        layer.mlp.up_proj.weight[PLANTED] = 0
        for part in (layer.mlp.gate_proj, layer.mlp.up_proj):
            part.weight[PLANTED, 0] = 3
    return found


def texts() -> list[Row]:
    rng = np.random.default_rng(0)
    said = "the small house was old and we all went home after a long day with my friends"
    words = said.split()
    rows = []
    for i in range(60):
        chosen = list(rng.choice(words, int(rng.integers(4, 14))))
        if i % 3 == 0:
            chosen.insert(1 + int(rng.integers(0, len(chosen))), WORD.strip())
        fields = {"word": i % 3 == 0, "coin": ["heads", "tails"][int(rng.integers(2))]}
        rows.append(Row(i + 1, text=" ".join(chosen), fields=fields))
    return rows


def count(loaded: Loaded, folder: Path, **fields: Any) -> tuple[NeuronSet, NeuronFolder]:
    spec = Neurons(top_k=5, permutations=40, layers=(0, LAYER))
    dataset = StudyDataset(data="memory", labels=("word", "coin"), neurons=spec, **fields)
    features = FeatureSet("texts", dataset, "content", loaded.checkpoint, threads=1)
    neurons = NeuronSet.of(features, spec)
    extract_features(loaded, neurons, MemorySource(texts()), folder, lambda _: None)
    return neurons, NeuronFolder.open(folder)


@pytest.fixture(scope="module")
def counted(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("features")
    neurons, folder = count(loaded, place / "whole")
    folder.features.path.rename(place / neurons.folder)
    return neurons, place


@pytest.fixture(scope="module")
def found(counted: Any) -> Any:
    neurons, place = counted
    folder = NeuronFolder.open(place / neurons.folder)
    return measure_neurons(folder, neurons.dataset.neurons, ("word", "coin"), ())


def test_the_planted_neuron_is_found_first(found: Any) -> None:
    """It is its layer's most selective, for the right class, with AUROC 1, at exactly the word."""
    table = neuron_table(found)
    row = most_selective(table, LAYER, 1)[0]
    best = table.slice(row, 1).to_pylist()[0]
    assert (best["layer"], best["neuron"]) == (LAYER, PLANTED)
    assert (best["property"], best["class"], best["auroc"]) == ("word", "True", 1.0)
    assert best["q"] < 1e-6
    assert best["p_max"] == pytest.approx(1 / 41)
    top = [row for row in example_rows(found, LAYER, PLANTED) if row["which"] == "top"]
    assert len(top) == 5
    for example in top:
        assert example["line"] % 3 == 1
        assert example["token"].strip() == WORD.strip()
        assert f"«{example['token']}»" in example["text"]
    assert best["firing_rate"] == pytest.approx(20 / best["count"])


def test_a_label_of_noise_gives_no_discovery(found: Any) -> None:
    """No neuron is called selective for a coin, at a false discovery rate of 5 %."""
    coin = next(p for p in found.properties if p.name == "coin")
    at = found.properties.index(coin)
    table = neuron_table(found)
    named = [
        row
        for row in table.select(["property", "q"]).to_pylist()
        if row["property"] == "coin" and row["q"] <= 0.05
    ]
    assert not named
    p = np.concatenate([layer.selective[at].p.ravel() for layer in found.layers])
    assert 0.2 < np.nanmedian(p) < 0.8


def test_numbers_are_those_of_all_activations(loaded: Loaded, found: Any, tmp_path: Path) -> None:
    """Mean, deviation, extremes, quantiles and firing rate against plain features of every token."""
    dataset = StudyDataset(
        data="memory", sites=("mlp_act",), layers=(0, LAYER), position="all", similarity=False
    )
    features = FeatureSet("plain", dataset, "content", loaded.checkpoint, threads=1)
    extract_features(loaded, features, MemorySource(texts()), tmp_path / "f", lambda _: None)
    every = Features.open(tmp_path / "f").matrix(f"layer_{LAYER:02d}/mlp_act").astype(np.float64)
    numbers = found.layers[1].numbers
    assert numbers["count"][0] == len(every)
    np.testing.assert_allclose(numbers["mean"], every.mean(0), atol=1e-6 * every.std(0).max())
    np.testing.assert_allclose(numbers["std"], every.std(0), rtol=1e-6, atol=1e-12)
    kurtosis = ((every - every.mean(0)) ** 4).mean(0) / every.std(0) ** 4 - 3
    np.testing.assert_allclose(numbers["kurtosis"], kurtosis, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(numbers["min"], every.min(0))
    np.testing.assert_array_equal(numbers["max"], every.max(0))
    np.testing.assert_array_equal(numbers["firing_rate"], (every > 0).mean(0))
    ordered = np.sort(every, axis=0)
    for name, share in (("q05", 0.05), ("median", 0.5), ("q99", 0.99)):
        exact = ordered[int(np.ceil(share * len(every))) - 1]
        np.testing.assert_allclose(numbers[name], exact, rtol=1 / 16.9, atol=2.0**-15)


def test_shards_do_not_matter(loaded: Loaded, found: Any, tmp_path: Path) -> None:
    """Cut into shards of 7 texts: the same but for the last digits of a forward pass.

    Texts that begin alike have equal values there up to these digits, so any of them may be named.
    """
    neurons, folder = count(loaded, tmp_path / "cut", shard_texts=7)
    cut = measure_neurons(folder, neurons.dataset.neurons, ("word", "coin"), ())
    for one, other in zip(found.layers, cut.layers, strict=True):
        # A value at a bucket's edge may fall to either side.
        assert np.abs(one.histogram - other.histogram).sum() <= 8
        for which in ("top", "bottom"):
            mine, theirs = getattr(one, which), getattr(other, which)
            np.testing.assert_allclose(mine["values"], theirs["values"], rtol=1e-5, atol=1e-6)
            same = (mine["texts"] == theirs["texts"]) & (mine["tokens"] == theirs["tokens"])
            assert same.mean() > 0.8
        for name in ("mean", "std", "kurtosis"):
            np.testing.assert_allclose(one.numbers[name], other.numbers[name], rtol=1e-5, atol=1e-6)


def test_the_files_hold_all_and_are_the_same_twice(counted: Any, tmp_path: Path) -> None:
    """A row a neuron, every example; the index has the most selective in full; the bytes repeat."""
    neurons, place = counted
    job = SelectivityJob(neurons, (), neurons.dataset.neurons, ("word", "coin"))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_neurons(job, place, tmp_path / name / "x.json")
    for end in ("json", "parquet"):
        first, second = ((tmp_path / name / f"x.{end}").read_bytes() for name in ("a", "b"))
        assert first == second
    table = pyarrow.parquet.read_table(tmp_path / "a" / "x.parquet")
    content = json.loads((tmp_path / "a" / "x.json").read_text())
    assert table.num_rows == sum(width for _, width in content["widths"]) == 480
    assert all(len(row) == 5 for row in table.column("top_lines").to_pylist())
    assert content["discoveries"]["coin"] == 0
    assert len(content["shown"]) == 40
    shown = next(s for s in content["shown"] if s["neuron"] == PLANTED and s["layer"] == LAYER)
    assert sum(shown["histogram"]["counts"]) == content["tokens"]
    for example in shown["top"]:
        assert example["tokens"][example["at"]] == example["token"]
        assert len(example["values"]) == len(example["tokens"])
        assert example["values"][example["at"]] == pytest.approx(example["value"], rel=1e-3)
    rows = table.to_pylist()
    planted = rows[240 + PLANTED]
    density = NeuronIndex(content).density(shown, planted["min"], planted["max"], 20)
    assert density.sum() == pytest.approx(content["tokens"])
    assert density[0] > density[-1] > 0


def test_without_labels_there_are_distributions(counted: Any) -> None:
    """No label: no property, no p; the most peaked neurons lead."""
    neurons, place = counted
    folder = NeuronFolder.open(place / neurons.folder)
    alone = measure_neurons(folder, neurons.dataset.neurons, (), ())
    rows = neuron_rows(alone, 3)
    assert len(rows) == 6
    assert "auroc" not in rows[0]
    assert rows[0]["kurtosis"] >= rows[1]["kurtosis"] >= rows[2]["kurtosis"]
    with pytest.raises(StratascopeError, match="layer 5 was not read; read: 0, 1"):
        list(example_rows(alone, 5, 0))
    with pytest.raises(StratascopeError, match="no field 'mod'"):
        measure_neurons(folder, neurons.dataset.neurons, ("mod",), ())


def test_the_command_prints_rows(tmp_path: Path) -> None:
    """`stratascope neurons` prints one object with rows; --neuron the examples with the token."""
    data = tmp_path / "texts.jsonl"
    lines = [{"text": row.text, "word": str(row.fields["word"])} for row in texts()]
    data.write_text("\n".join(map(json.dumps, lines)))
    asked = [
        "neurons",
        str(CHECKPOINT),
        str(data),
        "--layers",
        "0",
        "--top-k",
        "3",
        "--threads",
        "1",
    ]
    asked += ["--out", str(tmp_path / "out"), "--format", "json"]
    runner = CliRunner()

    def rows(*more: str) -> list[dict[str, Any]]:
        result = runner.invoke(cli, [*asked, *more], catch_exceptions=False)
        assert result.exit_code == 0
        return list(json.loads(result.stdout)["rows"])

    found = rows("--label", "word", "--most", "2")
    assert [row["layer"] for row in found] == [0, 0]
    assert {"site", "neuron", "auroc", "q", "p_max"} <= set(found[0])
    examples = rows("--label", "word", "--neuron", "0:3")
    assert [row["rank"] for row in examples] == [1, 2, 3, 1, 2, 3]
    assert all(f"«{row['token']}»" in row["text"] for row in examples)
