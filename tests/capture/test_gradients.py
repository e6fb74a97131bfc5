"""Gradients at every site, against finite differences, transformers' own, and what must be equal."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from stratascope.capture import gradients as module
from stratascope.capture.families import heads_of
from stratascope.capture.gradients import gradients, logprob, logprob_gradients, token_id
from stratascope.capture.hooks import token_rows
from stratascope.capture.recorder import record
from stratascope.capture.sites import Tap, capture_taps
from stratascope.errors import StratascopeError
from stratascope.study.schema import Capture

PROMPT = list(range(40, 62))
SAID = [7, 300, 45, 45, 120]
READ = [*PROMPT, *SAID[:-1]]

FIVE = ["llama", "gpt2", "gpt_neox", "gemma2", "qwen2_moe"]
OTHERS = [
    "qwen2", "qwen3", "mistral_window", "mixtral", "qwen3_moe", "gemma", "gemma2_window", "gemma3",
    "gemma3_images", "phi", "phi3", "gpt_neox_serial", "gptj", "opt", "opt_post", "bloom", "bloom_post",
    "falcon_new", "falcon_heads", "falcon_alibi", "olmo2", "stablelm", "stablelm_parallel",
]  # fmt: skip
families = pytest.mark.parametrize(
    "name", [*FIVE, "falcon", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)


def all_taps(loaded: Any, **capture: Any) -> list[Tap]:
    wanted = Capture(**{"attention_weights": loaded.family.weights is not None} | capture)
    return capture_taps(loaded.model, loaded.family, wanted, range(loaded.layers))


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-4) -> None:
    assert a.shape == b.shape
    assert b.abs().max() > 0
    assert (a - b).abs().max() <= tolerance * b.abs().max()


def activations(loaded: Any, taps: list[Tap]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    with (
        torch.no_grad(),
        record(loaded.model, taps, lambda names, x: found.update(dict.fromkeys(names, x.clone()))),
    ):
        loaded.model(torch.tensor([READ]), use_cache=False)
    return found


# Finite differences


@contextmanager
def pushed(model: nn.Module, tap: Tap, by: torch.Tensor) -> Iterator[None]:
    """Add ``by`` to the tensor of a tap: not by the code that reads it."""

    def first(values: Any) -> Any:
        place = 0 if tap.item is None else tap.item
        return (*values[:place], values[place] + by, *values[place + 1 :])

    def before(_: Any, args: Any, kwargs: Any) -> Any:
        return (first(args), kwargs) if args else (args, {k: v + by for k, v in kwargs.items()})

    def after(_: Any, __: Any, output: Any) -> Any:
        if tap.path == "":  # the whole model, whose logits have a soft cap
            output.logits = output.logits + by
            return output
        return first(output) if isinstance(output, tuple) else output + by

    target = model.get_submodule(tap.path)
    handle = (
        target.register_forward_pre_hook(before, with_kwargs=True)
        if tap.where == "input"
        else target.register_forward_hook(after)
    )
    try:
        yield
    finally:
        handle.remove()


def shape_of(model: nn.Module, tap: Tap) -> torch.Size:
    """The shape of the whole tensor that a tap reads from, fused or not."""
    seen: list[torch.Tensor] = []
    from stratascope.capture.hooks import listen

    with torch.no_grad(), listen(model, [tap], lambda _, tensor: seen.append(tensor)):
        model(torch.tensor([READ]), use_cache=False)
    return seen[0].shape


def columns(tap: Tap, width: int, config: Any) -> torch.Tensor:
    """Which columns of a fused projection a site is."""
    numbers = torch.arange(width, dtype=torch.float64)[None]
    return (numbers if tap.cut is None else tap.cut(numbers, config))[0].long()


@pytest.mark.parametrize("name", FIVE)
def test_gradients_are_finite_differences(loaded_model: Any, name: str) -> None:
    """At every site of a layer and of the whole model, a small push changes the value as foretold."""
    loaded = loaded_model(name)
    model = copy.deepcopy(loaded.model).double()
    model.set_experts_implementation("eager")  # no other one takes float64
    config = loaded.config
    taps = [
        tap
        for tap in all_taps(loaded, attention_weights=False)
        if tap.names[0].startswith(("layer_01", "embeddings", "final_norm", "logits"))
        # Its router goes on with the weights that it made of the logits inside.
        and not tap.names[0].endswith(("router_logits", "router_experts"))
    ]
    _, found = logprob_gradients(model, PROMPT, SAID, taps)
    assert len(found) >= 13 - 3 * (name == "qwen2_moe")
    torch.manual_seed(3)

    def value(tap: Tap, by: torch.Tensor) -> float:
        with torch.no_grad(), pushed(model, tap, by):
            return float(logprob(SAID)(model(torch.tensor([READ]), use_cache=False)))

    for tap in taps:
        gradient = found[tap.names[0]]
        assert gradient.dtype == torch.float64
        assert gradient.shape[0] == len(READ)
        whole = torch.zeros(shape_of(model, tap), dtype=torch.float64)
        chosen = columns(tap, whole.shape[-1], config)
        for along in (gradient, torch.randn_like(gradient)):
            by = whole.clone()
            direction = along / along.norm()
            by[..., chosen] = direction.reshape(*whole.shape[:-1], -1)
            step = 3e-3
            slope = (value(tap, step * by) - value(tap, -step * by)) / (2 * step)
            foretold = float((gradient * direction).sum())
            assert abs(slope - foretold) <= 1e-3 * float(gradient.norm()), (tap.names[0], slope)


@pytest.mark.parametrize("name", ["qwen2_moe", "mixtral"])
def test_the_router_is_differentiated_through_its_choice(loaded_model: Any, name: str) -> None:
    """The gradient at the router's scores is that of the weights through softmax and choice."""
    loaded = loaded_model(name)
    taps = all_taps(loaded)
    _, found = logprob_gradients(loaded.model, PROMPT, SAID, taps)
    seen = activations(loaded, taps)
    names = sorted({n.rpartition("/")[0] for n in found if n.endswith("router_logits")})
    assert names == (["layer_01"] if name == "qwen2_moe" else ["layer_00", "layer_01", "layer_02"])
    for layer in names:
        scores = seen[f"{layer}/router_logits"].requires_grad_()
        weights = scores.softmax(-1).gather(1, seen[f"{layer}/router_experts"])
        if name == "mixtral":
            weights = weights / weights.sum(-1, keepdim=True)
        assert torch.allclose(weights, seen[f"{layer}/router_weights"], atol=1e-6)
        weights.backward(found[f"{layer}/router_weights"])
        assert scores.grad is not None
        close(found[f"{layer}/router_logits"], scores.grad)
        assert f"{layer}/router_experts" not in found


