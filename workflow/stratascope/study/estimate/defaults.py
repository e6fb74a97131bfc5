"""What transformers (5.23) takes where a config.json leaves a key out, by model type."""

from __future__ import annotations

from typing import Any

_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)
# In the order of the keys above; none: it follows from the other numbers.
_SIZES: dict[str, tuple[int | None, ...]] = {
    "bert": (30522, 768, 3072, 12, 12, None, 512),
    "bloom": (250880, 64, None, 2, 8, None, None),
    "falcon": (65024, 4544, None, 32, 71, None, 2048),
    "gemma": (256000, 3072, 24576, 28, 16, 16, 8192),
    "gemma2": (256000, 2304, 9216, 26, 8, 4, 8192),
    "gemma3_text": (262208, 2304, 9216, 26, 8, 4, 131072),
    "gpt2": (50257, 768, None, 12, 12, None, 1024),
    "gpt_neox": (50432, 6144, 24576, 44, 64, None, 2048),
    "gptj": (50400, 4096, None, 28, 16, None, 2048),
    "llama": (32000, 4096, 11008, 32, 32, None, 2048),
    "mistral": (32000, 4096, 14336, 32, 32, 8, 131072),
    "mixtral": (32000, 4096, 14336, 32, 32, 8, 131072),
    "mpnet": (30527, 768, 3072, 12, 12, None, 512),
    "olmo2": (50304, 4096, 11008, 32, 32, None, 2048),
    "opt": (50272, 768, None, 12, 12, None, 2048),
    "phi": (51200, 2048, 8192, 24, 32, None, 2048),
    "phi3": (32064, 3072, 8192, 32, 32, None, 4096),
    "qwen2": (151936, 4096, 22016, 32, 32, 32, 32768),
    "qwen2_moe": (151936, 2048, 5632, 24, 16, 16, 32768),
    "qwen3": (151936, 4096, 22016, 32, 32, 32, 32768),
    "qwen3_moe": (151936, 2048, 6144, 24, 32, 4, 32768),
    "roberta": (50265, 768, 3072, 12, 12, None, 512),
    "stablelm": (50304, 2560, 6912, 32, 32, 32, 4096),
}
_TIED = {"tie_word_embeddings": True}
_OTHERS: dict[str, dict[str, Any]] = {
    "bert": {"type_vocab_size": 2},
    "bloom": _TIED,
    "falcon": _TIED | {"multi_query": True, "parallel_attn": True},
    "gemma": _TIED | {"head_dim": 256},
    "gemma2": _TIED | {"head_dim": 256, "final_logit_softcapping": 30.0},
    "gemma3": _TIED,
    "gemma3_text": _TIED | {"head_dim": 256},
    "gpt2": _TIED,
    "gpt_neox": {"attention_bias": True},
    "mixtral": {"num_experts": 8, "num_experts_per_tok": 2},
    "mpnet": {"relative_attention_num_buckets": 32},
    "opt": _TIED
    | {
        "ffn_dim": 3072,
        "do_layer_norm_before": True,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
    },
    "qwen2_moe": {
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "decoder_sparse_step": 1,
        "qkv_bias": True,
    },
    "qwen3": {"head_dim": 128},
    "qwen3_moe": {
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "decoder_sparse_step": 1,
    },
    "roberta": {"type_vocab_size": 2},
}
# The vision tower of Gemma 3.
SIGLIP: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 16,
    "vision_use_head": True,
}


def defaults_of(model_type: str) -> dict[str, Any]:
    """The keys that hold for a model type where its config.json does not say them."""
    sizes = zip(_KEYS, _SIZES.get(model_type, ()), strict=False)
    known = {key: value for key, value in sizes if value is not None}
    return known | _OTHERS.get(model_type, {})
