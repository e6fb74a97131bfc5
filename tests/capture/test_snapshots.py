from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from stratascope.capture import packing
from stratascope.capture.prompts import render, tokenize
from stratascope.capture.run import capture_references, capture_run, prefix_name
from stratascope.capture.snapshots import take_snapshots
from stratascope.errors import StratascopeError
from stratascope.study.schema import Message

SOURCES = ("hidden_in", "hidden_out", "attn_out", "mlp_down_out")

# Cuts what an assistant said before, as templates do with thoughts: a prefix that ends with it is
# then no prefix of the whole.
BREAKS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'][:6] if m['role'] == 'assistant' and not loop.last else m['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Shows the number of messages in front, so that nothing but that first token is shared.
COUNTS = "{{ messages | length }}" + BREAKS
# Refuses to end on the system's turn.
REFUSES = (
    "{% if messages[-1]['role'] == 'system' %}{{ raise_exception('a user must speak') }}{% endif %}"
    + BREAKS
)


def with_template(loaded: Any, template: str | None) -> Any:
    """The same model with another chat template."""
    import copy

    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.chat_template = template
    return dataclasses.replace(loaded, tokenizer=tokenizer)


@torch.no_grad()
def one_by_one(loaded: Any, messages: Any) -> list[dict[str, np.ndarray]]:
    """Independent: transformers' own hidden states, one forward pass a prefix, and the token ids."""
    result = []
    for i in range(len(messages)):
        ids = tokenize(loaded.tokenizer, render(loaded.tokenizer, messages[: i + 1])).ids
        out = loaded.model(torch.tensor([ids]), output_hidden_states=True)
        states = {"ids": np.array(ids)}
        for layer in range(loaded.layers):
            states[f"layer_{layer:02d}/hidden_in"] = out.hidden_states[layer][0].numpy()
        result.append(states)
    return result