# Identities


@families
def test_the_residual_stream_has_the_gradients_of_transformers(
    loaded_model: Any, name: str
) -> None:
    """Value and gradients at every layer's hidden states are what PyTorch gives for transformers' own."""
    loaded = loaded_model(name)
    model = loaded.model
    value, found = logprob_gradients(model, PROMPT, SAID, all_taps(loaded))
    embedded = model.get_input_embeddings()(torch.tensor([READ])).requires_grad_()
    output = model(inputs_embeds=embedded, output_hidden_states=True, use_cache=False)
    for tensor in (*output.hidden_states, output.logits):
        tensor.retain_grad()
    logprobs = output.logits[0, len(PROMPT) - 1 :].log_softmax(-1)
    expected = sum(logprobs[i, token] for i, token in enumerate(SAID))
    expected.backward()
    assert value == pytest.approx(expected.item(), abs=1e-4)
    close(found["embeddings"], embedded.grad[0])
    close(found["logits"], output.logits.grad[0])
    for i in range(loaded.layers):
        close(found[f"layer_{i:02d}/hidden_in"], output.hidden_states[i].grad[0])
    if "final_norm" in found:
        close(found["final_norm"], output.hidden_states[-1].grad[0])


@families
def test_what_is_one_tensor_has_one_gradient(loaded_model: Any, name: str) -> None:
    """A layer's output is the next one's input; what is added to the stream has the stream's gradient."""
    loaded = loaded_model(name)
    _, found = logprob_gradients(loaded.model, PROMPT, SAID, all_taps(loaded))
    for i in range(loaded.layers):
        front = f"layer_{i:02d}/"
        if i:
            assert torch.equal(found[f"layer_{i - 1:02d}/hidden_out"], found[f"{front}hidden_in"])
        # Falcon writes the attention's output into the MLP's, in place.
        if name != "opt_post":  # norms the stream after adding
            close(found[f"{front}mlp_down_out"], found[f"{front}hidden_out"], 1e-6)
        if f"{front}mlp_act" in found:
            assert torch.equal(found[f"{front}mlp_act"], found[f"{front}mlp_down_in"])
    if name in ("llama", "gpt_neox", "gemma2", "qwen2_moe", "falcon"):
        close(found["embeddings"], found["layer_00/hidden_in"], 1e-6)
    if name in ("gpt_neox", "falcon", "gptj", "phi", "stablelm_parallel"):  # side by side
        close(found["layer_01/attn_out"], found["layer_01/hidden_out"], 1e-6)


