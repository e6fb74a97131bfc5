"""Encoders: their sites, against their weights and transformers; and that they do not generate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel
from transformers.activations import ACT2FN

from stratascope.capture.generation import generate
from stratascope.capture.layers import outline
from stratascope.capture.recorder import record
from stratascope.capture.run import capture_run, plan_bytes
from stratascope.capture.sites import capture_taps
from stratascope.errors import StratascopeError
from stratascope.study.schema import Capture, Generation, Model

NAMES = ["bert", "roberta", "mpnet"]
IDS = torch.tensor([[0, 17, 33, 5, 80, 41, 9, 2]])


@pytest.fixture(params=NAMES, scope="module")
def done(request: Any, loaded_model: Any) -> Any:
    """The name, the model, and every site of one forward pass."""
    loaded, tensors = loaded_model(request.param), {}
    taps = capture_taps(loaded.model, loaded.family, Capture(logits=False), range(loaded.layers))

    def keep(names: tuple[str, ...], tensor: torch.Tensor) -> None:
        tensors.update(dict.fromkeys(names, tensor.clone()))

    with torch.no_grad(), record(loaded.model, taps, keep) as recording:
        loaded.model(IDS)
        recording.check_pass(IDS.shape[1])
    return request.param, loaded, tensors


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert a.shape == b.shape
    assert (a - b).abs().max() <= 2e-5 * b.abs().max().clamp(min=1)


@torch.no_grad()
def test_sites_follow_from_the_weights(done: Any) -> None:
    """Attention, MLP and both norms on the stream, recomputed, are what the sites hold."""
    name, loaded, tensors = done
    for i, layer in enumerate(loaded.model.encoder.layer):
        t = {n.split("/")[1]: x for n, x in tensors.items() if n.startswith(f"layer_{i:02d}/")}
        assert "mlp_gate" not in t
        mpnet = name == "mpnet"
        own = layer.attention.attn if mpnet else layer.attention.self
        for part, long in zip("qkv", ("query", "key", "value"), strict=True):
            close(t[part], getattr(own, part if mpnet else long)(t["hidden_in"]))
        weights = t["attn_weights"]
        assert (weights.sum(-1) - 1).abs().max() < 1e-5
        assert not torch.equal(weights, weights.tril())
        mixed = torch.einsum("hts,shd->thd", weights, t["v"].view(-1, 4, 8)).flatten(1)
        project = own.o if mpnet else layer.attention.output.dense
        close(t["attn_out"], project(mixed))
        norm = layer.attention.LayerNorm if mpnet else layer.attention.output.LayerNorm
        middle = norm(t["hidden_in"] + t["attn_out"])
        close(t["mlp_up"], layer.intermediate.dense(middle))
        close(t["mlp_act"], ACT2FN[loaded.config.hidden_act](t["mlp_up"]))
        close(t["mlp_down_out"], layer.output.dense(t["mlp_down_in"]))
        close(t["hidden_out"], layer.output.LayerNorm(middle + t["mlp_down_out"]))


@torch.no_grad()
def test_states_and_weights_are_those_of_transformers(done: Any, folders: Any) -> None:
    """Hidden states and attention weights equal eager transformers on the same file."""
    name, loaded, tensors = done
    plain = AutoModel.from_pretrained(folders(name), attn_implementation="eager").eval()
    out = plain(IDS, output_hidden_states=True, output_attentions=True)
    close(tensors["embeddings"], plain.get_input_embeddings()(IDS)[0])
    for i in range(loaded.layers):
        close(tensors[f"layer_{i:02d}/hidden_in"], out.hidden_states[i][0])
        close(tensors[f"layer_{i:02d}/hidden_out"], out.hidden_states[i + 1][0])
        close(tensors[f"layer_{i:02d}/attn_weights"], out.attentions[i][0])


def test_an_encoder_does_not_generate(loaded_model: Any, make_run: Any, tmp_path: Path) -> None:
    """A scenario on an encoder is refused before anything is written, and says what it is for."""
    loaded = loaded_model("bert")
    run = make_run(loaded)
    for function in (
        lambda: plan_bytes(loaded, run),
        lambda: capture_run(loaded, run, tmp_path),
        lambda: next(generate(loaded, [1, 2], Generation())),
    ):
        with pytest.raises(StratascopeError, match=r"bert is an encoder.* use it for datasets"):
            function()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_layers_lists_the_sites_that_an_encoder_has(folders: Any, name: str) -> None:
    """`stratascope layers` works from the config alone; no logits, no gate, no final norm."""
    _, rows = outline(Model(id=str(folders(name))), Path())
    sites = {row["site"]: row for row in rows}
    assert not {"logits", "mlp_gate", "final_norm", "router_logits"} & set(sites)
    assert sites["hidden_out"]["module"] == "encoder.layer.N"
    assert {"q", "k", "v", "attn_weights", "mlp_act"} <= set(sites)


def test_the_context_counts_what_padding_takes(loaded_model: Any, folders: Any) -> None:
    """RoBERTa's positions begin behind the padding token, so 514 of them are 512 tokens."""
    config = json.loads((folders("roberta") / "config.json").read_text())
    assert config["max_position_embeddings"] == 514
    assert [loaded_model(name).context for name in NAMES] == [512, 512, 512]
    model = loaded_model("roberta").model
    model(torch.full((1, 512), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 513), 5))