def snap(loaded: Any, run: Any, folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    capture_run(loaded, run, folder)
    info = json.loads((folder / "run.json").read_text())
    return load_file(folder / "snapshots.safetensors"), info["snapshots"]


TEMPLATES = {"own": None, "breaks": BREAKS, "counts": COUNTS}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("name", ["llama+chat", "qwen3+chat", "mistral", "mistral_window", "qwen2"])
def test_snapshots_equal_one_forward_a_prefix(
    loaded_model: Any, make_run: Any, tmp_path: Path, conversation: Any, name: str, template: str
) -> None:
    """Packed or not, every position of every message is what its prefix alone gives."""
    loaded = loaded_model(name)
    if template != "own":
        loaded = with_template(loaded, TEMPLATES[template])
    states, info = snap(loaded, make_run(loaded, generation={"max_new_tokens": 1}), tmp_path)
    per_prefix = name == "mistral_window" or template == "counts"
    assert info["method"] == ("per_prefix" if per_prefix else "packed"), info["reason"]
    assert (info["reason"] is None) != per_prefix
    assert len(states) == 3 * 3 * 4
    assert not info["skipped"]
    for i, expected in enumerate(one_by_one(loaded, conversation)):
        for position, where in info["messages"][i]["tokens"].items():
            if position == "generation_prompt":
                assert where["indices"] == [len(expected["ids"]) - 1]
            for layer in range(3):
                site = f"layer_{layer:02d}/hidden_in"
                alone = expected[site][where["indices"]].mean(0)
                packed = states[f"{position}/{site}"][i]
                assert packed.dtype == np.float32
                assert np.abs(packed - alone).max() <= 1e-5 * np.abs(alone).max()


def test_residual_sources_add_up(loaded_model: Any, make_run: Any, tmp_path: Path) -> None:
    """At every position hidden_out is hidden_in + attn_out + mlp_down_out."""
    loaded = loaded_model("llama+chat")
    states, _ = snap(loaded, make_run(loaded), tmp_path)
    for position in ("generation_prompt", "turn_end", "content_mean"):
        for layer in range(3):
            a, b, c, d = (states[f"{position}/layer_{layer:02d}/{s}"] for s in SOURCES)
            np.testing.assert_allclose(b, a + c + d, rtol=1e-4, atol=1e-5)


def test_several_rows_give_what_one_row_gives(
    loaded_model: Any, make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small row budget splits the pack; the states stay."""
    loaded = loaded_model("llama+chat")
    run = make_run(loaded)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, _ = snap(loaded, run, tmp_path / "a")
    whole = packing.pack
    monkeypatch.setattr(packing, "pack", lambda sequences: whole(sequences, 8))
    many, info = snap(loaded, run, tmp_path / "b")
    assert info["method"] == "packed"
    for name, state in one.items():
        np.testing.assert_allclose(many[name], state, rtol=1e-4, atol=1e-5)


def test_a_tokenizer_that_merges_across_the_newline(
    loaded_model: Any, make_run: Any, tmp_path: Path
) -> None:
    """Without a template a token may hold the newline and what follows; the states are exact still."""
    loaded = loaded_model("llama")
    messages = tuple(Message(role="user", content=t) for t in ("hollow.\n", "\nbear", "river"))
    first, second = (
        tokenize(loaded.tokenizer, render(loaded.tokenizer, messages[:n])).ids for n in (1, 2)
    )
    assert first != second[: len(first)]  # the prefix property does break here
    states, info = snap(loaded, make_run(loaded, messages=messages), tmp_path)
    expected = one_by_one(loaded, messages)
    for i in range(3):
        for position, where in info["messages"][i]["tokens"].items():
            alone = expected[i]["layer_02/hidden_in"][where["indices"]].mean(0)
            packed = states[f"{position}/layer_02/hidden_in"][i]
            assert np.abs(packed - alone).max() <= 1e-5 * np.abs(alone).max()


def test_refused_and_empty_messages_are_skipped_with_the_reason(
    loaded_model: Any, make_run: Any, tmp_path: Path, conversation: Any
) -> None:
    """What the template refuses, and what has no content, is a NaN row that says why."""
    loaded = with_template(loaded_model("llama+chat"), REFUSES)
    messages = (*conversation[:2], Message(role="assistant", content=" "), conversation[3])
    states, info = snap(loaded, make_run(loaded, messages=messages), tmp_path)
    assert info["skipped"] == [
        {
            "index": 0,
            "role": "system",
            "position": None,
            "reason": "the chat template refuses this conversation: a user must speak",
        },
        *(
            {"index": 2, "role": "assistant", "position": p, "reason": "the message has no content"}
            for p in ("turn_end", "content_mean")
        ),
    ]
    gone = {name: np.isnan(state).all(axis=1).tolist() for name, state in states.items()}
    for name, rows in gone.items():
        assert rows == [True, False, not name.startswith("generation_prompt"), False]
        assert np.isnan(states[name]).any(axis=1).tolist() == rows
    assert info["messages"][0]["tokens"] == {}


def test_a_prefix_has_one_name_wherever_it_stands(conversation: Any) -> None:
    """The name of a prefix depends on roles and contents alone."""
    same = tuple(Message(role=m.role, content=m.content) for m in conversation[:2])
    assert prefix_name(same) == prefix_name(conversation[:2])
    assert len({prefix_name(conversation[:n]) for n in (1, 2, 3, 4)}) == 4
    swapped = (Message(role="user", content=same[0].content), same[1])
    assert prefix_name(swapped) != prefix_name(same)


TEXTS = {
    "love": "I adore you deeply.",
    "hate": "I despise you, all day long.",
    "apathy": "I feel nothing",
    "peace": "The world is quiet and serene. The world is quiet.",
}


@pytest.mark.parametrize("name", ["llama+chat", "qwen2", "mistral_window"])
def test_references_packed_equal_each_alone(
    loaded_model: Any, make_references: Any, tmp_path: Path, name: str
) -> None:
    """A reference's state does not depend on the references that share its row."""
    loaded = loaded_model(name)
    together = tmp_path / "all"
    together.mkdir()
    capture_references(loaded, make_references(loaded, TEXTS), together)
    packed = load_file(together / "references.safetensors")
    info = json.loads((together / "references.json").read_text())
    assert info["labels"] == list(TEXTS)
    assert info["method"] == ("per_prefix" if name == "mistral_window" else "packed")
    for i, (label, text) in enumerate(TEXTS.items()):
        folder = tmp_path / label
        folder.mkdir()
        capture_references(loaded, make_references(loaded, {label: text}), folder)
        for key, state in load_file(folder / "references.safetensors").items():
            assert state.shape == (1, 32)
            np.testing.assert_allclose(packed[key][i], state[0], rtol=1e-4, atol=1e-5)
        shown = info["references"][i]["tokens"]["content_mean"]["text"]
        assert "".join(shown).strip() == text


def test_a_reference_that_cannot_be_read_is_an_error(
    loaded_model: Any, make_references: Any, tmp_path: Path
) -> None:
    """References are not skipped: the error names the label."""
    loaded = loaded_model("llama")
    with pytest.raises(StratascopeError, match="'void' turn_end: the message has no content"):
        capture_references(loaded, make_references(loaded, TEXTS | {"void": " \n"}), tmp_path)


def test_a_state_that_is_not_finite_is_an_error(
    loaded_model: Any, make_run: Any, tmp_path: Path
) -> None:
    """NaN inside the model never becomes a snapshot; the error says where it appeared."""
    loaded = loaded_model("llama")
    weight = loaded.model.model.layers[1].mlp.down_proj.weight
    kept = weight.data.clone()
    weight.data[0] = float("nan")
    off = dict.fromkeys(["hidden_states", "attention_weights", "qkv", "mlp", "logits"], False)
    try:
        with pytest.raises(StratascopeError, match="logits at step 0: not finite"):
            capture_run(loaded, make_run(loaded, **off), tmp_path)
        where = "turn_end/layer_01/mlp_down_out of the snapshot after message 0: 1 of 32 values"
        with pytest.raises(StratascopeError, match=where):
            take_snapshots(loaded, make_run(loaded).messages, [1], ["turn_end"], prefix_name)
    finally:
        weight.data.copy_(kept)
