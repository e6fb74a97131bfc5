"""Distributed checkpoints: a folder of torch.distributed.checkpoint gives the model that was saved."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from transformers import AutoModel, AutoModelForCausalLM

from stratascope.capture.generation import end_tokens
from stratascope.capture.loading import load
from stratascope.errors import StratascopeError
from stratascope.store.identity import identify

# Saving alone, which is what these tests mean to do, is warned of.
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
NAME = "model.layers.1.mlp.up_proj.weight"


def config_of(folders: Any, name: str, folder: Path) -> Path:
    """A model's folder without its weights."""
    return Path(
        shutil.copytree(folders(name), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    )


def weights_of(folders: Any, name: str) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(folders(name))
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def save(state: dict[str, Any], folder: Path) -> None:
    dcp.save(state, checkpoint_id=folder, no_dist=True)


@pytest.fixture
def folder(folders: Any, tmp_path: Path) -> Path:
    """A Llama's config and tokenizer with its weights as a distributed checkpoint."""
    here = config_of(folders, "llama", tmp_path / "step-100")
    save({"model": weights_of(folders, "llama")}, here)
    return here


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(torch.arange(5, 40)[None]).logits
    return out


def refused(checkpoint: Any) -> str:
    with pytest.raises(StratascopeError) as caught:
        load(checkpoint)
    text = str(caught.value)
    assert "\n" not in text
    return text


def optimizer_of(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    moments = {name: {"exp_avg": torch.ones_like(tensor)} for name, tensor in state.items()}
    return {"state": moments, "param_groups": [{"lr": 0.1}]}


SHAPES: dict[str, Any] = {
    "plain": lambda state: state,
    "model": lambda state: {"model": state, "optimizer": optimizer_of(state), "step": 7},
    "state_dict": lambda state: {"state_dict": state},
    "nested": lambda state: {"app": {"model": state, "optim": optimizer_of(state)}},
    "compiled": lambda state: {"model": {f"_orig_mod.{k}": v for k, v in state.items()}},
    "layers_compiled": lambda state: {
        k.replace(".mlp.", "._orig_mod.mlp."): v for k, v in state.items()
    },
    "data_parallel": lambda state: {f"module.{k}": v for k, v in state.items()},
    "averaged": lambda state: {"ema": {k: v + 1 for k, v in state.items()}, "model": state},
}


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_the_same_model_whatever_stands_before_its_names(
    folders: Any, checkpoint: Any, tmp_path: Path, shape: str, capfd: Any
) -> None:
    """Logits are those of the saved model bit for bit, without any process group and in silence."""
    here = config_of(folders, "llama", tmp_path / "step")
    save(SHAPES[shape](weights_of(folders, "llama")), here)
    capfd.readouterr()
    loaded = load(checkpoint(here))
    assert capfd.readouterr() == ("", "")
    assert not torch.distributed.is_initialized()
    expected = load(checkpoint(folders("llama")))
    assert torch.equal(logits(loaded.model), logits(expected.model))
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_precision_is_as_from_other_files(
    folder: Path, folders: Any, checkpoint: Any, dtype: str
) -> None:
    """Weights are rounded to the model's type as those of a safetensors file are, buffers as well."""
    models = [load(checkpoint(f, dtype=dtype)).model for f in (folder, folders("llama"))]
    for kind in ("named_parameters", "named_buffers"):
        ours, theirs = (dict(getattr(model, kind)()) for model in models)
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            assert tensor.dtype == theirs[name].dtype, name
            assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("name", ["mixtral", "gpt2", "gemma", "falcon"])
def test_other_architectures(folders: Any, checkpoint: Any, tmp_path: Path, name: str) -> None:
    """Fused experts, transposed weights and tied embeddings, saved once or twice, come back exactly."""
    expected = load(checkpoint(folders(name))).model
    state = weights_of(folders, name)
    if expected.config.tie_word_embeddings:
        del state["lm_head.weight"]
    here = config_of(folders, name, tmp_path / "step")
    save({"model": state}, here)
    assert torch.equal(logits(load(checkpoint(here)).model), logits(expected))


def test_an_encoder_out_of_its_training_model(
    folders: Any, checkpoint: Any, tmp_path: Path
) -> None:
    """An encoder is found below the name that a model with a head gives it."""
    expected = load(checkpoint(folders("bert"))).model
    state = AutoModel.from_pretrained(folders("bert"), add_pooling_layer=False).state_dict()
    here = config_of(folders, "bert", tmp_path / "step")
    head = {"cls.predictions.bias": torch.zeros(3)}
    save({f"bert.{k}": v for k, v in state.items()} | head, here)
    loaded = load(checkpoint(here)).model
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.parameters(), expected.parameters(), strict=True)
    )


