"""Recording: what is recorded is what the model computed, and nothing stays behind."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedModel

import stratascope as ss

Hooks = Callable[[nn.Module], int]
Make = Callable[..., Any]


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert a.shape == b.shape
    assert (a - b).abs().max() <= 2e-5 * b.abs().max().clamp(min=1)


def refused(message: str) -> Any:
    return pytest.raises(ss.StratascopeError, match=message)


def batch_of(model: ss.Model, texts: list[str]) -> Any:
    """The texts as any user of transformers gives them to a model."""
    return model.tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")


@torch.no_grad()
def test_recorded_states_are_those_of_output_hidden_states(
    model: ss.Model, texts: list[str]
) -> None:
    """A batch of texts gives transformers' own hidden states of all layers, and the same output."""
    batch = batch_of(model, texts)
    expected = model.module(**batch, output_hidden_states=True)
    with model.record("hidden_in", "hidden_out", "final_norm") as acts:
        output = model(texts)
    for layer in range(model.layers):
        close(acts["hidden_in", layer], expected.hidden_states[layer])
        if layer + 1 < model.layers:  # transformers norms the last one
            close(acts["hidden_out", layer], expected.hidden_states[layer + 1])
    close(acts["final_norm"], expected.hidden_states[-1])
    close(output.logits, expected.logits)
    assert torch.equal(acts.mask, batch["attention_mask"].bool())
    assert torch.equal(acts.ids, batch["input_ids"])
    assert acts.texts == texts


def test_a_text_alone_is_a_batch_of_one(model: ss.Model) -> None:
    """The first axis counts texts also where there is one, for every kind of input."""
    ids = model.tokenizer("I am so happy")["input_ids"]
    kinds = ["I am so happy", ["I am so happy"], ids, [ids], torch.tensor(ids), torch.tensor([ids])]
    with model.record("q", layers=2) as acts:
        for kind in kinds:
            model(kind)
    assert list(acts) == ["layer_02/q"]
    assert acts["layer_02/q"].shape == (len(kinds), len(ids), 96)
    assert len({row.sum().item() for row in acts["layer_02/q"]}) == 1
    assert acts.tokens == [["I", " am", " so", " happy"]] * len(kinds)
    assert acts.texts == ["I am so happy"] * len(kinds)


def test_what_a_tokenizer_returns(model: ss.Model, texts: list[str]) -> None:
    """A tokenizer's own batch is read as it is, padding on the left included, and pooled by its mask."""
    batch = model.tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    with model.record(layers=3) as acts:
        model(batch)
        model(**batch)
    with model.record(layers=3) as plain:
        model(texts)
    assert acts.texts == texts * 2
    assert torch.equal(acts.passes[1].mask, batch["attention_mask"].bool())
    last = acts.pooled("last")["hidden_out", 3]
    assert torch.allclose(last[:3], plain.pooled("last")["hidden_out", 3], atol=1e-4)
    assert torch.equal(last[:3], last[3:])


def test_conversations_are_rendered(model: ss.Model) -> None:
    """Messages go through the chat template, its special tokens once, as one conversation or many."""
    talk = [{"role": "user", "content": "I am so happy"}]
    with model.record(layers=0) as acts:
        model(talk)
        model([talk, talk], generation_prompt=True)
    assert acts.texts == [
        "<|user|>I am so happy<|end|>",
        *["<|user|>I am so happy<|end|><|assistant|>"] * 2,
    ]
    assert acts.passes[0].tokens == [["<|user|>", "I", " am", " so", " happy", "<|end|>"]]


