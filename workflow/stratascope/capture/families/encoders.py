"""Models that read a text as a whole: for datasets, not for runs.

They norm the stream itself after each contribution: ``hidden_out`` is
``norm(norm(hidden_in + attn_out) + mlp_down_out)``, and there is no norm after the last layer. They
are loaded without a head, so they have no logits.
"""

from __future__ import annotations

from dataclasses import replace

from stratascope.capture.families.family import Family, Part

BERT = Family(
    layers="encoder.layer",
    embed="embeddings.word_embeddings",
    norm=None,
    head=None,
    weights="attention.self",
    q="attention.self.query",
    k="attention.self.key",
    v="attention.self.value",
    o="attention.output.dense",
    attn_out="attention.output.dense",
    gate=None,
    up="intermediate.dense",
    down="output.dense",
    mlp_out="output.dense",
    encoder=True,
    packs=False,
)

ROBERTA = replace(BERT, padded_positions=True)

# Its attention weights pass through no other module than the dropout.
MPNET = replace(
    ROBERTA,
    weights=Part("attention.attn.dropout", 0),
    q="attention.attn.q",
    k="attention.attn.k",
    v="attention.attn.v",
    o="attention.attn.o",
    attn_out="attention.attn",
    attention="eager",
)