SHARDED = """
import sys, torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM

source, folder = sys.argv[1:]
torch.distributed.init_process_group("gloo")
model = AutoModelForCausalLM.from_pretrained(source)
mesh = init_device_mesh("cpu", (2,))
for layer in model.model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
model(torch.arange(5, 9)[None]).logits.sum().backward()
optimizer.step()
state, moments = get_state_dict(model, optimizer)
dcp.save({"model": state, "optim": moments}, checkpoint_id=folder)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_shards_of_several_processes(folders: Any, checkpoint: Any, tmp_path: Path) -> None:
    """What two processes save with FSDP, optimizer and all, is put together by one."""
    here = config_of(folders, "llama", tmp_path / "step")
    (tmp_path / "train.py").write_text(SHARDED)
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [str(tmp_path / "train.py"), str(folders("llama")), str(here)]
    subprocess.run([sys.executable, *run, *arguments], check=True, capture_output=True)
    assert len(list(here.glob("*.distcp"))) == 2
    expected = load(checkpoint(folders("llama"))).model
    assert torch.equal(logits(load(checkpoint(here)).model), logits(expected))


def test_in_a_folder_below(folder: Path, checkpoint: Any) -> None:
    """The one sub-folder with `.metadata` serves as well; of two, none is guessed."""
    expected = logits(load(checkpoint(folder)).model)
    parts = [folder / ".metadata", *folder.glob("*.distcp")]
    (folder / "model").mkdir()
    for part in parts:
        part.rename(folder / "model" / part.name)
    assert torch.equal(logits(load(checkpoint(folder)).model), expected)
    shutil.copytree(folder / "model", folder / "optim")
    assert "holds several distributed checkpoints (model, optim)" in refused(checkpoint(folder))


def test_weights_of_its_own_come_first(folder: Path, folders: Any, checkpoint: Any) -> None:
    """A folder with safetensors beside the distributed files is loaded from the safetensors."""
    shutil.copy(folders("llama") / "model.safetensors", folder)
    (folder / ".metadata").write_bytes(b"")
    load(checkpoint(folder))


def test_what_ends_a_generation_is_read(folder: Path, checkpoint: Any) -> None:
    """generation_config.json counts, as it does beside other weights."""
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 9]}))
    assert {5, 9} <= end_tokens(load(checkpoint(folder)))


def test_weights_that_are_missing_or_misshapen_are_refused(
    folders: Any, checkpoint: Any, tmp_path: Path
) -> None:
    """Random numbers never stand in for weights; the first of them is named."""
    state = weights_of(folders, "llama")
    for case, changed in {
        "missing": {k: v for k, v in state.items() if k != NAME},
        "misshapen": state | {NAME: torch.zeros(3, 3)},
    }.items():
        here = config_of(folders, "llama", tmp_path / case)
        save({"model": changed}, here)
        told = f"lacks the weights {NAME}, or has them in another shape"
        assert told in refused(checkpoint(here))
    here = config_of(folders, "llama", tmp_path / "other")
    save({"decoder": {"w": torch.zeros(2)}}, here)
    assert "holds none of the model's weights, but decoder.w" in refused(checkpoint(here))


@pytest.mark.parametrize("damage", ["cut", "garbage", "gone", "contents"])
def test_damaged_files_are_one_line(folder: Path, checkpoint: Any, damage: str) -> None:
    """A shard that is cut, overwritten or gone, and a broken table of contents, name the folder."""
    (shard,) = folder.glob("*.distcp")
    raw = shard.read_bytes()
    if damage == "cut":
        shard.write_bytes(raw[: len(raw) // 2])
    elif damage == "garbage":
        shard.write_bytes(b"x" * len(raw))
    elif damage == "gone":
        shard.unlink()
    else:
        (folder / ".metadata").write_bytes(b"nothing")
    assert str(folder) in refused(checkpoint(folder))


def test_a_table_of_contents_runs_nothing(
    folder: Path, checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manipulated `.metadata`, which is a pickle, is refused before it runs what it asks for."""

    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(folder / "harm"),)

    (folder / ".metadata").write_bytes(pickle.dumps(Harm()))
    assert "mkdir, which no checkpoint needs" in refused(checkpoint(folder))
    assert not (folder / "harm").exists()


def test_a_changed_shard_is_another_checkpoint(folder: Path) -> None:
    """Every byte of the shards and of the table of contents is part of the identity."""
    before = identify(folder)
    (shard,) = folder.glob("*.distcp")
    for path in (shard, folder / ".metadata"):
        raw = path.read_bytes()
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        assert identify(folder) != before
        path.write_bytes(raw)
    assert identify(folder) == before
