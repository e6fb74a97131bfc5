"""Each architecture's sites, against what its weights and transformers itself compute."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers.activations import ACT2FN

from stratascope.capture import packing
from stratascope.capture.families import FAMILIES
from stratascope.capture.run import capture_run
from stratascope.capture.snapshots import choose_packs, find_target, read_states

# The norm in front of the attention, and those on its contribution and on the MLP's.
PRE, POST = "input_layernorm", ("post_attention_layernorm", "post_feedforward_layernorm")
NORMS: dict[str, tuple[str | None, tuple[str, str] | None]] = {
    "llama": (PRE, None),
    "qwen2": (PRE, None),
    "qwen3": (PRE, None),
    "mistral_window": (PRE, None),
    "mixtral": (PRE, None),
    "qwen2_moe": (PRE, None),
    "qwen3_moe": (PRE, None),
    "gemma": (PRE, None),
    "gemma2": (PRE, POST),
    "gemma2_window": (PRE, POST),
    "gemma3": (PRE, POST),
    "gemma3_images": (PRE, POST),
    "phi": (PRE, None),
    "phi3": (PRE, None),
    "gpt2": ("ln_1", None),
    "gpt_neox": (PRE, None),
    "gpt_neox_serial": (PRE, None),
    "gptj": ("ln_1", None),
    "opt": ("self_attn_layer_norm", None),
    "opt_post": (None, None),
    "bloom": (PRE, None),
    "bloom_post": (PRE, None),
    "falcon": (PRE, None),
    "falcon_new": ("ln_attn", None),
    "falcon_heads": (PRE, None),
    "falcon_alibi": (PRE, None),
    "olmo2": (None, POST),
    "stablelm": (PRE, None),
    "stablelm_parallel": (PRE, None),
}
LONE = {"opt_post", "mistral_window", "gemma2_window", "bloom", "bloom_post", "falcon_alibi"}


@pytest.fixture(params=NORMS, scope="module")
def done(request: Any, loaded_model: Any, make_run: Any, tmp_path_factory: Any) -> Any:
    """A run with everything captured: the name, the model, its tensors, and the tokens it read."""
    name, folder = request.param, tmp_path_factory.mktemp("done")
    loaded = loaded_model(f"{name}+chat")
    run = make_run(loaded, attention_weights=name != "falcon_alibi")
    capture_run(loaded, run, folder)
    info = json.loads((folder / "run.json").read_text())
    fed = info["prompt_token_ids"] + info["generated_token_ids"][:-1]
    return name, loaded, load_file(folder / "activations.safetensors"), torch.tensor([fed])


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 2e-5) -> None:
    assert a.shape == b.shape
    assert (a - b).abs().max() <= tolerance * b.abs().max().clamp(min=1)


def each_layer(loaded: Any, tensors: dict[str, torch.Tensor]) -> Any:
    for i in range(loaded.layers):
        front = f"layer_{i:02d}/"
        sites = {n.removeprefix(front): x for n, x in tensors.items() if n.startswith(front)}
        yield loaded.model.get_submodule(loaded.family.layers)[i], sites


def test_every_family_is_tested(loaded_model: Any) -> None:
    """No model type stands in the table without the tests below."""
    tested = {loaded_model(f"{name}+chat").model.config.model_type for name in NORMS}
    encoders = {kind for kind, family in FAMILIES.items() if family.encoder}
    assert tested | encoders == set(FAMILIES)


@torch.no_grad()
def test_hidden_states_are_those_of_transformers(done: Any) -> None:
    """Prefill and decode steps give what one pass over all tokens gives, at every layer."""
    _, loaded, tensors, ids = done
    out = loaded.model(ids, output_hidden_states=True, use_cache=False)
    for i in range(loaded.layers):
        close(tensors[f"layer_{i:02d}/hidden_in"], out.hidden_states[i][0])
        if i:
            close(tensors[f"layer_{i - 1:02d}/hidden_out"], out.hidden_states[i][0])
    close(tensors["logits"], out.logits[0])
    token = loaded.model.get_input_embeddings()(ids)[0]
    close(tensors["embeddings"], token)


@torch.no_grad()
def test_the_residual_stream_adds_up(done: Any) -> None:
    """What attention and MLP contribute makes hidden_out of hidden_in, parallel, post-norm or not."""
    name, loaded, tensors, _ = done
    for layer, t in each_layer(loaded, tensors):
        if name == "opt_post":  # norms the stream itself
            middle = layer.self_attn_layer_norm(t["hidden_in"] + t["attn_out"])
            close(t["hidden_out"], layer.final_layer_norm(middle + t["mlp_down_out"]))
        elif name == "bloom_post":  # goes on with what its norms give
            middle = layer.input_layernorm(t["hidden_in"]) + t["attn_out"]
            close(t["hidden_out"], layer.post_attention_layernorm(middle) + t["mlp_down_out"])
        else:
            close(t["hidden_out"], t["hidden_in"] + t["attn_out"] + t["mlp_down_out"])
        assert not torch.equal(t["attn_out"], t["mlp_down_out"])


@torch.no_grad()
def test_final_norm_and_head_give_the_logits(done: Any) -> None:
    """The last hidden state through the final norm, the head and a soft cap is the logits."""
    name, loaded, tensors, _ = done
    last = tensors[f"layer_{loaded.layers - 1:02d}/hidden_out"]
    if name == "opt_post":  # the one model without a final norm
        assert "final_norm" not in tensors
        last = loaded.model.model.decoder.project_out(last)
    else:
        last = loaded.model.get_submodule(loaded.family.norm)(last)
        close(tensors["final_norm"], last)
    logits = loaded.model.get_output_embeddings()(last)
    if name in ("gemma2", "gemma2_window", "gemma3"):  # gemma3 with images ignores its cap
        assert loaded.config.final_logit_softcapping == 3
        logits = 3 * torch.tanh(logits / 3)
    close(tensors["logits"], logits)


def heads(config: Any, name: str) -> tuple[int, int, int]:
    query = config.num_attention_heads
    shared = {"falcon": 1, "falcon_new": 2}.get(name) or (
        getattr(config, "num_key_value_heads", None) or query
    )
    return query, shared, getattr(config, "head_dim", None) or config.hidden_size // query


@torch.no_grad()
def test_weights_and_values_give_the_attention(done: Any) -> None:
    """Weights sum to one, see no future, and with the values and the projection give attn_out."""
    name, loaded, tensors, ids = done
    query, shared, width = heads(loaded.config, name)
    tokens = ids.shape[1]
    for layer, t in each_layer(loaded, tensors):
        assert t["q"].shape == (tokens, query * width)
        assert t["k"].shape == t["v"].shape == (tokens, shared * width)
        if name == "falcon_alibi":
            assert "attn_weights" not in t
            continue
        weights = t["attn_weights"]
        assert weights.shape == (query, tokens, tokens)
        assert (weights.sum(-1) - 1).abs().max() < 1e-5
        assert torch.equal(weights, weights.tril())
        values = t["v"].view(tokens, shared, width).repeat_interleave(query // shared, 1)
        mixed = torch.einsum("hts,shd->thd", weights, values).flatten(1)
        out = layer.get_submodule(loaded.family.o)(mixed)
        post = NORMS[name][1]
        close(t["attn_out"], layer.get_submodule(post[0])(out) if post else out)


@torch.no_grad()
def test_attention_weights_equal_eager(done: Any) -> None:
    """Weights are those of transformers' eager attention, to 1e-5."""
    name, loaded, tensors, ids = done
    if name == "falcon_alibi":
        pytest.skip("transformers gives none that are right")
    config = copy.deepcopy(loaded.model.config)
    model = type(loaded.model)._from_config(config, attn_implementation="eager")
    model.load_state_dict(loaded.model.state_dict())
    eager = model.eval()(ids, output_attentions=True, use_cache=False).attentions
    for i, expected in enumerate(eager):
        assert (tensors[f"layer_{i:02d}/attn_weights"] - expected[0]).abs().max() < 1e-5