@pytest.mark.parametrize("name", FIVE)
def test_the_last_layer_goes_through_norm_and_head(loaded_model: Any, name: str) -> None:
    """At the last hidden_out the gradient is that of final norm, head and soft cap alone."""
    loaded = loaded_model(name)
    model = loaded.model
    taps = all_taps(loaded)
    _, found = logprob_gradients(model, PROMPT, SAID, taps)
    state = activations(loaded, taps)["layer_02/hidden_out"].requires_grad_()
    norm = model.get_submodule(loaded.family.norm)
    logits = model.get_output_embeddings()(norm(state))
    cap = getattr(loaded.config, "final_logit_softcapping", None)
    logits = cap * torch.tanh(logits / cap) if cap else logits
    rows = torch.arange(len(PROMPT) - 1, len(READ))
    logits.log_softmax(-1)[rows, torch.tensor(SAID)].sum().backward()
    assert state.grad is not None
    close(found["layer_02/hidden_out"], state.grad)
    assert not found["layer_02/hidden_out"][: len(PROMPT) - 1].any()


@families
def test_attention_weights_weigh_the_values(loaded_model: Any, name: str) -> None:
    """At the weights, the gradient is that of the attention's output times the values; 0 under the mask."""
    loaded = loaded_model(name)
    if loaded.family.weights is None:
        pytest.skip("this family gives no weights")
    path = f"{loaded.family.layers}.1.{loaded.family.part('o').path}:input"
    taps = all_taps(loaded, modules=(path,))
    _, found = logprob_gradients(loaded.model, PROMPT, SAID, taps)
    seen = activations(loaded, taps)
    heads = heads_of(loaded.config)
    output = found[f"module/{path}"].reshape(len(READ), heads.query, heads.width)
    value = seen["layer_01/v"].reshape(len(READ), heads.shared, heads.width)
    value = value.repeat_interleave(heads.query // heads.shared, dim=1)
    weights = seen["layer_01/attn_weights"]
    expected = torch.einsum("ihd,jhd->hij", output, value)
    close(found["layer_01/attn_weights"], expected.masked_fill(weights == 0, 0))
    assert not found["layer_01/attn_weights"].triu(1).any()


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral_window"])
def test_how_attention_is_computed_changes_nothing(loaded_model: Any, name: str) -> None:
    """With SDPA, with weights taken beside it, and eager, all other gradients are the same."""
    loaded = loaded_model(name)
    plain = all_taps(loaded, attention_weights=False)
    _, fast = logprob_gradients(loaded.model, PROMPT, SAID, plain)
    _, weighed = logprob_gradients(loaded.model, PROMPT, SAID, all_taps(loaded))
    eager = copy.deepcopy(loaded.model)
    eager.set_attn_implementation("eager")
    _, slow = logprob_gradients(eager, PROMPT, SAID, plain)
    assert fast.keys() == slow.keys()
    assert weighed.keys() - fast.keys() == {f"layer_{i:02d}/attn_weights" for i in range(3)}
    for site, gradient in fast.items():
        close(weighed[site], gradient)
        close(slow[site], gradient)


def test_positions_and_whole_numbers(loaded_model: Any) -> None:
    """Positions have gradients of their own; what the value does not depend on is left out."""
    gpt2 = loaded_model("gpt2")
    taps = all_taps(gpt2, modules=("transformer.wpe",))
    _, found = logprob_gradients(gpt2.model, PROMPT, SAID, taps)
    close(found["module/transformer.wpe"], found["embeddings"], 1e-6)
    moe = loaded_model("qwen2_moe")
    taps = all_taps(moe, modules=("model.rotary_emb",))
    _, found = logprob_gradients(moe.model, PROMPT, SAID, taps)
    names = {name for tap in taps for name in tap.names}
    assert names - found.keys() == {"layer_01/router_experts", "module/model.rotary_emb"}


# Precision


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b).norm() / b.norm())


