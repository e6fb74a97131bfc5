"""How each architecture turns its last layer's output into logits: which tensors, which norm.

Read from config.json alone, so that a logit lens needs neither torch nor the rest of the weights. A
test holds this table and that of ``capture.families`` together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from stratascope.errors import StratascopeError
from stratascope.study.estimate import Shape, shape_of
from stratascope.study.estimate.defaults import defaults_of

# `rms` divides by the root of the mean square; `rms_plus_one` then multiplies with 1 + weight (Gemma);
# `layer` takes the mean away first, and adds a bias.
Kind = Literal["rms", "rms_plus_one", "layer"]


@dataclass(frozen=True)
class Ending:
    """Names of tensors in a checkpoint's files, without ``.weight``; the defaults are Llama's.

    ``norm``, ``embed``, ``head`` and ``project`` (behind the norm, where the head is narrower than the
    stream) are of the model; ``o`` (attention's output projection) and ``post`` (the norm on what
    attention adds to the stream) of a layer. ``head`` may have had several names. ``inputs_first``:
    projections are stored (inputs, outputs). ``eps`` is the norm's key in config.json and its default.
    """

    kind: Kind = "rms"
    eps: tuple[str, float] = ("rms_norm_eps", 1e-6)
    norm: str = "model.norm"
    embed: str = "model.embed_tokens"
    head: tuple[str, ...] = ("lm_head",)
    layers: str = "model.layers"
    o: str = "self_attn.o_proj"
    post: str | None = None
    project: str | None = None
    inputs_first: bool = False


_LLAMA = Ending()
_GEMMA = replace(_LLAMA, kind="rms_plus_one")
_GEMMA2 = replace(_GEMMA, post="post_attention_layernorm")
_LAYER = replace(_LLAMA, kind="layer", eps=("layer_norm_eps", 1e-5))
_GPT2 = Ending(
    kind="layer",
    eps=("layer_norm_epsilon", 1e-5),
    norm="transformer.ln_f",
    embed="transformer.wte",
    layers="transformer.h",
    o="attn.c_proj",
    inputs_first=True,
)
_BLOOM = replace(
    _GPT2,
    embed="transformer.word_embeddings",
    o="self_attention.dense",
    inputs_first=False,
)

# By `model_type` of config.json.
ENDINGS: dict[str, Ending] = {
    "bloom": _BLOOM,
    "falcon": _BLOOM,
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3": replace(
        _GEMMA2,
        norm="model.language_model.norm",
        embed="model.language_model.embed_tokens",
        layers="model.language_model.layers",
    ),
    "gemma3_text": _GEMMA2,
    "gpt2": _GPT2,
    "gpt_neox": replace(
        _LAYER,
        norm="gpt_neox.final_layer_norm",
        embed="gpt_neox.embed_in",
        head=("lm_head", "embed_out"),
        layers="gpt_neox.layers",
        o="attention.dense",
    ),
    "gptj": replace(_GPT2, o="attn.out_proj", inputs_first=False),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mixtral": replace(_LLAMA, eps=("rms_norm_eps", 1e-5)),
    "olmo2": replace(_LLAMA, eps=("rms_norm_eps", 1e-5), post="post_attention_layernorm"),
    "opt": replace(
        _LAYER,
        eps=("", 1e-5),  # not in its configuration
        norm="model.decoder.final_layer_norm",
        embed="model.decoder.embed_tokens",
        layers="model.decoder.layers",
        o="self_attn.out_proj",
        project="model.decoder.project_out",
    ),
    "phi": replace(_LAYER, norm="model.final_layernorm", o="self_attn.dense"),
    "phi3": replace(_LLAMA, eps=("rms_norm_eps", 1e-5)),
    "qwen2": _LLAMA,
    "qwen2_moe": _LLAMA,
    "qwen3": _LLAMA,
    "qwen3_moe": _LLAMA,
    "stablelm": _LAYER,
}


@dataclass(frozen=True)
class Plan:
    """An `Ending` with one model's numbers.

    ``cap``: logits are ``cap * tanh(x / cap)``. ``adds_up``: ``hidden_out`` is ``hidden_in`` plus what
    attention and MLP add; not where a norm is put on the stream itself.
    """

    ending: Ending
    shape: Shape
    eps: float
    cap: float | None
    adds_up: bool


def plan_of(config: Mapping[str, Any], shown: str) -> Plan:
    """How the model of a config.json makes logits. ``shown`` names it in errors.

    Raises:
        StratascopeError: an encoder, which has no head, or an architecture that the table lacks.
    """
    kind = str(config.get("model_type"))
    shape = shape_of(config)
    if shape is not None and not shape.head:
        raise StratascopeError(
            f"{shown}: a {kind} is an encoder, loaded without a head: it has no logits to read a layer by"
        )
    if shape is None or kind not in ENDINGS or config.get("use_bidirectional_attention"):
        raise StratascopeError(
            f"{shown}: how a {kind!r} makes logits is not known (known: {', '.join(sorted(ENDINGS))})"
        )
    ending = ENDINGS[kind]
    text = defaults_of(kind) | dict(config.get("text_config") or config)
    key, default = ending.eps
    cap = text.get("final_logit_softcapping") if kind in ("gemma2", "gemma3_text") else None
    norms_the_stream = text.get("apply_residual_connection_post_layernorm") or not text.get(
        "do_layer_norm_before", True
    )
    return Plan(ending, shape, float(text.get(key, default)), cap, not norms_the_stream)
