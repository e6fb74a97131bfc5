"""Models that generate: one entry for each way of naming the parts."""

from __future__ import annotations

from dataclasses import replace

from stratascope.capture.families.family import Family, Part
from stratascope.capture.families.fused import copied, in_blocks, in_groups, in_halves, piece

LLAMA = Family()

# The experts' weights are one tensor each, so no module has a gate or an up of a token.
MIXTRAL = replace(LLAMA, gate=None, up=None, down=None, router="mlp.gate")

# Some layers may have a plain MLP (mlp_only_layers, decoder_sparse_step): those have no router.
# A shared expert's inside is not the whole MLP's, so it is left to capture.modules.
QWEN_MOE = replace(LLAMA, router="mlp.gate", optional=("gate", "up", "down", "router"))

# attn_out and mlp_down_out are read after the norms that follow attention and MLP.
OLMO2 = replace(LLAMA, attn_out="post_attention_layernorm", mlp_out="post_feedforward_layernorm")

# The same two norms; logits are read at the model's output, after their soft cap.
GEMMA3 = replace(OLMO2, head=Part("", "logits"))
GEMMA3_IMAGES = replace(
    GEMMA3,
    layers="model.language_model.layers",
    embed="model.language_model.embed_tokens",
    norm="model.language_model.norm",
)
# SDPA has no soft cap on attention's scores.
GEMMA2 = replace(GEMMA3, attention="eager", weights=Part("self_attn", 1))

PHI3 = replace(
    LLAMA,
    q=piece("self_attn.qkv_proj", in_blocks, 0),
    k=piece("self_attn.qkv_proj", in_blocks, 1),
    v=piece("self_attn.qkv_proj", in_blocks, 2),
    gate=piece("mlp.gate_up_proj", in_halves, 0),
    up=piece("mlp.gate_up_proj", in_halves, 1),
)

# Attention and MLP in parallel.
PHI = replace(
    LLAMA,
    norm="model.final_layernorm",
    o="self_attn.dense",
    gate=None,
    up="mlp.fc1",
    down="mlp.fc2",
)

GPT2 = Family(
    layers="transformer.h",
    embed="transformer.wte",
    norm="transformer.ln_f",
    weights="attn",
    q=piece("attn.c_attn", in_blocks, 0),
    k=piece("attn.c_attn", in_blocks, 1),
    v=piece("attn.c_attn", in_blocks, 2),
    o="attn.c_proj",
    attn_out="attn",
    gate=None,
    up="mlp.c_fc",
    down="mlp.c_proj",
)

# In parallel or one after the other (use_parallel_residual): both add both to the stream.
GPT_NEOX = Family(
    layers="gpt_neox.layers",
    embed="gpt_neox.embed_in",
    norm="gpt_neox.final_layer_norm",
    weights="attention",
    q=piece("attention.query_key_value", in_groups, 0),
    k=piece("attention.query_key_value", in_groups, 1),
    v=piece("attention.query_key_value", in_groups, 2),
    o="attention.dense",
    attn_out="attention",
    gate=None,
    up="mlp.dense_h_to_4h",
    down="mlp.dense_4h_to_h",
)

# In parallel.
GPTJ = Family(
    layers="transformer.h",
    embed="transformer.wte",
    norm="transformer.ln_f",
    weights=Part("attn", 1),
    q="attn.q_proj",
    k="attn.k_proj",
    v="attn.v_proj",
    o="attn.out_proj",
    attn_out="attn",
    gate=None,
    up="mlp.fc_in",
    down="mlp.fc_out",
    attention="eager",
)

# OPT-350m (do_layer_norm_before: false) norms the stream itself and has no final norm.
OPT = Family(
    layers="model.decoder.layers",
    embed="model.decoder.embed_tokens",
    norm="model.decoder.final_layer_norm",
    o="self_attn.out_proj",
    gate=None,
    up="fc1",
    down="fc2",
    mlp_out="fc2",
    optional=("norm",),
)

# Attention and MLP return the stream with their contribution added, so that is read before. With
# apply_residual_connection_post_layernorm the stream goes on from what the norms give.
BLOOM = Family(
    layers="transformer.h",
    embed="transformer.word_embeddings",
    norm="transformer.ln_f",
    weights=Part("self_attention", 1),
    q=piece("self_attention.query_key_value", in_groups, 0),
    k=piece("self_attention.query_key_value", in_groups, 1),
    v=piece("self_attention.query_key_value", in_groups, 2),
    o="self_attention.dense",
    attn_out="self_attention.dense",
    gate=None,
    up="mlp.dense_h_to_4h",
    down="mlp.dense_4h_to_h",
    mlp_out="mlp.dense_4h_to_h",
    attention="eager",
    packs=False,  # ALiBi counts positions along the row
)

# In parallel, unless parallel_attn and new_decoder_architecture are both false. The layer adds
# attention's output into the MLP's tensor, in place.
FALCON = replace(
    BLOOM,
    attn_out="self_attention",
    mlp_out=Part("mlp", cut=copied),
    packs=True,
)
# With ALiBi, transformers' eager attention adds it twice (5.23); SDPA is right, and gives no weights.
FALCON_ALIBI = replace(FALCON, weights=None, attention="sdpa", packs=False)
