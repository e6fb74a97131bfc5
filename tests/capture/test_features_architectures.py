"""A text's features are those of the text by itself, on every architecture and in any batch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stratascope.capture.features import extract as extraction
from stratascope.capture.features.batches import plan_batches
from stratascope.capture.loading import load
from stratascope.capture.recorder import record
from stratascope.capture.sites import family_sites, site_taps
from stratascope.errors import StratascopeError

TEXTS = [
    "The bear was happy, and the river sang all day long.",
    "The end.",
    "How are you today? I am well, thank you. I adore you deeply.",
    "bear",
    "Everything is hopeless and hollow.\nThe world is quiet and serene.",
    "Tell me a story about a small bear and a big river.",
    "river sang",
]
CLOSE = 1e-5
# One of each way that positions and padding could matter: absolute and rotary positions, positions
# counted from the padding, ALiBi, a sliding window, experts, flat rows, and an encoder.
QUICK = ["gpt2", "llama", "opt", "bloom", "mistral_window", "qwen3_moe", "roberta"]
OTHERS = [
    "qwen2", "qwen3", "mistral", "mixtral", "qwen2_moe", "gemma", "gemma2", "gemma2_window",
    "gemma3", "gemma3_images", "phi", "phi3", "gpt_neox", "gpt_neox_serial", "gptj", "opt_post",
    "bloom_post", "falcon", "falcon_new", "falcon_heads", "falcon_alibi", "olmo2", "stablelm",
    "stablelm_parallel", "bert", "mpnet",
]  # fmt: skip
ARCHITECTURES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]


def alone(loaded: Any, text: str, sites: list[str]) -> dict[str, np.ndarray]:
    """Every token's rows of a text in a pass of the whole model, as runs record them."""
    found: dict[str, np.ndarray] = {}

    def keep(names: tuple[str, ...], rows: torch.Tensor) -> None:
        found.update({name: rows.float().numpy().copy() for name in names})

    taps = site_taps(loaded.model, loaded.family, sites, range(loaded.layers))
    ids = loaded.tokenizer(text, return_tensors="pt").input_ids
    with torch.inference_mode(), record(loaded.model, taps, keep):
        loaded.model(input_ids=ids, use_cache=False)
    return found


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batched_equals_alone(
    loaded_model: Callable[[str], Any], extract: Any, architecture: str, tmp_path: Path
) -> None:
    """Every site of every token is what the text gives by itself, whichever side a tokenizer pads."""
    loaded = loaded_model(architecture)
    absent = {"attn_weights", "final_norm"} if architecture == "opt_post" else {"attn_weights"}
    sites = [site.name for site in family_sites(loaded.family) if site.name not in absent]
    found = {}
    side = loaded.tokenizer.padding_side
    try:
        for loaded.tokenizer.padding_side in ("left", "right"):
            folder = tmp_path / loaded.tokenizer.padding_side
            found[folder.name] = extract(loaded, folder, TEXTS, sites=sites, position="all")
    finally:
        loaded.tokenizer.padding_side = side
    left, right = found["left"], found["right"]
    for number, text in enumerate(TEXTS):
        expected = alone(loaded, text, sites)
        assert set(expected) == set(left.names)
        for name in left.names:
            rows = left.matrix(name, left.text_rows(number))
            assert difference(rows, expected[name]) < CLOSE, (name, text)
    for name in left.names:
        np.testing.assert_array_equal(left.matrix(name), right.matrix(name))


@pytest.mark.parametrize("budget", [1, 16, 40])
def test_any_batch_gives_the_same(
    loaded_model: Any, extract: Any, tmp_path: Path, monkeypatch: Any, budget: int
) -> None:
    """Whatever texts share a batch and in whatever order they come, each has its own features."""
    loaded = loaded_model("gpt2")
    usual = extract(loaded, tmp_path / "usual", TEXTS)
    monkeypatch.setattr(extraction, "token_budget", lambda *_, **__: budget)
    order = np.random.default_rng(budget).permutation(len(TEXTS))
    other = extract(loaded, tmp_path / "other", [TEXTS[i] for i in order], shard_texts=4)
    assert other.info["batches"]["token_budget"] == budget
    for name in usual.names:
        assert difference(other.matrix(name), usual.matrix(name)[order]) < CLOSE


