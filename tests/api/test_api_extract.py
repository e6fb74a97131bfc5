"""A dataset through a model in one call: the rows of recording, labels beside them, on disk."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import stratascope as ss

FEELINGS = "scenarios/datasets/feelings.jsonl"


@pytest.mark.parametrize("position", ["last", "mean", 1])
def test_rows_are_those_of_recording(model: ss.Model, texts: list[str], position: Any) -> None:
    """Extracted rows of texts in memory are what recording and pooling give, in the same order."""
    features = ss.extract(
        model, texts, position=position, sites=("hidden_out", "q"), layers=[0, -1]
    )
    with model.record("hidden_out", "q", layers=[0, -1]) as acts:
        model(texts)
    pooled = acts.pooled(position).numpy()
    assert set(features.names) == set(pooled)
    for name in pooled:
        assert features.matrix(name) == pytest.approx(pooled[name], abs=1e-5)
    assert features.index["text"].to_pylist() == texts


def test_a_backbone_without_its_head(model: ss.Model, texts: list[str]) -> None:
    """Loaded without a head, the same weights give the same features."""
    backbone = ss.wrap(model.module.base_model, model.tokenizer)
    whole = ss.extract(model, texts, layers=[1])
    found = ss.extract(backbone, texts, layers=[1])
    name = "layer_01/hidden_out"
    np.testing.assert_array_equal(found.matrix(name), whole.matrix(name))


def test_every_token_and_modules(model: ss.Model, texts: list[str]) -> None:
    """`all` has a row a token, and modules are named beside sites as in recording, patterns too."""
    names = ("hidden_out", "model.layers.*.mlp", "model.norm:input")
    features = ss.extract(model, texts, position="all", sites=names, layers=2)
    with model.record(*names, layers=2) as acts:
        model(texts)
    for text in range(len(texts)):
        rows = features.text_rows(text)
        for name in acts:
            stored = name if name.startswith("layer_") else f"module/{name}"
            own = acts[name][text][acts.mask[text]].numpy()
            assert features.matrix(stored, rows) == pytest.approx(own, abs=1e-5)


@pytest.mark.parametrize(
    "labels",
    [
        ["joy", "grief", "calm"],
        {"label": pd.Series(["joy", "grief", "calm"])},
        pd.Series(["joy", "grief", "calm"]),
    ],
)
def test_labels_of_texts_in_memory(model: ss.Model, texts: list[str], labels: Any) -> None:
    """A list, a column of pandas or a dict of them become columns of the index."""
    features = ss.extract(model, pd.Series(texts), labels=labels, layers=0)
    assert features.index["label"].to_pylist() == ["joy", "grief", "calm"]


def test_numbers_as_labels_and_ids_as_texts(model: ss.Model, texts: list[str]) -> None:
    """Labels of NumPy and PyTorch are numbers in the index; token ids are texts as well."""
    ids = [model.tokenizer(text)["input_ids"] for text in texts]
    labels = {"a": np.arange(3), "b": torch.tensor([0.5, 1.5, 2.5])}
    features = ss.extract(model, ids, labels=labels, layers=3)
    assert features.index.select(["a", "b"]).to_pylist() == [
        {"a": i, "b": i + 0.5} for i in range(3)
    ]
    same = ss.extract(model, texts, layers=3)
    assert np.array_equal(
        features.matrix("layer_03/hidden_out"), same.matrix("layer_03/hidden_out")
    )


def test_a_file_with_conversations(model: ss.Model, root: Path, monkeypatch: Any) -> None:
    """A labelled file, some of it drawn at random: messages rendered, labels and groups by their fields."""
    monkeypatch.chdir(root)
    features = ss.extract(
        model, FEELINGS, messages="messages", labels="emotion", groups=["event"], max_samples=20
    )
    index = features.index.to_pydict()
    lines = [json.loads(line) for line in Path(FEELINGS).read_text().splitlines()]
    picked = [lines[line - 1] for line in index["line"]]
    assert index["emotion"] == [row["emotion"] for row in picked]
    assert index["event"] == [row["event"] for row in picked]
    with model.record(layers=-1) as acts:
        model([row["messages"] for row in picked])
    assert index["text"] == acts.texts
    expected = acts.pooled("last")["hidden_out", -1].numpy()
    assert features.matrix("layer_05/hidden_out") == pytest.approx(expected, abs=1e-4)


def test_features_without_a_place_go_with_their_object(model: ss.Model, texts: list[str]) -> None:
    """Without `out` the files live exactly as long as what was returned."""
    features = ss.extract(model, texts, layers=0)
    folder = features.path
    assert (folder / "run.json").is_file()
    del features
    gc.collect()
    assert not folder.exists()


def test_features_with_a_place_stay(model: ss.Model, texts: list[str], tmp_path: Path) -> None:
    """With `out` they stay, are found again, and are opened by their folder; other texts are refused."""
    said: list[str] = []
    first = ss.extract(model, texts, layers=0, out=tmp_path / "x")
    before = (tmp_path / "x" / "run.json").read_bytes()
    ss.extract(model, texts, layers=0, out=tmp_path / "x", say=said.append)
    assert (tmp_path / "x" / "run.json").read_bytes() == before
    assert said == ["texts@step-1600: already there"]
    again = ss.open_features(tmp_path / "x")
    assert np.array_equal(again.matrix("layer_00/hidden_out"), first.matrix("layer_00/hidden_out"))
    with pytest.raises(ss.StratascopeError):
        ss.extract(model, texts[:2], layers=0, out=tmp_path / "x")


def test_the_models_identity(
    model: ss.Model, demo: list[Path], texts: list[str], tmp_path: Path
) -> None:
    """A folder is known by its files, a model in memory by its weights: other weights, other features."""
    ss.extract(str(demo[-1]), texts, layers=0, out=tmp_path / "files")
    wrapped = ss.wrap(model.module, model.tokenizer, "mine")
    info = ss.extract(wrapped, texts, layers=0, out=tmp_path / "x").info
    assert info["label"] == "texts@mine"
    weight = model.module.model.norm.weight
    weight.data *= 2
    try:
        with pytest.raises(ss.StratascopeError):
            ss.extract(wrapped, texts, layers=0, out=tmp_path / "x")
    finally:
        weight.data /= 2
    assert ss.extract(wrapped, texts, layers=0, out=tmp_path / "x").info == info
    assert (
        ss.open_features(tmp_path / "files").info["model"]["identity"] != info["model"]["identity"]
    )


def test_a_folder_that_holds_none(tmp_path: Path) -> None:
    """Opening something else says what is missing there."""
    with pytest.raises(ss.StratascopeError, match="no whole features"):
        ss.open_features(tmp_path)
    with pytest.raises(ss.StratascopeError, match=r"not a captured run: run\.json"):
        ss.open_run(tmp_path)


@pytest.mark.parametrize(
    ("texts", "given", "message"),
    [
        (["a", "b"], {"labels": [1]}, "labels: label has 1 values for 2 texts"),
        (["a", "b"], {"labels": "mood"}, "labels: 'mood' would be a field of a file"),
        (["a", ""], {}, "line 2: the text is empty"),
        ([], {}, "nothing to read"),
        (["a"], {"sites": "hiden_out"}, "did you mean 'hidden_out'"),
        (["a"], {"sites": "layer_03/q"}, "name the site, and its layer in `layers`"),
        (["a"], {"layers": 7}, "7 is not a layer"),
        (["a"], {"positoin": "mean"}, "extract: positoin: unknown key; did you mean `position`"),
        ("no/such/file.jsonl", {}, "file.jsonl"),
    ],
)
def test_errors(model: ss.Model, texts: Any, given: Any, message: str) -> None:
    """What cannot be extracted is said in one line, and no temporary folder stays."""
    with pytest.raises(ss.StratascopeError, match=message):
        ss.extract(model, texts, **given)


def test_no_hook_and_no_folder_survives_an_error(
    model: ss.Model, hooks: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """After an extraction that fails in the middle, model and disk are as before."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = hooks(model.module)
    weight = model.module.model.norm.weight
    own = weight[0].item()
    weight.data[0] = float("nan")
    try:
        with pytest.raises(ss.StratascopeError, match="not finite"):
            ss.extract(model, ["I am"], sites="final_norm")
    finally:
        weight.data[0] = own
    assert hooks(model.module) == before
    assert list(tmp_path.iterdir()) == []
