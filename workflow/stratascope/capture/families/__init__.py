"""Where an architecture keeps its parts: one entry for each model type."""

from __future__ import annotations

from typing import Any

from stratascope.capture.families import decoders, encoders
from stratascope.capture.families.family import Family, Heads, Part, heads_of

__all__ = ["FAMILIES", "Family", "Heads", "Part", "family_of", "heads_of"]

# By `model_type` of a model's config.json.
FAMILIES: dict[str, Family] = {
    "bert": encoders.BERT,
    "bloom": decoders.BLOOM,
    "falcon": decoders.FALCON,
    "gemma": decoders.LLAMA,
    "gemma2": decoders.GEMMA2,
    "gemma3": decoders.GEMMA3_IMAGES,
    "gemma3_text": decoders.GEMMA3,
    "gpt2": decoders.GPT2,
    "gpt_neox": decoders.GPT_NEOX,
    "gptj": decoders.GPTJ,
    "llama": decoders.LLAMA,
    "mistral": decoders.LLAMA,
    "mixtral": decoders.MIXTRAL,
    "mpnet": encoders.MPNET,
    "olmo2": decoders.OLMO2,
    "opt": decoders.OPT,
    "phi": decoders.PHI,
    "phi3": decoders.PHI3,
    "qwen2": decoders.LLAMA,
    "qwen2_moe": decoders.QWEN_MOE,
    "qwen3": decoders.LLAMA,
    "qwen3_moe": decoders.QWEN_MOE,
    "roberta": encoders.ROBERTA,
    "stablelm": decoders.LLAMA,
}


def family_of(config: Any) -> Family | None:
    """The entry for a model's configuration; none for an architecture that the table lacks."""
    if getattr(config, "use_bidirectional_attention", False):
        return None  # a decoder made an encoder, such as EmbeddingGemma
    if config.model_type == "falcon" and config.alibi:
        return decoders.FALCON_ALIBI
    return FAMILIES.get(config.model_type)
