"""The final norm and the head alone, read from a checkpoint's files, against the model itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp

from stratascope.analyses.readout import End
from stratascope.capture.families import FAMILIES
from stratascope.capture.weights import open_weights
from stratascope.errors import StratascopeError
from stratascope.study.readouts import ENDINGS, plan_of

DECODERS = (
    "llama", "qwen2", "qwen3", "mistral", "mixtral", "qwen2_moe", "qwen3_moe", "gemma", "gemma2",
    "gemma3", "gemma3_images", "phi", "phi3", "gpt2", "gpt_neox", "gptj", "opt", "opt_post", "bloom",
    "falcon", "falcon_alibi", "olmo2", "stablelm",
)  # fmt: skip


def end_of(loaded: Any) -> End:
    return End.of(*open_weights(loaded.checkpoint))


@torch.no_grad()
def last_and_logits(loaded: Any) -> tuple[np.ndarray, np.ndarray]:
    """The last layer's output for some tokens, and the model's logits."""
    ids = torch.tensor([[5, 60, 7, 300, 41, 12]])
    kept: list[torch.Tensor] = []

    def keep(_: Any, __: Any, out: Any) -> None:
        kept.append(out[0] if isinstance(out, tuple) else out)

    layer = loaded.model.get_submodule(loaded.family.layers)[-1]
    handle = layer.register_forward_hook(keep)
    logits = loaded.model(ids, use_cache=False).logits[0]
    handle.remove()
    return kept[0].reshape(6, -1).numpy(), logits.numpy()


@pytest.mark.parametrize("name", DECODERS)
def test_the_last_layer_gives_the_models_logits(loaded_model: Any, name: str) -> None:
    """Norm, head, biases, caps and tied embeddings are those of every architecture, to 1e-5."""
    loaded = loaded_model(f"{name}+chat")
    last, logits = last_and_logits(loaded)
    end = end_of(loaded)
    assert end.layers == loaded.layers
    found = end.readout.logits(last)
    assert np.abs(found - logits).max() <= 1e-5 * max(1, np.abs(logits).max())
    some = end.readout_of([3, 370])
    assert np.allclose(some.logits(last), found[:, [3, 370]], atol=1e-5)


def test_the_table_of_endings_agrees_with_that_of_families(loaded_model: Any) -> None:
    """Every family with a head has an ending, whose norm, embedding, layers and projection it names."""
    assert set(ENDINGS) == {kind for kind, family in FAMILIES.items() if not family.encoder}
    for kind, ending in ENDINGS.items():
        family = FAMILIES[kind]
        assert (ending.norm, ending.embed) == (family.norm, family.embed)
        assert (ending.layers, ending.o) == (family.layers, family.o)
        normed = family.attn_out if "layernorm" in str(family.attn_out) else None
        assert ending.post == normed


def test_the_defaults_are_those_of_transformers() -> None:
    """Where config.json leaves out the norm's epsilon or the soft cap, transformers' values hold."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    for kind, ending in ENDINGS.items():
        config = CONFIG_MAPPING[kind]()
        text = config.get_text_config()
        plan = plan_of({"model_type": kind, "text_config": {}, "vision_config": {}}, "test")
        key, _ = ending.eps
        assert plan.eps == (getattr(text, key) if key else 1e-5), kind
        assert plan.shape.tied == config.tie_word_embeddings, kind
        assert plan.cap == getattr(text, "final_logit_softcapping", None), kind


@pytest.mark.parametrize("name", ["bert", "mpnet"])
def test_an_encoder_has_nothing_to_read_by(loaded_model: Any, name: str) -> None:
    """A model without a head is refused by name, in one line."""
    with pytest.raises(StratascopeError, match=f"a {name} is an encoder, loaded without a head"):
        end_of(loaded_model(f"{name}+chat"))


def test_an_unknown_architecture_names_the_known_ones() -> None:
    """A model type that the table lacks is an error that lists those it has."""
    with pytest.raises(
        StratascopeError, match=r"'mamba' makes logits is not known .*bloom, falcon"
    ):
        plan_of({"model_type": "mamba"}, "here")


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("form", ["shards", "bin", "dcp", "bare"])
def test_other_files_give_the_same(loaded_model: Any, tmp_path: Path, form: str) -> None:
    """Shards, torch.save, distributed checkpoints and names without a prefix give the same numbers."""
    loaded = loaded_model("gpt2+chat")
    expected = end_of(loaded).readout
    model = loaded.model if form != "bare" else loaded.model.transformer
    model.save_pretrained(tmp_path, max_shard_size="20KB" if form == "shards" else "5GB")
    if form == "bin":
        (tmp_path / "model.safetensors").unlink()
        torch.save(loaded.model.state_dict(), tmp_path / "pytorch_model.bin")
    if form == "dcp":
        (tmp_path / "model.safetensors").unlink()
        dcp.save({"model": loaded.model.state_dict()}, checkpoint_id=tmp_path, no_dist=True)
    if form == "shards":
        assert (tmp_path / "model.safetensors.index.json").is_file()
    tied = json.loads((Path(loaded.checkpoint.source) / "config.json").read_text())
    tied["tie_word_embeddings"] = form == "bare"
    (tmp_path / "config.json").write_text(json.dumps(tied))
    found = End.of(*open_weights(replace(loaded.checkpoint, source=str(tmp_path)))).readout
    if form == "bare":  # the head is then the embedding
        embedding = loaded.model.get_input_embeddings().weight.numpy()
        assert np.array_equal(found.head, embedding)
    else:
        assert np.array_equal(found.head, expected.head)
    assert np.array_equal(found.norm.weight, expected.norm.weight)


def test_missing_weights_are_named(loaded_model: Any, tmp_path: Path) -> None:
    """Files without the head, and a folder without weights, say what is missing."""
    loaded = loaded_model("llama+chat")
    loaded.model.model.save_pretrained(tmp_path)
    config = (Path(loaded.checkpoint.source) / "config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    here = replace(loaded.checkpoint, source=str(tmp_path))
    with pytest.raises(StratascopeError, match=r"its files lack lm_head\.weight"):
        _ = End.of(*open_weights(here)).readout
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(StratascopeError, match="damaged or cut; copy the model again"):
        open_weights(here)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(StratascopeError, match="holds no weights"):
        open_weights(here)
