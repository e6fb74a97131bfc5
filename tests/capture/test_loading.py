from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from stratascope.capture.loading import load, load_skeleton, pick_device
from stratascope.capture.run import capture_run
from stratascope.capture.tree import site_rows, tree_of
from stratascope.errors import StratascopeError


@pytest.fixture
def folder(folders: Any, tmp_path: Path) -> Path:
    """A saved model to damage."""
    return Path(shutil.copytree(folders("llama"), tmp_path / "model"))


def message(checkpoint: Any) -> str:
    with pytest.raises(StratascopeError) as caught:
        load(checkpoint)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_loading_is_quiet_frozen_and_offline(
    folder: Path, checkpoint: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """A local folder loads in evaluation mode, in its dtype, without a word or a connection."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    verbosity = transformers_logging.get_verbosity()
    loaded = load(checkpoint(folder, dtype="bfloat16"))
    assert not loaded.model.training
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert (loaded.layers, loaded.context, loaded.device.type) == (3, 512, "cpu")
    assert transformers_logging.get_verbosity() == verbosity
    assert capfd.readouterr() == ("", "")


def test_missing_folder_and_files_are_named(folder: Path, checkpoint: Any, tmp_path: Path) -> None:
    """What is not there is named: the folder, its config, its weights, its GGUF file."""
    assert "no model folder" in message(checkpoint(tmp_path / "nothing"))
    assert "holds no x.gguf (model.gguf_file)" in message(checkpoint(folder, gguf_file="x.gguf"))
    (folder / "model.safetensors").unlink()
    assert "cannot load the weights" in message(checkpoint(folder))
    (folder / "config.json").unlink()
    assert "holds no config.json" in message(checkpoint(folder))


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_damaged_weights_are_one_line(folder: Path, checkpoint: Any, damage: str) -> None:
    """A damaged safetensors file is an error of one line with the folder and what to check."""
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    path.write_bytes(
        {"truncated": raw[: len(raw) // 2], "garbage": b"x" * 500, "empty": b""}[damage]
    )
    text = message(checkpoint(folder))
    assert text.startswith(f"model: cannot load the weights of {folder}: ")
    assert text.endswith("are its files complete and undamaged?")


def test_weights_that_are_missing_or_misshapen_are_refused(folder: Path, checkpoint: Any) -> None:
    """Random numbers never stand in for weights that the files lack or have in another shape."""
    path = folder / "model.safetensors"
    weights = {name: tensor.clone() for name, tensor in load_file(path).items()}
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({k: v for k, v in weights.items() if k != name}, path, {"format": "pt"})
    assert f"lacks the weights {name}, or has them in another shape" in message(checkpoint(folder))
    save_file(weights | {name: torch.zeros(3, 3)}, path, {"format": "pt"})
    assert "model" in message(checkpoint(folder))


def test_unknown_types_and_broken_configs(folder: Path, checkpoint: Any) -> None:
    """A model type that transformers does not know, and a broken config, are said in one line."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "martian"}))
    text = message(checkpoint(folder))
    assert "martian" in text
    assert "a causal language model that transformers knows" in text
    (folder / "config.json").write_text("{")
    assert "cannot load the configuration" in message(checkpoint(folder))


def test_a_tokenizer_is_needed(folder: Path, checkpoint: Any) -> None:
    """Without its tokenizer a model is no use here."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "cannot load the tokenizer" in message(checkpoint(folder))


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuda without CUDA is an error; auto takes the best there is."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(StratascopeError, match=r"model\.device: cuda .* use auto"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == "cuda"


def test_device_map_gives_the_same_run(
    folder: Path, checkpoint: Any, make_run: Any, tmp_path: Path
) -> None:
    """A model placed by a device map is captured as one that was not."""
    results = []
    for name, fields in (("plain", {}), ("mapped", {"device_map": "auto"})):
        loaded = load(checkpoint(folder, **fields))
        (tmp_path / name).mkdir()
        capture_run(loaded, make_run(loaded), tmp_path / name)
        results.append((tmp_path / name / "activations.safetensors").read_bytes())
    assert results[0] == results[1]


def test_layers_shows_modules_and_sites_without_weights(folder: Path) -> None:
    """The tree needs only the config; repeated layers are folded; each site names its module."""
    (folder / "model.safetensors").unlink()
    spec = {"id": str(folder), "revision": None, "trust_remote_code": False}
    tree = tree_of(spec, Path())
    assert "0..2: LlamaDecoderLayer" in tree
    assert tree.count("q_proj: Linear 32 x 32") == 1
    rows = {row["site"]: row for row in site_rows(spec, Path())}
    assert rows["mlp_act"]["module"] == "model.layers.N.mlp.down_proj"
    assert rows["mlp_act"]["reads"] == "input"
    assert rows["hidden_out"]["module"] == "model.layers.N"
    assert rows["logits"]["module"] == "lm_head"


def test_every_site_of_the_table_is_a_module(folder: Path, checkpoint: Any) -> None:
    """The paths of the family are modules of the model."""
    from stratascope.capture.families import LLAMA

    skeleton = load_skeleton(checkpoint(folder))
    top = {"layers", "embed", "norm", "head"}
    for part, path in LLAMA.paths().items():
        skeleton.get_submodule(path if part in top else f"{LLAMA.layers}.2.{path}")