def test_passes_join_into_one_batch(model: ss.Model, texts: list[str]) -> None:
    """Texts given one after the other read as the batch of all of them; each pass is there alone."""
    with model.record("hidden_out", "attn_weights", layers=[1, -1]) as acts:
        for text in texts:
            model(text)
    with model.record("hidden_out", "attn_weights", layers=[1, -1]) as batch:
        model(texts)
    assert acts.layers == batch.layers == [1, 5]
    assert torch.equal(acts.mask, batch.mask)
    assert acts.tokens == batch.tokens
    assert [one.texts for one in acts.passes] == [[text] for text in texts]
    for name in batch:
        for row, text in enumerate(texts):
            tokens = len(batch.tokens[row])
            one, own = acts.passes[row][name][0], acts[name][row]
            whole = batch[name][row]
            if name.endswith("attn_weights"):
                one, own, whole = one[:, :tokens], own[:, :tokens], whole[:, :tokens]
                close(own[:, :, :tokens], whole[:, :, :tokens])
                close(own[:, :, :tokens], one)
            else:
                close(own[:tokens], whole[:tokens])
                close(own[:tokens], one)
            assert not own[tokens:].any() or name.endswith("attn_weights"), text


@pytest.mark.parametrize("kind", ["gpt2", "opt", "bloom", "gpt_neox", "mixtral", "roberta"])
def test_texts_in_a_batch_are_as_alone(kind: str, make: Make) -> None:
    """Padding changes nothing, with positions of every kind, experts, and an encoder that sees all."""
    shared = {"num_key_value_heads": 2} if kind == "mixtral" else {}
    model = ss.wrap(make(kind, **shared))
    ids = [[5, 6, 7, 8, 9, 10], [11, 12], [13, 14, 15]]
    sites = ["hidden_out", "attn_out", *(["router_logits"] if kind == "mixtral" else [])]
    with model.record(sites) as batch:
        model(ids)
    for row, own in enumerate(ids):
        with model.record(sites) as alone:
            model(own)
        for name in batch:
            close(batch[name][row, : len(own)], alone[name][0])


@pytest.mark.parametrize(
    ("kind", "auto"),
    [
        ("llama", AutoModel),
        ("gpt_neox", AutoModel),
        ("gpt2", AutoModelForSequenceClassification),
        ("bert", AutoModelForSequenceClassification),
        ("bert", AutoModel),
    ],
)
def test_sites_of_a_backbone_and_of_other_heads(kind: str, auto: Any, make: Make) -> None:
    """Sites are found where a model without its head, or with another one, keeps them."""
    module = make(kind, auto)
    model = ss.wrap(module)
    assert "logits" not in model.sites
    with model.record("hidden_in", "hidden_out", "q", "embeddings") as acts:
        output = model([5, 6, 7], output_hidden_states=True)
    for layer in range(2):
        close(acts["hidden_in", layer], output.hidden_states[layer])
        assert acts["q", layer].shape == (1, 3, 32)
    close(acts["hidden_out", 0], output.hidden_states[1])


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "gemma2"])
def test_attention_weights_of_a_model_loaded_elsewhere(kind: str, make: Make) -> None:
    """A wrapped model gives eager's weights inside the block, and keeps its own attention after it."""
    module = make(kind)
    before = module.config._attn_implementation
    assert before == ("eager" if kind == "gemma2" else "sdpa")
    eager = copy.deepcopy(module)
    eager.set_attn_implementation("eager")
    ids = torch.arange(2, 14).reshape(2, 6)
    with torch.no_grad():
        expected = eager(ids, output_attentions=True).attentions
    with ss.wrap(module).record("attn_weights") as acts:
        module(ids)
    assert module.config._attn_implementation == before
    for layer, weights in enumerate(expected):
        assert acts["attn_weights", layer].shape == weights.shape
        assert (acts["attn_weights", layer] - weights).abs().max() < 1e-6


def test_attention_that_cannot_be_switched(make: Make, hooks: Hooks) -> None:
    """An architecture that keeps the attention it was loaded with is refused, with what would help."""
    module = make("falcon")
    before = hooks(module)
    with (
        refused(r"which is sdpa; .* attn_implementation='eager'"),
        ss.wrap(module).record("attn_weights"),
    ):
        pass
    assert hooks(module) == before


def test_generation_by_transformers_reads_as_one_sequence(model: ss.Model) -> None:
    """Passes that go on from a cache add tokens: `generate` inside the block, as one long prefill."""
    batch = batch_of(model, ["I am so happy"])
    with model.record("hidden_out", "attn_weights", layers=[0, 5]) as acts:
        written = model.module.generate(
            **batch, max_new_tokens=6, min_new_tokens=6, do_sample=False
        )
    read = written[:, :-1]
    assert len(acts.passes) == 6
    assert torch.equal(acts.ids, read)
    assert acts.texts == [model.tokenizer.decode(read[0])]
    with model.record("hidden_out", "attn_weights", layers=[0, 5]) as whole:
        model(read)
    for name in whole:
        close(acts[name], whole[name])


