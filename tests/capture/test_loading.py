from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from stratascope.capture.layers import outline
from stratascope.capture.loading import load, pick_device
from stratascope.capture.run import capture_run
from stratascope.errors import StratascopeError
from stratascope.study.schema import Model


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
    assert f"lacks the weights {name}, or has them in another shape" in message(checkpoint(folder))


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


def write_gguf(path: Path, model: Any, tokenizer: Any) -> None:
    """The model and its tokenizer as a GGUF file, as llama.cpp's converter names things."""
    sizes = model.config
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(sizes.max_position_embeddings)
    writer.add_embedding_length(sizes.hidden_size)
    writer.add_block_count(sizes.num_hidden_layers)
    writer.add_feed_forward_length(sizes.intermediate_size)
    writer.add_head_count(sizes.num_attention_heads)
    writer.add_head_count_kv(sizes.num_key_value_heads)
    writer.add_layer_norm_rms_eps(sizes.rms_norm_eps)
    writer.add_rope_freq_base(sizes.rope_parameters["rope_theta"])
    writer.add_vocab_size(sizes.vocab_size)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokenizer.convert_ids_to_tokens(list(range(sizes.vocab_size))))
    writer.add_token_types([3] * 4 + [1] * (sizes.vocab_size - 4))
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, sizes.num_hidden_layers)
    for name, weight in model.state_dict().items():
        module, kind = name.rsplit(".", 1)
        writer.add_tensor(f"{names.get_name(module)}.{kind}", weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_is_captured_like_its_model(
    loaded_model: Any, checkpoint: Any, make_run: Any, tmp_path: Path, capfd: Any
) -> None:
    """Weights, tokenizer and template out of one GGUF file give the run of the original model."""
    original = loaded_model("qwen2+chat")
    write_gguf(tmp_path / "tiny.gguf", original.model, original.tokenizer)
    capfd.readouterr()
    loaded = load(checkpoint(tmp_path, gguf_file="tiny.gguf"))
    assert capfd.readouterr() == ("", "")
    tensors = []
    for name, model in (("a", original), ("b", loaded)):
        (tmp_path / name).mkdir()
        capture_run(model, make_run(model), tmp_path / name)
        tensors.append(load_file(tmp_path / name / "activations.safetensors"))
    assert set(tensors[0]) == set(tensors[1])
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], tensor, rtol=1e-4, atol=1e-5)


def test_layers_shows_modules_and_sites_without_weights(folder: Path) -> None:
    """The tree needs only the config; repeated layers are folded; each site names its module."""
    (folder / "model.safetensors").unlink()
    tree, sites = outline(Model(id=str(folder)), Path())
    assert "0..2: LlamaDecoderLayer" in tree
    assert tree.count("q_proj: Linear 32 x 32") == 1
    rows = {row["site"]: row for row in sites}
    assert rows["mlp_act"]["module"] == "model.layers.N.mlp.down_proj"
    assert rows["mlp_act"]["read"] == "input"
    assert rows["hidden_out"]["module"] == "model.layers.N"
    assert rows["logits"]["module"] == "lm_head"
