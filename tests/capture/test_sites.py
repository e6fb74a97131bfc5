from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.modeling_outputs import BaseModelOutput

from stratascope.capture.recorder import record
from stratascope.capture.run import capture_run
from stratascope.capture.sites import capture_taps, resolve_layers
from stratascope.errors import StratascopeError
from stratascope.study.schema import Capture

NAMES = ["llama+chat", "qwen2", "qwen3+chat", "mistral", "mistral_window"]


def captured(loaded: Any, run: Any, folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    from stratascope.store.runs import read_json

    capture_run(loaded, run, folder)
    return load_file(folder / "activations.safetensors"), read_json(folder / "run.json")


@pytest.fixture(params=NAMES, scope="module")
def done(request: Any, loaded_model: Any, make_run: Any, tmp_path_factory: Any) -> Any:
    loaded = loaded_model(request.param)
    tensors, info = captured(loaded, make_run(loaded), tmp_path_factory.mktemp("done"))
    fed = info["prompt_token_ids"] + info["generated_token_ids"][:-1]
    return loaded, tensors, info, torch.tensor([fed])


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 2e-5) -> None:
    assert a.shape == b.shape
    assert (a - b).abs().max() <= tolerance * b.abs().max().clamp(min=1)


@torch.no_grad()
def test_captured_steps_equal_one_long_prefill(done: Any) -> None:
    """Hidden states of prefill and decode steps are transformers' own over the whole sequence."""
    loaded, tensors, _, ids = done
    out = loaded.model(ids, output_hidden_states=True, use_cache=False)
    layers = loaded.layers
    close(tensors["embeddings"], out.hidden_states[0][0])
    for i in range(layers):
        close(tensors[f"layer_{i:02d}/hidden_in"], out.hidden_states[i][0])
        if i + 1 < layers:  # transformers' last hidden state is after the final norm
            close(tensors[f"layer_{i:02d}/hidden_out"], out.hidden_states[i + 1][0])
    last = tensors[f"layer_{layers - 1:02d}/hidden_out"]
    close(loaded.model.model.norm(last), out.hidden_states[layers][0])
    close(tensors["logits"], out.logits[0])


@torch.no_grad()
def test_parts_equal_recomputation_from_the_weights(done: Any) -> None:
    """q, k, v, gate, up, act, down and the residual sum follow from hidden_in and the weights."""
    loaded, tensors, _, _ = done
    for i, layer in enumerate(loaded.model.model.layers):
        t = {name.split("/")[1]: x for name, x in tensors.items() if f"layer_{i:02d}/" in name}
        normed = layer.input_layernorm(t["hidden_in"])
        for part in "qkv":
            close(t[part], getattr(layer.self_attn, f"{part}_proj")(normed))
        middle = layer.post_attention_layernorm(t["hidden_in"] + t["attn_out"])
        close(t["mlp_gate"], middle @ layer.mlp.gate_proj.weight.T)
        close(t["mlp_up"], middle @ layer.mlp.up_proj.weight.T)
        close(t["mlp_act"], torch.nn.functional.silu(t["mlp_gate"]) * t["mlp_up"])
        assert torch.equal(t["mlp_act"], t["mlp_down_in"])
        close(t["mlp_down_out"], t["mlp_down_in"] @ layer.mlp.down_proj.weight.T)
        close(t["hidden_out"], t["hidden_in"] + t["attn_out"] + t["mlp_down_out"])


@torch.no_grad()
def test_attention_weights_equal_eager(done: Any) -> None:
    """Weights are eager attention's to 1e-6, sum to one, and show no future, window or not."""
    loaded, tensors, _, ids = done
    config = copy.deepcopy(loaded.model.config)
    model = type(loaded.model)._from_config(config, attn_implementation="eager")
    model.load_state_dict(loaded.model.state_dict())
    eager = model.eval()(ids, output_attentions=True, use_cache=False).attentions
    for i, expected in enumerate(eager):
        weights = tensors[f"layer_{i:02d}/attn_weights"]
        assert (weights - expected[0]).abs().max() < 1e-6
        assert (weights.sum(-1) - 1).abs().max() < 1e-5
        assert torch.equal(weights, weights.tril())
    window = loaded.config.sliding_window if hasattr(loaded.config, "sliding_window") else None
    if window:
        assert ids.shape[1] > window
        assert torch.equal(weights, weights.triu(1 - window))


