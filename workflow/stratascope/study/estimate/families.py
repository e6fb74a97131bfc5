"""Config.json by model type: what each key means for the sizes, and what holds where it is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from stratascope.errors import StratascopeError
from stratascope.study.estimate.defaults import SIGLIP, defaults_of
from stratascope.study.estimate.shape import Experts, Shape

# Older names of keys, by the newer ones.
ALIASES = {
    "n_embd": "hidden_size",
    "n_embed": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_head_kv": "num_kv_heads",
    "n_positions": "max_position_embeddings",
    "num_local_experts": "num_experts",
}


class Settings:
    """A config.json, with ``defaults`` for what it leaves out."""

    def __init__(self, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self.values = dict(defaults) | {ALIASES.get(key, key): v for key, v in given.items()}

    def number(self, *names: str) -> int:
        """The first of these keys that is a whole number.

        Raises:
            StratascopeError: none is.
        """
        for name in names:
            value = self.values.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return value
        found = self.values.get(names[0])
        raise StratascopeError(
            f"config.json: {names[0]}: must be a whole number (found {found!r}); without it this model's "
            "sizes are unknown"
        )

    def flag(self, name: str) -> bool:
        """Whether the key is there and true."""
        return bool(self.values.get(name))


def _llama(c: Settings) -> Shape:
    heads, hidden = c.number("num_attention_heads"), c.number("hidden_size")
    width = c.values.get("head_dim") or hidden // max(heads, 1)
    bias = c.flag("attention_bias")
    return Shape(
        model_type=str(c.values["model_type"]),
        vocabulary=c.number("vocab_size"),
        hidden=hidden,
        layers=c.number("num_hidden_layers"),
        heads=heads,
        kv_heads=c.values.get("num_key_value_heads") or heads,
        head_width=int(width),
        inner=c.number("intermediate_size"),
        context=c.values.get("max_position_embeddings"),
        tied=c.flag("tie_word_embeddings"),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=c.flag("mlp_bias"),
    )


def _qwen2(c: Settings) -> Shape:
    return replace(_llama(c), qkv_bias=True)


def _qwen3(c: Settings) -> Shape:
    shape = _llama(c)
    return replace(shape, qk_norms=2 * shape.head_width)


def _mixtral(c: Settings) -> Shape:
    shape = _llama(c)
    number, active = c.number("num_experts"), c.number("num_experts_per_tok")
    experts = Experts(number, active, shape.inner, 0, frozenset(range(shape.layers)))
    return replace(shape, experts=experts)


def _with_experts(shape: Shape, c: Settings) -> Shape:
    step, plain = c.number("decoder_sparse_step"), c.values.get("mlp_only_layers") or ()
    layers = {i for i in range(shape.layers) if (i + 1) % step == 0 and i not in plain}
    shared = c.values.get("shared_expert_intermediate_size") or 0
    number, active = c.number("num_experts"), c.number("num_experts_per_tok")
    if not number:
        return shape
    inner = c.number("moe_intermediate_size")
    return replace(shape, experts=Experts(number, active, inner, shared, frozenset(layers)))


def _qwen2_moe(c: Settings) -> Shape:
    return _with_experts(replace(_llama(c), qkv_bias=c.flag("qkv_bias")), c)


def _qwen3_moe(c: Settings) -> Shape:
    return _with_experts(_qwen3(c), c)


def _gemma2(c: Settings) -> Shape:
    capped = c.values.get("final_logit_softcapping") is not None
    return replace(_llama(c), norms=4, capped=capped, score_bytes=(10.6, 9.1))


def _gemma3(c: Settings) -> Shape:
    shape = _gemma2(c)
    return replace(shape, qk_norms=2 * shape.head_width, score_bytes=(0, 0))


def _gemma3_images(c: Settings) -> Shape:
    """The language model by `text_config`, and the tower that reads images."""
    tied = c.flag("tie_word_embeddings")
    inside = c.values.get("text_config") or {}
    text = _gemma3(Settings(inside, defaults_of("gemma3_text") | {"model_type": "gemma3_text"}))
    vision = Settings(c.values.get("vision_config") or {}, SIGLIP)
    width = vision.number("hidden_size")
    projector = width * text.hidden + width
    others = _siglip(vision) + projector
    return replace(text, model_type="gemma3", tied=tied, others=others)


def _siglip(c: Settings) -> int:
    """Parameters of the tower (Zhai et al., 2023, Sigmoid Loss for Language Image Pre-Training)."""
    width, inner = c.number("hidden_size"), c.number("intermediate_size")
    patch, side = c.number("patch_size"), c.number("image_size")
    norm, linear = 2 * width, width * width + width
    mlp = 2 * width * inner + inner + width
    layer = 4 * linear + mlp + 2 * norm
    pixels = c.number("num_channels") * patch**2 * width + width
    ends = pixels + (side // patch) ** 2 * width + norm
    head = width + 4 * linear + norm + mlp if c.flag("vision_use_head") else 0
    return ends + c.number("num_hidden_layers") * layer + head


def _layer_normed(shape: Shape, norms: int = 2, copies: float = 2) -> Shape:
    """Layer norms with biases, and an MLP of two projections."""
    return replace(shape, norms=norms, norm_rows=2, gated=False, mlp_bias=True, mlp_copies=copies)


def _phi(c: Settings) -> Shape:
    shape = _layer_normed(_llama(c), norms=1, copies=4.5)
    qk = 4 * shape.head_width if c.flag("qk_layernorm") else 0
    return replace(shape, qkv_bias=True, out_bias=True, head_bias=True, qk_norms=qk)


def _four_times(c: Settings, name: str) -> Settings:
    """An MLP four times as wide as the stream, unless ``name`` says how wide."""
    inner = c.values.get(name) or 4 * c.number("hidden_size")
    c.values["intermediate_size"] = inner
    return c


def _gpt2(c: Settings) -> Shape:
    shape = _layer_normed(_llama(_four_times(c, "n_inner")), copies=4.5)
    positions = c.number("max_position_embeddings")
    return replace(shape, qkv_bias=True, out_bias=True, positions=positions)


def _gptj(c: Settings) -> Shape:
    shape = _layer_normed(_llama(_four_times(c, "n_inner")), norms=1, copies=4.5)
    return replace(shape, head_bias=True, score_bytes=(10.8, 12.5))


def _gpt_neox(c: Settings) -> Shape:
    return _layer_normed(_llama(c))


def _opt(c: Settings) -> Shape:
    c.values["intermediate_size"] = c.number("ffn_dim")
    shape = _layer_normed(_llama(c))
    bias, first = c.flag("enable_bias"), c.flag("do_layer_norm_before")
    embed = c.values.get("word_embed_proj_dim")
    return replace(
        shape,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        norm_rows=2 if c.flag("layer_norm_elementwise_affine") else 0,
        final_norm=first and not c.flag("_remove_final_layer_norm"),
        positions=c.number("max_position_embeddings") + 2,
        embed=None if embed == shape.hidden else embed,
    )


def _bloom(c: Settings) -> Shape:
    shape = _layer_normed(_llama(_four_times(c, "n_inner")), copies=4.5)
    return replace(
        shape,
        qkv_bias=True,
        out_bias=True,
        embed_norm=True,
        packs=False,
        score_bytes=(14.4, 16.5),
    )


def _falcon(c: Settings) -> Shape:
    newer, alibi = c.flag("new_decoder_architecture"), c.flag("alibi")
    shared = c.values.get("num_kv_heads") if newer or not c.flag("multi_query") else 1
    c.values["num_key_value_heads"] = shared
    norms = c.values.get("num_ln_in_parallel_attn") or (2 if newer else 1)
    shape = _layer_normed(_llama(_four_times(c, "ffn_hidden_size")))
    return replace(
        shape,
        qkv_bias=c.flag("bias"),
        out_bias=c.flag("bias"),
        mlp_bias=c.flag("bias"),
        norms=norms if c.flag("parallel_attn") else 2,
        packs=not alibi,
        shows_weights=not alibi,
        score_bytes=(2, 4) if alibi else (8.4, 16.6),
    )


def _olmo2(c: Settings) -> Shape:
    shape = _llama(c)
    return replace(shape, qk_norms=shape.q_width + shape.kv_width)


def _stablelm(c: Settings) -> Shape:
    shape = _llama(c)
    qk = shape.q_width + shape.kv_width if c.flag("qk_layernorm") else 0
    norms = 1 if c.flag("use_parallel_residual") else 2
    return replace(shape, qkv_bias=c.flag("use_qkv_bias"), norms=norms, norm_rows=2, qk_norms=qk)


def _bert(c: Settings) -> Shape:
    shape = _layer_normed(_llama(c))
    rows = c.number("max_position_embeddings") + (c.values.get("type_vocab_size") or 0)
    return replace(
        shape,
        qkv_bias=True,
        out_bias=True,
        embed_norm=True,
        final_norm=False,
        head=False,
        tied=False,
        positions=rows,
        packs=False,
    )


def _mpnet(c: Settings) -> Shape:
    shape = _bert(c)
    relative = c.number("relative_attention_num_buckets") * shape.heads
    return replace(shape, others=relative, score_bytes=(6, 12))


# By `model_type` of config.json.
FAMILIES: dict[str, Callable[[Settings], Shape]] = {
    "bert": _bert,
    "bloom": _bloom,
    "falcon": _falcon,
    "gemma": _llama,
    "gemma2": _gemma2,
    "gemma3": _gemma3_images,
    "gemma3_text": _gemma3,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "gptj": _gptj,
    "llama": _llama,
    "mistral": _llama,
    "mixtral": _mixtral,
    "mpnet": _mpnet,
    "olmo2": _olmo2,
    "opt": _opt,
    "phi": _phi,
    "phi3": _llama,
    "qwen2": _qwen2,
    "qwen2_moe": _qwen2_moe,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "roberta": _bert,
    "stablelm": _stablelm,
}


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """The sizes that a config.json tells; none for a model type that the table lacks.

    Nothing is loaded. Older names of keys are known, and what a file leaves out is what transformers
    takes for it.

    Raises:
        StratascopeError: a number that must be there and is not one.
    """
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        return None
    return FAMILIES[model_type](Settings(config, defaults_of(model_type)))