def test_nothing_is_computed_below_the_deepest_module(
    loaded_model: Any, extract: Any, tmp_path: Path
) -> None:
    """Layers below the last one wanted do not run, nor does the head; what is kept stays the same."""
    loaded = loaded_model("llama")
    whole = extract(loaded, tmp_path / "whole", TEXTS, sites=("hidden_out", "logits"))
    ran: list[str] = []
    watched = (
        "model.layers.1.self_attn",
        "model.layers.1",
        "model.layers.2",
        "model.norm",
        "lm_head",
    )
    hooks = [
        loaded.model.get_submodule(name).register_forward_pre_hook(
            lambda *_, name=name: ran.append(name)
        )
        for name in watched
    ]
    try:
        first = extract(loaded, tmp_path / "first", TEXTS, layers=(0,))
        probing, ran[:] = list(ran), []
        extract(loaded, tmp_path / "deeper", TEXTS, layers=(1,), sites=("q", "hidden_in"))
    finally:
        for hook in hooks:
            hook.remove()
    # A pass of a few tokens finds out what is the deepest.
    assert probing == ["model.layers.1", "model.layers.1.self_attn", "model.layers.2", "model.norm"]
    assert set(ran[4:]) == {"model.layers.1", "model.layers.1.self_attn"}
    name = "layer_00/hidden_out"
    np.testing.assert_array_equal(first.matrix(name), whole.matrix(name))


def test_a_module_by_name_beside_sites(loaded_model: Any, extract: Any, tmp_path: Path) -> None:
    """Modules and their inputs are read like sites; one that is not there is answered by the nearest."""
    loaded = loaded_model("llama")
    names = ("model.layers.1.mlp.down_proj:input", "model.layers.1.mlp.down_proj")
    found = extract(
        loaded,
        tmp_path / "a",
        TEXTS,
        sites=("mlp_down_in", "mlp_down_out"),
        layers=(1,),
        modules=names,
    )
    for module, site in zip(names, ("mlp_down_in", "mlp_down_out"), strict=True):
        np.testing.assert_array_equal(
            found.matrix(f"module/{module}"), found.matrix(f"layer_01/{site}")
        )
    with pytest.raises(StratascopeError, match=r"modules: .*did you mean 'model.layers.1.mlp'"):
        extract(loaded, tmp_path / "b", TEXTS, modules=("model.layer.1.mlp",))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"sites": ("hidden_outt",)}, "sites: .* no site 'hidden_outt'; did you mean 'hidden_out'"),
        ({"layers": (0, 3)}, "layers: 3 is not a layer of this model, which has layers 0 to 2"),
        ({"sites": ("attn_weights",)}, "attn_weights are no features"),
        ({"sites": ("router_logits",)}, "this llama has no site 'router_logits'"),
        ({"modules": ("model.rotary_emb",)}, "module/model.rotary_emb: module .* not one row a token"),
        ({"modules": ("model.layers.0.mlp.act_fn", "model.layers")}, "module/model.layers: .* did not run"),
    ],
)  # fmt: skip
def test_what_the_model_has_not_is_an_error(
    loaded_model: Any, extract: Any, tmp_path: Path, asked: dict[str, Any], told: str
) -> None:
    """Sites, layers and modules that cannot be read are named, and nothing is left behind."""
    with pytest.raises(StratascopeError, match=told):
        extract(loaded_model("llama"), tmp_path / "a", TEXTS, **asked)
    assert not (tmp_path / "a").exists()
    assert not loaded_model("llama").model.model.layers[0]._forward_hooks


def test_long_rope_keeps_short_texts_apart(
    folders: Any, checkpoint: Any, extract: Any, tmp_path: Path
) -> None:
    """A text within the length of pretraining is not padded beyond it, where positions turn otherwise."""
    folder = tmp_path / "phi3"
    shutil.copytree(folders("phi3"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": 10,
    }
    config["original_max_position_embeddings"] = 10
    (folder / "config.json").write_text(json.dumps(config))
    loaded = load(checkpoint(folder))
    found = extract(loaded, tmp_path / "features", TEXTS, position="all")
    tokens = found.index.column("tokens").to_pylist()
    assert min(tokens) <= 10 < max(tokens)
    for number, text in enumerate(TEXTS):
        for name, rows in alone(loaded, text, ["hidden_out"]).items():
            assert difference(found.matrix(name, found.text_rows(number)), rows) < CLOSE


def test_batches_are_full_and_of_like_length() -> None:
    """Every text is in one batch; a padded batch keeps to the budget unless it is a single text."""
    lengths = np.random.default_rng(0).integers(1, 200, 500).tolist()
    for budget, border in ((1, None), (300, None), (2048, None), (2048, 64)):
        batches = plan_batches(lengths, budget, border)
        assert sorted(number for batch in batches for number in batch) == list(range(500))
        padded = 0
        for batch in batches:
            longest = max(lengths[number] for number in batch)
            assert len(batch) == 1 or longest * len(batch) <= budget
            assert border is None or len({lengths[number] > border for number in batch}) == 1
            padded += longest * len(batch)
        assert budget < 2048 or padded < 1.05 * sum(lengths)
