"""Generation with activations in one call, against transformers and against a long prefill."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import stratascope as ss

TALK = [{"role": "user", "content": "I am so happy today"}]


@torch.no_grad()
def test_what_is_written_is_what_transformers_writes(model: ss.Model) -> None:
    """Greedy tokens are those of `generate`, and log-probabilities those of its scores."""
    out = model.generate(TALK, max_new_tokens=12)
    prompt = model.tokenizer.apply_chat_template(
        TALK, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    expected = model.module.generate(
        **prompt,
        max_new_tokens=12,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
    )
    written = expected.sequences[0, prompt["input_ids"].shape[1] :].tolist()
    scores = torch.cat(expected.scores).log_softmax(-1)
    assert out.ids == written
    assert out.text == model.tokenizer.decode(written, skip_special_tokens=True)
    assert "".join(out.tokens[:4]) == model.tokenizer.decode(written[:4])
    chosen = scores[torch.arange(len(written)), written]
    assert out.logprobs == pytest.approx(chosen.tolist(), abs=1e-4)
    entropies = torch.special.entr(scores.exp()).sum(-1)
    assert out.entropies == pytest.approx(entropies.tolist(), abs=1e-4)
    assert out.prompt == [
        "<|user|>",
        "I",
        " am",
        " so",
        " happy",
        " to",
        "day",
        "<|end|>",
        "<|assistant|>",
    ]


@torch.no_grad()
def test_activations_are_those_of_everything_that_was_read(model: ss.Model) -> None:
    """One row a token, prompt and generated, as one pass over all of it gives; logits too."""
    out = model.generate("I am", max_new_tokens=8, sites=("hidden_out", "logits"), layers=[1, -1])
    assert out.activations.tokens == [[*out.prompt, *out.tokens[:-1]]]
    expected = model.module(out.activations.ids, output_hidden_states=True)
    hidden, logits = out.activations["hidden_out", 1], out.activations["logits"]
    assert torch.allclose(hidden, expected.hidden_states[2], atol=1e-4)
    assert torch.allclose(logits, expected.logits, atol=1e-3)
    assert out.activations.layers == [1, 5]


def test_sampling_reports_the_chosen_token(model: ss.Model) -> None:
    """A sampled token comes with its own log-probability, not with that of the likeliest."""
    settings: dict[str, Any] = {"do_sample": True, "temperature": 3.0, "max_new_tokens": 10}
    out = model.generate("We", sites="logits", **settings)
    logprobs = out.activations["logits"][0].log_softmax(-1)[len(out.prompt) - 1 :]
    assert out.logprobs == pytest.approx(logprobs[range(len(out.ids)), out.ids].tolist(), abs=1e-5)
    assert min(out.logprobs) < logprobs.max(-1).values.min()
    assert model.generate("We", **settings).ids == out.ids
    assert model.generate("We", seed=1, **settings).ids != out.ids


def test_nothing_recorded_and_nothing_left_behind(model: ss.Model, hooks: Any) -> None:
    """Without sites there is the text alone; after every generation the hooks are as before."""
    before = hooks(model.module)
    out = model.generate("We are", max_new_tokens=3, sites=())
    assert (len(out.ids), len(out.activations)) == (3, 0)
    model.generate(
        "We are", max_new_tokens=3, sites=("attn_weights", "model.layers.0.mlp"), layers=0
    )
    assert hooks(model.module) == before


def test_generation_inside_a_block(model: ss.Model) -> None:
    """A block around it records it as well, as one text that grew."""
    with model.record("hidden_out", layers=0) as acts:
        out = model.generate("We are", max_new_tokens=5, layers=0)
    assert torch.equal(acts["hidden_out", 0], out.activations["hidden_out", 0])


def test_how_it_shows_itself(model: ss.Model) -> None:
    """The text first, then a token a line."""
    out = model.generate("We are", max_new_tokens=3, sites=())
    lines = repr(out).splitlines()
    assert lines[0] == out.text
    assert [line.split()[0] for line in lines[-3:]] == [
        repr(token).split()[0] for token in out.tokens
    ]
    assert out._repr_html_().count("<tr>") == 4


@pytest.mark.parametrize(
    ("prompt", "settings", "message"),
    [
        (["We", "They"], {}, r"one prompt at a time \(found 2\)"),
        ("We", {"max_new_tokens": 0}, "generate: max_new_tokens"),
        ("We", {"top_p": 2}, "generate: top_p"),
        ("We", {"max_new_tokens": 2000}, "the model's context holds 1024"),
        ("We", {"sites": "hiden_out"}, "did you mean 'hidden_out'"),
    ],
)
def test_errors(model: ss.Model, prompt: Any, settings: Any, message: str) -> None:
    """What cannot be generated is said in one line."""
    with pytest.raises(ss.StratascopeError, match=message):
        model.generate(prompt, **settings)


def test_generating_needs_a_tokenizer(make: Any) -> None:
    """A model in memory without a tokenizer, and a module that is no language model."""
    for module in (make("gpt2"), torch.nn.Linear(2, 2)):
        with pytest.raises(ss.StratascopeError, match="with its tokenizer"):
            ss.wrap(module).generate([1, 2])