def project(x: torch.Tensor, module: Any, rows: Any) -> torch.Tensor:
    """A linear map by the chosen rows of its weight, written out."""
    weight = module.weight.T if type(module).__name__ == "Conv1D" else module.weight
    bias = 0 if module.bias is None else module.bias[rows]
    return x @ weight[rows].T + bias


HEAD_BY_HEAD = ("bloom", "bloom_post", "falcon_heads", "falcon_alibi")


def fused_rows(name: str, query: int, shared: int, width: int) -> dict[str, torch.Tensor] | None:
    """Which rows of the fused weight make q, k and v, from each model's own description."""
    H, S = query * width, shared * width
    rows = torch.arange(H + 2 * S)
    if name in ("gpt2", "phi3", "falcon"):
        return {"q": rows[:H], "k": rows[H : H + S], "v": rows[H + S :]}
    if name.startswith("gpt_neox") or name in HEAD_BY_HEAD:
        per_head = rows.view(query, 3, width)
        return {part: per_head[:, i].flatten() for i, part in enumerate("qkv")}
    if name == "falcon_new":
        group = query // shared
        per_group = rows.view(shared, group + 2, width)
        q = torch.cat([per_group[g, i] for g in range(shared) for i in range(group)])
        return {"q": q, "k": per_group[:, group].flatten(), "v": per_group[:, group + 1].flatten()}
    return None


FUSED = ("self_attn.qkv_proj", "attn.c_attn", "query_key_value")