def test_switches_and_layers_choose_what_is_stored(
    loaded_model: Any, make_run: Any, tmp_path: Path
) -> None:
    """Each switch brings its own sites, for the chosen layers only, and nothing else."""
    loaded = loaded_model("llama")
    expected = {
        "hidden_states": {"embeddings", "final_norm", "hidden_in", "hidden_out"},
        "attention_weights": {"attn_weights"},
        "qkv": {"q", "k", "v", "attn_out"},
        "mlp": {"mlp_gate", "mlp_up", "mlp_act", "mlp_down_in", "mlp_down_out"},
        "logits": {"logits"},
    }
    for switch, sites in expected.items():
        folder = tmp_path / switch
        folder.mkdir()
        run = make_run(loaded, layers=(0, 2), **OFF | {switch: True})
        tensors, info = captured(loaded, run, folder)
        whole = sites & {"embeddings", "final_norm", "logits"}
        assert set(tensors) == whole | {f"layer_0{i}/{s}" for i in (0, 2) for s in sites - whole}
        assert info["layers"] == [0, 2]


def test_layer_out_of_range_names_the_range(loaded_model: Any) -> None:
    """A layer that does not exist is an error that says which do."""
    with pytest.raises(StratascopeError, match=r"3 is not a layer of this model.* 0 to 2"):
        resolve_layers((1, 3), loaded_model("llama").layers)


OFF = dict.fromkeys(["hidden_states", "attention_weights", "qkv", "mlp", "logits"], False)


def test_modules_by_hand(loaded_model: Any, make_run: Any, tmp_path: Path) -> None:
    """Modules named by hand are stored one row a token; a wrong name is answered with a near one."""
    loaded = loaded_model("qwen3+chat")
    layer = "model.layers.1"
    names = (
        f"{layer}.self_attn.q_norm", f"{layer}.self_attn", f"{layer}.self_attn:input",
        f"{layer}.input_layernorm", f"{layer}.mlp.down_proj:input", "model.norm", "lm_head",
    )  # fmt: skip
    run = make_run(loaded, modules=names, layers=(1,), **OFF | {"mlp": True})
    tensors, info = captured(loaded, run, tmp_path)
    rows = info["rows"]["total"]
    shapes = {n.removeprefix("module/"): tuple(x.shape) for n, x in tensors.items()}
    assert {n: shapes[n] for n in names} == {
        names[0]: (rows, 32),  # four heads of eight in one row
        names[1]: (rows, 32),  # the first of a tuple of outputs
        names[2]: (rows, 32),  # given by its keyword
        names[3]: (rows, 32),
        names[4]: (rows, 48),
        names[5]: (rows, 32),
        names[6]: (rows, loaded.config.vocab_size),
    }
    assert torch.equal(tensors[f"module/{names[2]}"], tensors[f"module/{names[3]}"])
    assert torch.equal(tensors[f"module/{names[4]}"], tensors["layer_01/mlp_down_in"])
    near = r"no module 'model\.layer\.1\.mlp'.*'model\.layers\.1\.mlp'"
    for wrong in ("model.layer.1.mlp", "model.layer.1.mlp:input"):
        with pytest.raises(StratascopeError, match=near):
            capture_taps(loaded.model, None, Capture(modules=(wrong,)), [0])


@dataclasses.dataclass
class Pair:
    label: str
    state: torch.Tensor


class Wrap(torch.nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, *, given: dict[str, Any]) -> Any:
        x = given["deep"][1]
        kinds = {
            "tuple": (None, [x * 2]),
            "dict": {"name": "x", "state": x * 2},
            "dataclass": Pair("x", x * 2),
            "output": BaseModelOutput(last_hidden_state=x * 2),
            "nothing": ("x", 1),
        }
        return kinds[self.kind]


@pytest.mark.parametrize("kind", ["tuple", "dict", "dataclass", "output"])
def test_any_module_whatever_it_takes_and_gives(kind: str) -> None:
    """The first tensor is found in tuples, dicts and dataclasses, of inputs as of outputs."""
    model = torch.nn.ModuleDict({"part": Wrap(kind)})
    taps = capture_taps(model, None, Capture(modules=("part", "part:input"), **OFF), [])
    seen: dict[str, torch.Tensor] = {}
    x = torch.arange(12.0).view(1, 4, 3)
    with record(model, taps, lambda names, x: seen.update({names[0]: x})) as recording:
        model["part"](given={"deep": (None, x)})
        recording.check_pass(4)
    assert torch.equal(seen["module/part:input"], x[0])
    assert torch.equal(seen["module/part"], 2 * x[0])


