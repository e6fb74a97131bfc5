"""What an extraction leaves, and that however it is shared or broken off, it leaves the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stratascope.capture.features import extract as extraction
from stratascope.capture.features import making
from stratascope.errors import StratascopeError
from stratascope.store.datasets import Row
from stratascope.store.features import Features

TEXTS = [
    "The bear was happy, and the river sang all day long.",
    "The end.",
    "How are you today? I am well, thank you. I adore you deeply.",
    "bear",
    "Everything is hopeless and hollow.\nThe world is quiet and serene.",
    "Tell me a story about a small bear and a big river.",
    "river sang",
]
ROWS = [
    Row(
        2 * i + 1, text=text, fields={"mood": ["good", "bad"][i % 2], "pair": i // 2, "long": i > 3}
    )
    for i, text in enumerate(TEXTS)
]
ASKED: dict[str, Any] = {"labels": ("mood", "long"), "groups": ("pair",), "shard_texts": 3}


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file, run.json without the time of day."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    if "run.json" in found:
        info = json.loads(found["run.json"])
        assert info.pop("created_at")
        found["run.json"] = json.dumps(info).encode()
    return found


def test_the_folder_holds_the_contract(loaded_model: Any, extract: Any, tmp_path: Path) -> None:
    """The files, the keys of run.json, the columns of the index, and how they fit together."""
    loaded = loaded_model("llama")
    said: list[str] = []
    found = extract(
        loaded, tmp_path, ROWS, position="all", layers=(0, 2), sites=("hidden_out", "final_norm"),
        said=said, **ASKED,
    )  # fmt: skip
    shards = [f"features-{i:05d}.safetensors" for i in range(3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *shards,
        "index.parquet",
        "run.json",
    ]
    info = found.info
    assert list(info) == [
        "format", "label", "digest", "stage", "dataset", "content", "model", "tokenizer", "sites",
        "layers", "modules", "position", "dtype", "shapes", "texts", "rows", "shards", "skipped",
        "batches", "noise_floor", "files", "env", "created_at",
    ]  # fmt: skip
    assert info["shapes"] == {
        "layer_00/hidden_out": 32,
        "layer_02/hidden_out": 32,
        "final_norm": 32,
    }
    assert (info["layers"], info["sites"]) == ([0, 2], ["hidden_out", "final_norm"])
    assert info["files"] == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("features-00000.safetensors", *shards[1:], "index.parquet")
    }
    assert [shard["input"] for shard in info["shards"]] == [[0, 3], [3, 6], [6, 7]]
    assert [shard["sha256"] for shard in info["shards"]] == [info["files"][name] for name in shards]
    assert info["batches"] == {"token_budget": 2048, "lowered": 0}
    index = found.index.to_pydict()
    assert list(index) == ["text", "line", "shard", "row", "rows", "tokens", "mood", "long", "pair"]
    assert index["text"] == TEXTS
    assert index["line"] == [row.line for row in ROWS]
    for name in ("mood", "long", "pair"):
        assert index[name] == [row.fields[name] for row in ROWS]
    tokens = [len(loaded.tokenizer(text).input_ids) for text in TEXTS]
    assert index["tokens"] == index["rows"] == tokens
    assert info["rows"] == sum(tokens) == len(found)
    for i, name in enumerate(shards):
        tensors = load_file(tmp_path / name)
        assert set(tensors) == set(info["shapes"])
        here = [n for n in range(7) if index["shard"][n] == i]
        assert len(here) == info["shards"][i]["texts"]
        assert [index["row"][n] for n in here] == [
            sum(tokens[m] for m in here if m < n) for n in here
        ]
        assert {t.shape for t in tensors.values()} == {(sum(tokens[n] for n in here), 32)}
    assert len(said) == 3
    assert all(f"shard {i + 1}/3: " in line for i, line in enumerate(said))


def test_parts_and_restarts_end_in_the_same_bytes(
    loaded_model: Any, extract: Any, tmp_path: Path
) -> None:
    """One process, two parts in either order, and an extraction that lost a shard are one and the same."""
    loaded = loaded_model("llama")
    whole = tmp_path / "whole"
    extract(loaded, whole, ROWS, **ASKED)
    parts = tmp_path / "parts"
    said: list[str] = []
    assert extract(loaded, parts, ROWS, part=(2, 2), said=said, **ASKED) is None
    assert said[-1] == "texts@llama: 2 of 3 shards are there; others are missing"
    assert not (parts / "features-00000.safetensors").exists()
    with pytest.raises(StratascopeError, match="its extraction has not ended"):
        Features.open(parts)
    assert extract(loaded, parts, ROWS, part=(1, 2), **ASKED) is not None
    assert bytes_of(parts) == bytes_of(whole)
    said.clear()
    extract(loaded, parts, ROWS, said=said, **ASKED)
    assert said == ["texts@llama: already there"]
    (parts / "features-00001.safetensors").unlink()
    extract(loaded, parts, ROWS, **ASKED)
    assert bytes_of(parts) == bytes_of(whole)


def test_an_error_costs_no_whole_shard(
    loaded_model: Any, extract: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """What was whole when the disk gave out is not made again, and the end is the same."""
    loaded = loaded_model("llama")
    extract(loaded, tmp_path / "whole", ROWS, **ASKED)
    folder = tmp_path / "broken"
    calls: list[int] = []

    def plan(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return making_plan(*args)

    making_plan = making.plan_batches
    monkeypatch.setattr(making, "plan_batches", plan)
    with pytest.raises(StratascopeError, match="the disk is full"):
        extract(loaded, folder, ROWS, **ASKED)
    names = {path.name for path in folder.iterdir()}
    assert names == {
        ".extraction.json", ".shard-00000.parquet", ".shard-00001.parquet",
        "features-00000.safetensors", "features-00001.safetensors",
    }  # fmt: skip
    before = (folder / "features-00001.safetensors").stat().st_mtime_ns
    extract(loaded, folder, ROWS, **ASKED)
    assert (folder / "features-00001.safetensors").stat().st_mtime_ns == before
    assert len(calls) == 4
    assert bytes_of(folder) == bytes_of(tmp_path / "whole")


def test_other_features_are_not_mixed_in(loaded_model: Any, extract: Any, tmp_path: Path) -> None:
    """A folder keeps what it was begun with; one where nothing came of it may be begun anew."""
    loaded = loaded_model("llama")
    with pytest.raises(StratascopeError, match="position 9 is outside its 3 tokens"):
        extract(loaded, tmp_path, ["The end."], position=9)
    extract(loaded, tmp_path, ROWS, part=(1, 2), **ASKED)
    for _ in range(2):
        with pytest.raises(StratascopeError, match=r"holds other features .*choose another folder"):
            extract(loaded, tmp_path, ROWS, position="mean", **ASKED)
        extract(loaded, tmp_path, ROWS, **ASKED)
    (tmp_path / "run.json").write_text('{"format": "stratascope-run-1", "digest": "0"}')
    with pytest.raises(StratascopeError, match="holds other features"):
        extract(loaded, tmp_path, ROWS, **ASKED)


@pytest.mark.parametrize("allowed", [40, 20])
def test_out_of_memory_halves_the_batches(
    loaded_model: Any, extract: Any, tmp_path: Path, monkeypatch: Any, allowed: int
) -> None:
    """No row is lost, the new size is recorded and kept, and the bytes are those of that size."""
    loaded = loaded_model("llama")
    monkeypatch.setattr(extraction, "token_budget", lambda *_, **__: 64)
    original, sizes = making.make_inputs, []

    def scarce(loaded: Any, texts: Any) -> Any:
        inputs = original(loaded, texts)
        sizes.append(inputs.ids.numel())
        if inputs.ids.numel() > allowed:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"
            )
        return inputs

    monkeypatch.setattr(making, "make_inputs", scarce)
    said: list[str] = []
    found = extract(loaded, tmp_path / "scarce", ROWS, said=said, **ASKED)
    halved = {40: 32, 20: 16}[allowed]
    assert found.info["batches"] == {
        "token_budget": halved,
        "lowered": {40: 1, 20: 2}[allowed],
    }
    assert sum("out of memory" in line for line in said) == found.info["batches"]["lowered"]
    assert found.index.column("text").to_pylist() == TEXTS
    monkeypatch.setattr(making, "make_inputs", original)
    monkeypatch.setattr(extraction, "token_budget", lambda *_, **__: halved)
    small = extract(loaded, tmp_path / "small", ROWS, **ASKED)
    assert [s["sha256"] for s in small.info["shards"]] == [
        s["sha256"] for s in found.info["shards"]
    ]
    monkeypatch.setattr(making, "make_inputs", scarce)
    allowed = 16
    with pytest.raises(StratascopeError, match="line 5, 17 tokens, does not fit into memory"):
        extract(loaded, tmp_path / "none", ROWS, **ASKED)


def test_errors_of_the_model_are_not_taken_for_lack_of_memory(
    loaded_model: Any, extract: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """Only an allocation that failed is tried again in smaller batches."""

    def broken(*_: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(making, "make_inputs", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        extract(loaded_model("llama"), tmp_path, ROWS)
    assert {path.name for path in tmp_path.iterdir()} == {".extraction.json"}


@pytest.mark.slow
def test_compiled_layers_give_the_same(loaded_model: Any, extract: Any, tmp_path: Path) -> None:
    """torch.compile changes the last digits at most, and leaves the model as it was."""
    loaded = loaded_model("llama")
    asked = {"position": "all", "modules": ("model.layers.1.self_attn.q_proj",)}
    plain = extract(loaded, tmp_path / "plain", TEXTS, **asked)
    try:
        fast = extract(loaded, tmp_path / "fast", TEXTS, compiled=True, **asked)
    except (RuntimeError, torch._inductor.exc.InductorError) as error:
        pytest.skip(f"no compiler here: {error}")
    for name in plain.names:
        np.testing.assert_allclose(fast.matrix(name), plain.matrix(name), rtol=1e-5, atol=1e-5)
    assert "forward" not in vars(loaded.model.model.layers[0])
    with pytest.raises(StratascopeError, match="compile: something is read inside of every layer"):
        extract(loaded, tmp_path / "none", TEXTS, sites=("q",), compiled=True)