@pytest.mark.parametrize("name", FIVE)
def test_sixteen_bits_are_near_float32(loaded_model: Any, name: str) -> None:
    """Models in float16 and bfloat16 have the gradients of float32, to their precision."""
    loaded = loaded_model(name)
    taps = all_taps(loaded)
    value, exact = logprob_gradients(loaded.model, PROMPT, SAID, taps)
    for dtype, most, stored in (
        (torch.float16, 0.02, {torch.float32}),
        (torch.bfloat16, 0.15, {torch.float32, torch.bfloat16}),
    ):
        model = copy.deepcopy(loaded.model).to(dtype)
        near, found = logprob_gradients(model, PROMPT, SAID, taps)
        assert near == pytest.approx(value, abs=most * 10)
        assert {tensor.dtype for tensor in found.values()} <= stored
        for site, gradient in exact.items():
            assert relative(found[site], gradient) < most, site


def test_small_gradients_survive_float16(
    loaded_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small ones, as those of a token that is nearly certain, are right, and without scaling are not."""
    loaded = loaded_model("llama")
    taps = all_taps(loaded)
    _, exact = logprob_gradients(loaded.model, PROMPT, SAID, taps)
    half, scalar, small = copy.deepcopy(loaded.model).half(), logprob(SAID), 1e-6
    _, scaled = gradients(half, READ, taps, lambda out: small * scalar(out))
    monkeypatch.setattr(module, "SCALES", (1.0,))
    _, plain = gradients(half, READ, taps, lambda out: small * scalar(out))
    for site, gradient in exact.items():
        assert relative(scaled[site] / small, gradient) < 0.02, site
    assert relative(plain["layer_01/mlp_up"] / small, exact["layer_01/mlp_up"]) > 0.2


def test_large_gradients_do_not_overflow_float16(
    loaded_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the largest factor overflows a smaller one is taken, and the gradients are right."""
    loaded = loaded_model("llama")
    taps = all_taps(loaded)
    scalar = logprob(SAID)
    half = copy.deepcopy(loaded.model).half()
    _, exact = logprob_gradients(loaded.model, PROMPT, SAID, taps)
    _, found = gradients(half, READ, taps, lambda out: 40 * scalar(out))
    for site, gradient in exact.items():
        assert relative(found[site] / 40, gradient) < 0.02, site
    monkeypatch.setattr(module, "SCALES", module.SCALES[:1])
    with pytest.raises(StratascopeError, match="values are not finite"):
        gradients(half, READ, taps, lambda out: 40 * scalar(out))


# What is left behind, and what is refused


def hooks_of(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_the_model_stays_as_it_was(loaded_model: Any) -> None:
    """No hook, no gradient of a weight, no listener stays, whatever mode it is called in."""
    loaded = loaded_model("llama")
    trained = copy.deepcopy(loaded.model).requires_grad_(True)
    taps = all_taps(loaded)
    _, expected = logprob_gradients(loaded.model, PROMPT, SAID, taps)
    before = {name: weight.clone() for name, weight in loaded.model.state_dict().items()}
    modes: list[Callable[[], Any]] = [torch.no_grad, torch.inference_mode, torch.enable_grad]
    for model in (loaded.model, trained):
        needs = [weight.requires_grad for weight in model.parameters()]
        count = hooks_of(model)
        for mode in modes:
            with mode():
                enabled = torch.is_grad_enabled()
                _, found = logprob_gradients(model, PROMPT, SAID, taps)
                assert torch.is_grad_enabled() == enabled
            for site, gradient in expected.items():
                close(found[site], gradient, 1e-5)
                assert not found[site].requires_grad
        assert hooks_of(model) == count
        assert [weight.requires_grad for weight in model.parameters()] == needs
        assert all(weight.grad is None for weight in model.parameters())
        assert not any(hasattr(m, "_stratascope_listener") for m in model.modules())
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_model_may_write_into_a_captured_tensor(loaded_model: Any) -> None:
    """The gradient is that at the tensor as it was captured, also where the graph begins."""
    loaded = loaded_model("llama")
    model = copy.deepcopy(loaded.model)

    def scale(_: Any, args: Any) -> None:
        args[0].mul_(1.5)

    for layer in (0, 2):
        model.model.layers[layer].register_forward_pre_hook(scale)
    _, found = logprob_gradients(model, PROMPT, SAID, all_taps(loaded))
    close(found["embeddings"], 1.5 * found["layer_00/hidden_in"], 1e-6)
    close(found["layer_01/hidden_out"], 1.5 * found["layer_02/hidden_in"], 1e-6)
    assert torch.equal(found["layer_00/hidden_out"], found["layer_01/hidden_in"])


def test_what_pytorch_cannot_differentiate_is_one_line(loaded_model: Any) -> None:
    """A layer that writes into what its gradient needs, or cuts the graph, is named as that."""
    loaded = loaded_model("gpt2")
    model = copy.deepcopy(loaded.model)
    taps = all_taps(loaded)
    act = model.transformer.h[1].mlp.act
    handle = act.register_forward_hook(lambda _, __, output: output.detach())
    # The other ways lead on: it is as if the MLP were a constant.
    _, found = logprob_gradients(model, PROMPT, SAID, taps)
    assert "layer_01/mlp_up" not in found
    handle.remove()
    handle = model.lm_head.register_forward_pre_hook(lambda _, args: (args[0].detach(),))
    with pytest.raises(StratascopeError, match="no gradients: PyTorch sees no way from") as caught:
        logprob_gradients(model, PROMPT, SAID, taps)
    assert "\n" not in str(caught.value)
    handle.remove()
    handle = model.transformer.ln_f.register_forward_pre_hook(lambda _, args: args[0].exp().exp_())
    with pytest.raises(StratascopeError, match=r"cannot run this model .* inplace") as caught:
        logprob_gradients(model, PROMPT, SAID, taps)
    assert "\n" not in str(caught.value)
    handle.remove()
    assert hooks_of(model) == hooks_of(loaded.model)


def test_values_that_are_not_finite_are_named(loaded_model: Any) -> None:
    """A gradient that overflows names its site and layer; a value that does, the remedy."""
    loaded = loaded_model("llama")
    model = copy.deepcopy(loaded.model)
    taps = all_taps(loaded)

    def explode(_: Any, __: Any, output: torch.Tensor) -> None:
        output.register_hook(lambda gradient: gradient * torch.inf)

    handle = model.model.layers[1].mlp.up_proj.register_forward_hook(explode)
    with pytest.raises(StratascopeError, match=r"^gradient at layer_01/\w+: \d+ of \d+ values"):
        logprob_gradients(model, PROMPT, SAID, taps)
    handle.remove()
    model.lm_head.weight.data[SAID[2]] = torch.inf
    with pytest.raises(StratascopeError, match="the number to differentiate is nan"):
        logprob_gradients(model, PROMPT, SAID, taps)


def test_a_gradient_is_that_of_one_number(loaded_model: Any) -> None:
    """Any scalar of the output will do, and nothing but a scalar."""
    loaded = loaded_model("llama")
    taps = all_taps(loaded, attention_weights=False)
    value, found = gradients(loaded.model, READ, taps, lambda out: 2 * out.logits[0, 3, 9])
    assert not found["layer_02/hidden_out"][4:].any()
    assert torch.equal(found["logits"].nonzero(), torch.tensor([[3, 9]]))
    assert value == pytest.approx(2 * activations(loaded, taps)["logits"][3, 9].item(), rel=1e-5)
    with pytest.raises(StratascopeError, match=r"of one number, not of \(26, "):
        gradients(loaded.model, READ, taps, lambda out: out.logits[0])


def test_a_token_is_one_token(loaded_model: Any) -> None:
    """A text that is several tokens, or none, is refused with the tokens that it is."""
    tokenizer = loaded_model("llama").tokenizer
    assert tokenizer.decode([token_id(tokenizer, " the")]) == " the"
    assert token_id(tokenizer, "<|im_end|>") == tokenizer.convert_tokens_to_ids("<|im_end|>")
    said = r"^' the bear' must be one token, .* 2 of it: ' the', ' bear'; give"
    with pytest.raises(StratascopeError, match=said):
        token_id(tokenizer, " the bear")
    with pytest.raises(StratascopeError, match="makes 0 of it; give"):
        token_id(tokenizer, "")


def test_rows_are_cut_as_activations_are(loaded_model: Any) -> None:
    """Gradients of a fused projection's parts, put together, are that of the whole projection."""
    loaded = loaded_model("gpt_neox")
    path = "gpt_neox.layers.1.attention.query_key_value"
    taps = all_taps(loaded, modules=(path,))
    _, found = logprob_gradients(loaded.model, PROMPT, SAID, taps)
    whole = found[f"module/{path}"]
    parts = torch.zeros_like(whole)
    for tap in taps:
        if tap.path == path and tap.names[0].startswith("layer_01/"):
            parts[:, columns(tap, whole.shape[1], loaded.config)] += found[tap.names[0]]
            assert token_rows(tap, whole[None], 1, loaded.config).shape[1] == len(READ)
    assert torch.equal(parts, whole)