def test_a_module_without_a_tensor_is_an_error() -> None:
    """A module that gives no tensor is named."""
    model = torch.nn.ModuleDict({"part": Wrap("nothing")})
    taps = capture_taps(model, None, Capture(modules=("part",), **OFF), [])
    with (
        record(model, taps, lambda *_: None),
        pytest.raises(StratascopeError, match="module 'part' gave no tensor"),
    ):
        model["part"](given={"deep": (None, torch.zeros(1, 4, 3))})


def test_a_switch_that_selects_nothing_is_an_error(loaded_model: Any) -> None:
    """What the model cannot give is refused when it is asked for, not left out in silence."""
    loaded = loaded_model("falcon_alibi")
    with pytest.raises(StratascopeError, match=r"capture\.attention_weights: this falcon has no "):
        capture_taps(loaded.model, loaded.family, Capture(), [0])


def test_unknown_architecture_shows_its_modules_and_takes_them_by_hand() -> None:
    """An unknown model type is answered with its folded module tree; modules by hand still work."""
    model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=4, n_head=2, vocab_size=20)).eval()
    with pytest.raises(StratascopeError, match="'gpt2' has no table of sites") as caught:
        capture_taps(model, None, Capture(), [0])
    assert "capture: {modules: [...], hidden_states: false" in str(caught.value)
    assert "0..3: GPT2Block" in str(caught.value)
    taps = capture_taps(model, None, Capture(modules=("transformer.h.2.mlp",), **OFF), [0])
    seen = {}
    with record(model, taps, lambda names, x: seen.update({names[0]: x})) as recording:
        model(torch.tensor([[1, 2, 3]]))
        recording.check_pass(3)
    assert seen["module/transformer.h.2.mlp"].shape == (3, 16)


@torch.no_grad()
def test_a_tensor_that_the_model_writes_into_is_copied(loaded_model: Any) -> None:
    """Falcon adds attention's output into the MLP's in place; a sink that waits sees it unchanged."""
    loaded = loaded_model("falcon")
    named = Capture(modules=("transformer.h.0.mlp",), attention_weights=False)
    seen: dict[str, torch.Tensor] = {}
    taps = capture_taps(loaded.model, loaded.family, named, [0])
    with record(loaded.model, taps, lambda names, x: seen.update(dict.fromkeys(names, x))):
        loaded.model(torch.tensor([[1, 2, 3]]))
    assert torch.equal(seen["module/transformer.h.0.mlp"], seen["layer_00/mlp_down_out"])
    parts = (seen[f"layer_00/{site}"] for site in ("hidden_in", "attn_out", "mlp_down_out"))
    close(seen["layer_00/hidden_out"], sum(parts))


def hooks(model: torch.nn.Module) -> int:
    from stratascope.capture.attention import LISTENER

    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + hasattr(m, LISTENER)
        for m in model.modules()
    )


def test_hooks_go_whatever_happens(loaded_model: Any) -> None:
    """No hook and no listener is left after success, after an error, or after a bad tap."""
    loaded = loaded_model("llama")
    taps = capture_taps(loaded.model, loaded.family, Capture(), [0, 1, 2])
    before = hooks(loaded.model)

    def fail(names: tuple[str, ...], tensor: torch.Tensor) -> None:
        raise OSError("disk full")

    with record(loaded.model, taps, lambda *_: None):
        assert hooks(loaded.model) > before
    with pytest.raises(OSError, match="disk full"), record(loaded.model, taps, fail):
        loaded.model(torch.tensor([[1]]))
    bad = type(taps[0])("model.nothing", "output", ("x",))
    with (
        pytest.raises(StratascopeError, match=r"no module 'model\.nothing'"),
        record(loaded.model, [*taps, bad], fail),
    ):
        pass
    assert hooks(loaded.model) == before


def test_what_was_asked_for_and_not_seen_is_an_error(loaded_model: Any) -> None:
    """A site that a pass did not deliver, delivered twice, or not per token is never silent."""
    loaded = loaded_model("llama")
    taps = capture_taps(loaded.model, loaded.family, Capture(), [0])
    with record(loaded.model, taps, lambda *_: None) as recording:
        loaded.model.model(torch.tensor([[1, 2]]))
        with pytest.raises(StratascopeError, match="logits was asked for and not captured"):
            recording.check_pass(2)
    with record(loaded.model, taps, lambda *_: None) as recording:
        loaded.model(torch.tensor([[1, 2]]), logits_to_keep=1)
        with pytest.raises(StratascopeError, match=r"logits.*gave 1 rows for 2 tokens"):
            recording.check_pass(2)
        with pytest.raises(StratascopeError, match="ran twice in one forward pass"):
            loaded.model(torch.tensor([[1, 2]]))
