"""Published models by what their config.json says, written here by hand: nothing is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stratascope.errors import StratascopeError
from stratascope.study.estimate import Files, shape_of

LLAMA_3: dict[str, Any] = {"model_type": "llama", "vocab_size": 128256}
# The config's sizes, and how many parameters its publishers say it has.
PUBLISHED: dict[str, tuple[dict[str, Any], float]] = {
    "Llama-3-8B": (
        LLAMA_3
        | {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
        | {"num_attention_heads": 32, "num_key_value_heads": 8},
        8.03e9,
    ),
    "Llama-3-70B": (
        LLAMA_3
        | {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80}
        | {"num_attention_heads": 64, "num_key_value_heads": 8},
        70.55e9,
    ),
    # As its config.json is on the hub, without keys that are younger than it.
    "GPT-2": (
        {"model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12}
        | {"n_positions": 1024, "vocab_size": 50257},
        124.4e6,
    ),
    "Pythia-70m": (
        {"model_type": "gpt_neox", "hidden_size": 512, "intermediate_size": 2048}
        | {"num_attention_heads": 8, "num_hidden_layers": 6, "vocab_size": 50304},
        70.4e6,
    ),
    "Mixtral-8x7B": (
        {"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336}
        | {"num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32}
        | {"num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000},
        46.7e9,
    ),
    "Gemma-2-2b": (
        {"model_type": "gemma2", "hidden_size": 2304, "intermediate_size": 9216, "head_dim": 256}
        | {"num_attention_heads": 8, "num_key_value_heads": 4, "num_hidden_layers": 26}
        | {"vocab_size": 256000},
        2.61e9,
    ),
    "Gemma-3-4b": (
        {
            "model_type": "gemma3",
            "text_config": {"hidden_size": 2560, "intermediate_size": 10240}
            | {"model_type": "gemma3_text", "num_hidden_layers": 34},
            "vision_config": {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304}
            | {"num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False},
        },
        4.30e9,
    ),
    "Qwen2.5-7B": (
        {"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944}
        | {"num_attention_heads": 28, "num_key_value_heads": 4, "num_hidden_layers": 28}
        | {"tie_word_embeddings": False, "vocab_size": 152064},
        7.62e9,
    ),
    "Qwen3-30B-A3B": (
        {"model_type": "qwen3_moe", "hidden_size": 2048, "head_dim": 128, "vocab_size": 151936}
        | {"num_attention_heads": 32, "num_key_value_heads": 4, "num_hidden_layers": 48}
        | {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768},
        30.5e9,
    ),
    "Mistral-7B": (
        {"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336}
        | {"num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32}
        | {"vocab_size": 32000},
        7.24e9,
    ),
    "Falcon-7B": (
        {"model_type": "falcon", "alibi": False, "bias": False, "hidden_size": 4544}
        | {"multi_query": True, "new_decoder_architecture": False, "num_attention_heads": 71}
        | {"num_hidden_layers": 32, "parallel_attn": True, "vocab_size": 65024},
        6.92e9,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_totals(name: str) -> None:
    """The parameters agree with the published number in all its digits (Pythia's, GPT-2's: to 0.1%)."""
    config, published = PUBLISHED[name]
    shape = shape_of(config)
    assert shape is not None
    assert shape.parameters == pytest.approx(published, rel=2e-3)


def test_experts_that_are_not_asked_do_not_count_as_work() -> None:
    """Of Mixtral's 46.7 billion parameters, 12.9 billion see a token, as its paper says."""
    shape = shape_of(PUBLISHED["Mixtral-8x7B"][0])
    assert shape is not None
    assert shape.matrices + shape.head_matrix + 32000 * 4096 == pytest.approx(12.9e9, rel=5e-3)


def test_an_unknown_model_type_has_no_sizes() -> None:
    """What the table lacks is unknown, not guessed."""
    assert shape_of({"model_type": "mamba", "hidden_size": 768}) is None
    assert shape_of({}) is None


def test_a_size_that_is_no_number_is_named() -> None:
    """A config.json that cannot be right is an error that names the key."""
    with pytest.raises(StratascopeError, match=r"config\.json: num_hidden_layers: .*'twelve'"):
        shape_of({"model_type": "llama", "num_hidden_layers": "twelve"})


def test_files_of_a_folder(tmp_path: Path) -> None:
    """The first format that lies there counts, and the precision of the text model."""
    for name, size in {"a.safetensors": 100, "b.safetensors": 20, "model.bin": 500}.items():
        (tmp_path / name).write_bytes(bytes(size))
    assert Files.of({"torch_dtype": "bfloat16"}, tmp_path) == Files(120, "bfloat16")
    assert Files.of({"text_config": {"dtype": "float16"}}) == Files(None, "float16")
    quantized = Files.of({"dtype": "float16", "quantization_config": {"bits": 4}}, tmp_path)
    assert quantized == Files(120, "float16", quantized=True)