# Hooks


@pytest.mark.parametrize("wrong", [False, True])
def test_no_hook_survives_the_block(model: ss.Model, hooks: Hooks, wrong: bool) -> None:
    """However the block ends, the model has the hooks that it had before, its own included."""
    own = model.module.model.layers[0].register_forward_hook(lambda *_: None)
    before = hooks(model.module)
    try:
        with model.record(*model.sites, "model.layers.0.mlp:input") as acts:
            assert hooks(model.module) > before + model.layers
            model("I am so happy")
            if wrong:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert len(acts["hidden_out", 0]) == 1
    finally:
        assert hooks(model.module) == before
        own.remove()


def test_no_hook_survives_an_error_in_the_model(model: ss.Model, hooks: Hooks) -> None:
    """A pass that fails half-way, and names that are wrong, leave nothing behind."""
    before = hooks(model.module)
    with pytest.raises(IndexError), model.record("hidden_out", "attn_weights"):
        model.module(torch.tensor([[10**6]]))
    with pytest.raises(ss.StratascopeError), model.record("hidden_out", "model.nowhere"):
        pass
    assert hooks(model.module) == before
    with model.record("hidden_out", layers=0) as acts:  # and recording goes on as before
        model("I am")
    assert acts["hidden_out", 0].shape == (1, 2, 96)


def test_blocks_within_blocks(model: ss.Model, hooks: Hooks) -> None:
    """An inner block records its own passes, the outer one all of them."""
    before = hooks(model.module)
    with model.record("hidden_out", "attn_weights", layers=1) as outer:
        model("I am")
        with model.record("q", "attn_weights", layers=[0, 1]) as inner:
            model("so happy")
        model("We are calm")
    assert (len(outer.passes), len(inner.passes)) == (3, 1)
    assert torch.equal(outer.passes[1]["attn_weights", 1], inner["attn_weights", 1])
    assert inner.sites == ["q", "attn_weights"]
    assert inner.texts == ["so happy"]
    assert outer.texts == ["I am", "so happy", "We are calm"]
    assert hooks(model.module) == before


def test_what_is_recorded_is_never_written_into(model: ss.Model) -> None:
    """Tensors are copies: changing them, or the model's own, changes nothing else."""
    changed: list[torch.Tensor] = []
    later = model.module.model.layers[1].register_forward_pre_hook(
        lambda _, args: changed.append(args[0].zero_()) or None
    )
    try:
        with model.record("hidden_out", layers=0) as acts:
            model("I am so happy")
    finally:
        later.remove()
    assert not changed[0].any()
    assert acts["hidden_out", 0].any()
    assert not acts["hidden_out", 0].requires_grad


# Any module


@dataclass
class Parts:
    first: torch.Tensor
    second: dict[str, torch.Tensor]