@torch.no_grad()
def test_q_k_v_follow_from_the_weights(done: Any) -> None:
    """q, k and v, fused or not, are hidden_in through the norm and the rows of the weight."""
    name, loaded, tensors, _ = done
    chosen = fused_rows(name, *heads(loaded.config, name))
    norm = NORMS[name][0]
    for layer, t in each_layer(loaded, tensors):
        x = layer.get_submodule(norm)(t["hidden_in"]) if norm else t["hidden_in"]
        modules = dict(layer.named_modules())
        fused = [m for path, m in modules.items() if path.endswith(FUSED)]
        assert len(fused) == (0 if chosen is None else 1)
        for part in "qkv":
            own = next((m for path, m in modules.items() if path.endswith(f"{part}_proj")), None)
            if chosen is not None:
                close(t[part], project(x, fused[0], chosen[part]))
            else:
                assert own is not None
                close(t[part], project(x, own, slice(None)))


ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function", "activation")


@torch.no_grad()
def test_the_mlp_follows_from_its_parts(done: Any) -> None:
    """act is gate and up through the activation; down and a post-norm make the contribution."""
    name, loaded, tensors, _ = done
    known = (getattr(loaded.config, key, None) for key in ACTIVATIONS)
    act = nn.GELU("tanh") if name.startswith("bloom") else ACT2FN[next(a for a in known if a)]
    gated = loaded.family.gate is not None
    for layer, t in each_layer(loaded, tensors):
        experts = "router_logits" in t
        assert ("mlp_gate" in t) == (gated and not experts)
        assert ("mlp_up" in t) == (not experts)
        if experts:
            continue
        close(t["mlp_act"], act(t["mlp_gate"]) * t["mlp_up"] if gated else act(t["mlp_up"]))
        assert torch.equal(t["mlp_act"], t["mlp_down_in"])
        out = layer.get_submodule(loaded.family.down)(t["mlp_down_in"])
        post = NORMS[name][1]
        close(t["mlp_down_out"], layer.get_submodule(post[1])(out) if post else out)


@pytest.mark.parametrize(
    ("name", "sparse"), [("mixtral", {0, 1, 2}), ("qwen2_moe", {1}), ("qwen3_moe", {1, 2})]
)
@torch.no_grad()
def test_routers_say_which_experts_made_the_output(
    loaded_model: Any, make_run: Any, tmp_path: Path, name: str, sparse: set[int]
) -> None:
    """Router logits give weights and experts, and these experts' weights give the MLP's output."""
    loaded = loaded_model(f"{name}+chat")
    capture_run(loaded, make_run(loaded), tmp_path)
    tensors = load_file(tmp_path / "activations.safetensors")
    found = {i for i in range(3) if f"layer_{i:02d}/router_logits" in tensors}
    assert found == sparse
    assert {i for i in range(3) if f"layer_{i:02d}/mlp_gate" not in tensors} == sparse
    for i in sparse:
        layer, t = list(each_layer(loaded, tensors))[i]
        weights, experts = t["router_logits"].softmax(-1).topk(2)
        if getattr(loaded.config, "norm_topk_prob", True):  # Mixtral always does
            weights = weights / weights.sum(-1, keepdim=True)
        assert torch.equal(t["router_experts"], experts.float())
        close(t["router_weights"], weights)
        x = layer.post_attention_layernorm(t["hidden_in"] + t["attn_out"])
        bank = layer.mlp.experts
        out = torch.zeros_like(x)
        for row, chosen in enumerate(experts.tolist()):
            for place, expert in enumerate(chosen):
                gate, up = (bank.gate_up_proj[expert] @ x[row]).chunk(2)
                inner = torch.nn.functional.silu(gate) * up
                out[row] += weights[row, place] * (bank.down_proj[expert] @ inner)
        if name == "qwen2_moe":
            share = torch.sigmoid(layer.mlp.shared_expert_gate(x))
            out = out + share * layer.mlp.shared_expert(x)
        close(t["mlp_down_out"], out)


@pytest.mark.parametrize("name", NORMS)
def test_packed_states_equal_one_forward_a_prefix(
    loaded_model: Any, conversation: Any, name: str
) -> None:
    """Where an architecture packs, packed states are those of each prefix alone."""
    loaded = loaded_model(f"{name}+chat")
    positions, layers = ["generation_prompt", "content_mean"], list(range(loaded.layers))
    targets = [find_target(loaded, conversation[: i + 1], positions) for i in range(4)]
    packs, reason = choose_packs(loaded, targets, must_pay=True)
    assert (reason is None) == (name not in LONE - {"opt_post"})
    alone = packing.alone([target.ids for target in targets])
    found, expected = (
        read_states(loaded, targets, layers, positions, rows, str) for rows in (packs, alone)
    )
    assert len(found) == 2 * 4 * loaded.layers
    for key, states in expected.items():
        close(torch.from_numpy(found[key]), torch.from_numpy(states))
