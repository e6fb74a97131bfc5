"""Gradients in a notebook: the same as by hand, for texts, tokens and any number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import stratascope as ss

PROMPT = "I am so happy"


def test_gradients_of_a_text_are_those_by_hand(
    model: ss.Model, hooks: Callable[[nn.Module], int]
) -> None:
    """`model.gradients` gives what recording with a graph and `backward` give, and leaves no hook."""
    sites, before = ["hidden_out", "q", "embeddings", "attn_weights"], hooks(model.module)
    value, found = model.gradients(PROMPT, of=" and", sites=sites)
    token = model.tokenizer.encode(" and", add_special_tokens=False)
    assert len(token) == 1
    with model.record(*sites, grad=True) as acts:
        expected = model(PROMPT).logits[0, -1].log_softmax(-1)[token[0]]
        expected.backward()
    assert value == pytest.approx(expected.item(), abs=1e-5)
    assert set(found) == set(acts)
    for name in set(found) - {f"layer_{i:02d}/attn_weights" for i in range(model.layers)}:
        assert found[name].shape == acts[name].shape
        error = (found[name] - acts[name].grad).abs().max()
        assert error <= 1e-4 * found[name].abs().max(), name
    assert found["layer_02/attn_weights"].any()
    assert found.tokens == acts.tokens
    assert hooks(model.module) == before


def test_gradients_of_what_was_generated(model: ss.Model) -> None:
    """Token ids of a generation have the sum of its log-probabilities, and its rows."""
    written = model.generate(PROMPT, max_new_tokens=5, sites="hidden_out", layers=3)
    value, found = model.gradients(PROMPT, of=written.ids, layers=3)
    assert value == pytest.approx(sum(written.logprobs), abs=1e-4)
    assert found["layer_03/hidden_out"].shape == written.activations["layer_03/hidden_out"].shape
    assert not torch.equal(found["layer_03/hidden_out"], written.activations["layer_03/hidden_out"])


def test_gradients_of_any_number(make: Callable[..., Any], model: ss.Model) -> None:
    """A function of the output will do, in a model loaded without Stratascope."""
    wrapped = ss.wrap(make("gpt2"), model.tokenizer)
    value, found = wrapped.gradients([5, 6, 7], of=lambda out: out.logits[0, 1, 4], sites="v")
    assert found["layer_01/v"].shape == (1, 3, 32)
    assert not found["layer_01/v"][0, 2].any()  # a later token
    assert found["layer_01/v"][0, :2].any()
    with torch.no_grad():
        logits = wrapped.module(torch.tensor([[5, 6, 7]])).logits
    assert value == pytest.approx(logits[0, 1, 4].item(), abs=1e-5)


def test_a_slip_is_one_line(model: ss.Model) -> None:
    """Several prompts, and a continuation without tokens, are refused."""
    for prompt, of, said in [
        ([PROMPT, PROMPT], " and", "one prompt at a time (found 2)"),
        (PROMPT, "", "of='' has no tokens"),
        (PROMPT, [1] * 5000, "together"),
    ]:
        with pytest.raises(ss.StratascopeError) as caught:
            model.gradients(prompt, of=of)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