class Odd(nn.Module):
    """Runs one module twice, and gives tuples, dicts and dataclasses."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(3, 3)
        self.tupled = Tupled()
        self.unused = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> Parts:
        first = self.shared(x)
        second, rest = self.tupled(note="not a tensor", given={"x": self.shared(first)})
        return Parts(second, rest)


class Tupled(nn.Module):
    def forward(self, note: str, given: dict[str, torch.Tensor]) -> Any:
        return given["x"] + 1, {"rest": given["x"]}


def test_any_module_by_its_modules() -> None:
    """Inputs and outputs of modules of any kind, in the shape they have; a second run has a second name."""
    module = Odd()
    x = torch.randn(4, 3)
    with ss.wrap(module).record("shared", "shared:input", "tupled", "tupled:input") as acts:
        out = module(x)
    once = module.shared(x)
    expected = {
        "shared": once,
        "shared:input": x,
        "shared#2": module.shared(once),
        "shared:input#2": once,
        "tupled": out.first,
        "tupled:input": out.second["rest"],
    }
    assert set(acts) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(acts[name], tensor), name
    assert acts.mask is None
    assert acts.layers == []


def test_a_wrapped_module_is_called_as_it_is() -> None:
    """What is no text goes to the module as it is; passes of the same shape join along the first axis."""
    module = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5), nn.Linear(2, 2)).train()
    model = ss.wrap(module)
    with model.record("*") as acts:
        model(torch.ones(4, 3))
        model(torch.ones(2, 3))
    assert list(acts) == ["0", "1", "2"]
    assert acts["1"].shape == (6, 2)
    assert torch.equal(acts["0"], acts["1"])  # dropout rests in evaluation mode,
    assert module.training  # which the call leaves again
    assert module[1].training
    with model.record("1") as trained:
        module(torch.ones(64, 3))
    assert (trained["1"] == 0).any()  # and the module by itself keeps its own mode


def test_images_of_other_sizes_do_not_make_a_batch() -> None:
    """Where nothing says what would be padding, passes that do not fit are named and stay apart."""
    model = ss.wrap(nn.Conv2d(1, 2, 3))
    with (
        refused("no site and no module 'weight'"),
        model.record("weight"),
    ):
        pass
    model = ss.wrap(nn.Sequential(nn.Conv2d(1, 2, 3)))
    with model.record("0") as acts:
        model(torch.ones(1, 1, 5, 5))
        model(torch.ones(1, 1, 9, 9))
    with refused(r"\(1, 2, 3, 3\) and \(1, 2, 7, 7\).*`\.passes`"):
        acts["0"]
    assert acts.passes[1]["0"].shape == (1, 2, 7, 7)
    assert "2 passes apart" in repr(acts)


def test_a_part_of_the_model_by_itself(model: ss.Model) -> None:
    """Calling the backbone, not the model, is a pass as well; a repeated call is the next one."""
    ids = torch.tensor([[5, 6, 7]])
    with model.record("hidden_out", layers=[0, 3]) as acts:
        model.module.model(ids)
        model.module.model(ids + 1)
    assert len(acts.passes) == 2
    assert acts["hidden_out", 3].shape == (2, 3, 96)


def test_a_model_without_a_family_is_recorded_by_pattern(make: Make) -> None:
    """An architecture that the table lacks: its layers by name, with tokens and padding known."""
    module = make("cohere", logit_scale=1.0)
    wrapped = ss.wrap(module)
    assert wrapped.sites == []
    with wrapped.record("model.layers.*") as acts:
        wrapped([[5, 6, 7], [8, 9]])
    with torch.no_grad():
        expected = module(acts.ids, attention_mask=acts.mask.long(), output_hidden_states=True)
    close(acts["model.layers.0"], expected.hidden_states[1])
    assert acts["model.layers.1"].shape == (2, 3, 32)
    assert acts.mask.tolist() == [[True] * 3, [True, True, False]]
    with (
        refused(r"hidden_out: cohere is not among.*model\.tree"),
        wrapped.record(),
    ):
        pass


# Errors


@pytest.mark.parametrize(
    ("name", "layers", "message"),
    [
        ("hidden_ot", "all", "no site and no module 'hidden_ot'; did you mean 'hidden_out'"),
        ("model.layer.3.mlp", "all", r"did you mean 'model\.layers\.3\.mlp'"),
        ("model.layers.*.mpl", "all", "did you mean"),
        ("router_logits", "all", "this llama has no site 'router_logits'"),
        ("q", [0, 6], "6 is not a layer of this model, which has layers 0 to 5"),
        ("q", -7, "-7 is not a layer"),
        ("layer_09/q", "all", "9 is not a layer"),
        ("q", "some", "layers: write 'all' or numbers"),
    ],
)
def test_names_that_are_not_there(model: ss.Model, name: str, layers: Any, message: str) -> None:
    """A wrong site, module or layer is an error that names what is near, or what there is."""
    with refused(message), model.record(name, layers=layers):
        pass


def test_what_did_not_run_is_an_error() -> None:
    """A module that was asked for and that no pass came by is named when the block ends."""
    module = Odd()
    with (
        refused("unused was asked for and not recorded"),
        ss.wrap(module).record("unused", "shared"),
    ):
        module(torch.ones(1, 3))


def test_no_pass_at_all(model: ss.Model) -> None:
    """A block without a forward pass is empty, and says so when something is taken from it."""
    with model.record() as acts:
        pass
    assert len(acts) == 0
    assert repr(acts) == "no forward pass was recorded"
    with pytest.raises(KeyError, match="no forward pass happened in the block"):
        acts["layer_00/hidden_out"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "text 0 has no tokens"),
        ([], "nothing to read"),
        (["I am", 3.5], "cannot read float"),
        ([["I am"]], "cannot read a list of str"),
        ([{"role": "king", "content": "x"}], "message: role"),
        ([{"role": "user", "text": "x"}], "message: content: missing"),
        ("happy " * 2000, "text 0 has .* tokens, and the model's context holds 1024"),
    ],
)
def test_inputs_that_cannot_be_read(model: ss.Model, given: Any, message: str) -> None:
    """Each is answered with what is wrong with it, not with what breaks inside the model."""
    with refused(message):
        model(given)


def test_text_needs_a_tokenizer(make: Make) -> None:
    """A model in memory without one says how to give it."""
    for module in (make("gpt2"), nn.Linear(2, 2)):
        with refused(r"ss\.wrap\(model, tokenizer\)"):
            ss.wrap(module)("I am so happy")


# Gradients


def test_grad_keeps_the_graph_of_frozen_weights(model: ss.Model) -> None:
    """After backward each recorded tensor has its gradient: that of the loss when it is moved."""
    with model.record("hidden_out", "mlp_down_out", layers=[1, 4], grad=True) as acts:
        loss = model("I am so happy").logits[0, -1].log_softmax(-1)[313]
    loss.backward()
    assert all(weight.grad is None for weight in model.module.parameters())
    direction = torch.randn(96, generator=torch.Generator().manual_seed(0))

    def moved(size: float) -> float:
        layer = model.module.model.layers[4].mlp
        hook = layer.register_forward_hook(lambda *io: io[2] + size * direction)
        try:
            return float(model("I am so happy").logits[0, -1].log_softmax(-1)[313])
        finally:
            hook.remove()

    expected = (moved(1e-2) - moved(-1e-2)) / 2e-2
    found = acts["mlp_down_out", 4].grad[0].sum(0) @ direction
    assert found.item() == pytest.approx(expected, rel=1e-2, abs=1e-5)
    assert acts["hidden_out", 1].grad.abs().sum() > 0


def test_grad_of_a_cut_site_is_refused(make: Make, hooks: Hooks) -> None:
    """A part of a fused projection is no node of the graph; the error names the module that is."""
    module = make("gpt_neox")
    model = ss.wrap(module)
    with (
        refused(r"layer_00/q: is cut .*query_key_value"),
        model.record("q", layers=0, grad=True),
    ):
        model([1, 2, 3])
    assert hooks(module) == 0
    with model.record("gpt_neox.layers.0.attention.query_key_value", grad=True) as acts:
        model([1, 2, 3]).logits.sum().backward()
    assert acts["gpt_neox.layers.0.attention.query_key_value"].grad.shape == (1, 3, 96)


def test_recorded_tensors_can_train_a_probe(model: ss.Model) -> None:
    """Tensors recorded inside inference mode are ordinary ones, which autograd may use."""
    with model.record(layers=2) as acts, torch.inference_mode():
        model.module(torch.tensor([[5, 6, 7]]))
    probe = nn.Linear(96, 1)
    probe(acts["hidden_out", 2]).sum().backward()
    assert probe.weight.grad is not None


def test_wrapping_takes_a_model_as_it_is(make: Make) -> None:
    """A wrapped model is the same object, and says what it is."""
    module = make("gpt2")
    model = ss.wrap(module, name="mine")
    assert model.module is module
    assert isinstance(module, PreTrainedModel)
    assert repr(ss.wrap(nn.Linear(2, 2))) == "Linear: Linear on cpu"
    assert repr(model).startswith("mine: GPT2LMHeadModel of 2 layers on cpu; sites: embeddings")
    assert model.tree().startswith("GPT2LMHeadModel")
