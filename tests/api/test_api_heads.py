"""Detectors of heads on models: one whose weights are set by hand, and ones that know nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import stratascope as ss
from stratascope.api.heads import detect_heads
from stratascope.errors import StratascopeError

TOKENS, PLACES = 48, 40


@pytest.fixture(scope="module")
def planted(make: Any) -> ss.Model:
    """Two layers without MLPs. Head 0.1 looks at the previous token and writes which one it was; head
    1.0 looks where that equals the present token: induction. All other heads are uniform."""
    width = 2 * TOKENS + PLACES
    model = make(
        "gpt2", vocab_size=TOKENS, hidden_size=width, n_positions=PLACES, num_hidden_layers=2,
        num_attention_heads=2, n_inner=4, max_position_embeddings=PLACES, eos_token_id=None,
    )  # fmt: skip
    token, place, before = (
        slice(0, TOKENS),
        slice(TOKENS, TOKENS + PLACES),
        slice(TOKENS + PLACES, width),
    )
    half = width // 2
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if ".ln_" in name and "weight" in name else 0.0)
        model.transformer.wte.weight[:, token] = torch.eye(TOKENS)
        model.transformer.wpe.weight[:, place] = torch.eye(PLACES)
        # c_attn is (in, q | k | v), each with the numbers of head 0, then those of head 1.
        first = model.transformer.h[0].attn
        first.c_attn.weight[place, half : half + PLACES] = 20 * torch.eye(PLACES)
        first.c_attn.weight[place, width + half : width + half + PLACES] = torch.eye(PLACES).roll(
            1, 1
        )
        first.c_attn.weight[token, 2 * width + half : 2 * width + half + TOKENS] = torch.eye(TOKENS)
        first.c_proj.weight[half : half + TOKENS, before] = torch.eye(TOKENS)
        second = model.transformer.h[1].attn
        second.c_attn.weight[token, :TOKENS] = 20 * torch.eye(TOKENS)
        second.c_attn.weight[before, width : width + TOKENS] = torch.eye(TOKENS)
    return ss.wrap(model)


def test_a_planted_induction_head_is_found(planted: ss.Model) -> None:
    """Of four heads the planted one alone is an induction head, and its helper alone looks back."""
    found = detect_heads(planted, sequences=8, length=15)
    assert (found.layers, found.heads, found.induction.n) == ([0, 1], 2, 8)
    assert found.induction.found.tolist() == [False, False, True, False]
    assert found.induction.value[2] > 0.9
    assert found.previous.found.tolist() == [False, True, False, False]
    assert found.previous.value[1] > 0.9
    uniform = np.mean([1 / (i + 1) for i in range(15, 30)])
    assert found.induction.value[0] == pytest.approx(uniform, abs=1e-5)


def test_models_that_know_nothing_have_no_heads(make: Any) -> None:
    """Random weights of two architectures: no induction, no previous-token head, and the same twice."""
    for kind in ("gpt2", "llama"):
        model = ss.wrap(make(kind))
        found = detect_heads(model, sequences=8, length=20)
        assert not found.induction.found.any()
        assert not found.previous.found.any()
        again = detect_heads(model, sequences=8, length=20)
        np.testing.assert_array_equal(found.induction.value, again.induction.value)


def test_layers_and_limits_are_said(planted: ss.Model) -> None:
    """Only the layers asked for are read; too few tokens to draw, or too few sequences, are errors."""
    assert detect_heads(planted, layers=[-1], sequences=2, length=5).layers == [1]
    with pytest.raises(StratascopeError, match="48 tokens are too few for 60 distinct ones"):
        detect_heads(planted, length=30)
    with pytest.raises(StratascopeError, match="at least 2"):
        detect_heads(planted, length=1)
