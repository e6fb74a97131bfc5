"""Bytes on the disk: what the folders of runs, references and features take at most."""

from __future__ import annotations

from functools import lru_cache

from stratascope.study.estimate.shape import Shape
from stratascope.study.estimate.work import (
    ITEM_BYTES,
    ReferenceWork,
    RunWork,
    TextWork,
    chosen,
)
from stratascope.study.schema import Capture

# Which switch of `capture` keeps a site.
SWITCHES = {
    "embeddings": "hidden_states",
    "final_norm": "hidden_states",
    "logits": "logits",
    "hidden_in": "hidden_states",
    "q": "qkv",
    "k": "qkv",
    "v": "qkv",
    "attn_weights": "attention_weights",
    "attn_out": "qkv",
    "router_logits": "mlp",
    "router_weights": "mlp",
    "router_experts": "mlp",
    "mlp_gate": "mlp",
    "mlp_up": "mlp",
    "mlp_act": "mlp",
    "mlp_down_in": "mlp",
    "mlp_down_out": "mlp",
    "hidden_out": "hidden_states",
}
PAIRS = "attn_weights"
# Sources of a state: `hidden_in`, `hidden_out`, `attn_out` and `mlp_down_out`.
SOURCES = 4
# A tensor's entry in the header of a safetensors file, at most.
HEADER_BYTES = 140
# An index row beside its text: line, shard, row, length, labels.
INDEX_BYTES = 100
# What the index of neurons says of a token at most: its text, of which there are few different ones.
PIECE_BYTES = 16
JSON_BYTES = 10_000


@lru_cache(maxsize=1024)  # the same for the thousand runs of a study
def numbers(
    shape: Shape, sites: frozenset[str], layers: range | tuple[int, ...]
) -> tuple[int, int, int]:
    """What ``sites`` have: numbers a token, numbers a pair of tokens, and tensors in all."""
    widths = [(site, width) for site, width in shape.whole.items() if site in sites]
    for layer in layers:
        widths += [(site, width) for site, width in shape.widths(layer).items() if site in sites]
    token = sum(width for site, width in widths if site != PAIRS)
    pair = sum(width for site, width in widths if site == PAIRS)
    return token, pair, len(widths)


def switched_on(capture: Capture) -> frozenset[str]:
    """The sites that the switches of `capture` keep."""
    return frozenset(site for site, switch in SWITCHES.items() if getattr(capture, switch))


def module_width(shape: Shape) -> int:
    """What a module named by hand is taken to give a token, until the model is there to ask."""
    return max(shape.hidden, shape.inner)


def run_disk(shape: Shape, run: RunWork) -> int:
    """Bytes of a run's folder at most."""
    capture, tokens = run.capture, run.tokens
    layers = chosen(capture.layers, shape.layers)
    token, pair, count = numbers(shape, switched_on(capture), layers)
    token += len(capture.modules) * module_width(shape)
    count += len(capture.modules)
    item = ITEM_BYTES[capture.store_dtype]
    total = (token * tokens + pair * tokens**2) * item + count * HEADER_BYTES
    if capture.gradients is not None:
        # In float16 they would underflow, so they are stored in float32 then.
        item = 4 if capture.store_dtype == "float16" else item
        rows = run.prompt if capture.gradients.of == "token" else tokens
        total += (token * rows + pair * rows**2) * item + count * HEADER_BYTES
    total += state_bytes(shape.hidden, len(capture.snapshot_positions), len(layers), run.messages)
    listed = listing_bytes(count, capture.top_k_probs, run.prompt, run.new, run.messages)
    return total + listed


def listing_bytes(tensors: int, likeliest: int, prompt: int, new: int, messages: int) -> int:
    """The JSON files of a run: each token a few times, each step's tensors and likeliest tokens."""
    return 200 * (new * (tensors + likeliest + 8) + prompt * (messages + 4))


def state_bytes(hidden: int, positions: int, layers: int, rows: int) -> int:
    """A file of states, float32, at the residual sources."""
    return positions * layers * SOURCES * (rows * hidden * 4 + 200)


def reference_disk(shape: Shape, references: ReferenceWork) -> int:
    """Bytes of the folder of a reference set at most."""
    layers, rows = len(chosen(references.layers, shape.layers)), len(references.lengths)
    characters = references.characters
    return reference_set_bytes(shape.hidden, references.positions, layers, rows, characters)


def reference_set_bytes(
    hidden: int, positions: int, layers: int, rows: int, characters: int
) -> int:
    """The states of ``rows`` references of so many characters in all, and what lists their tokens."""
    # Every token, at most one for each byte, is listed once at its positions.
    return state_bytes(hidden, positions, layers, rows) + 100 * positions * characters + JSON_BYTES


def text_disk(shape: Shape, texts: TextWork, dtype: str) -> int:
    """Bytes of a features folder, or of answered questions; ``dtype`` is the model's."""
    token, _, _ = numbers(shape, frozenset(texts.sites), chosen(texts.layers, shape.layers))
    token += len(texts.modules) * module_width(shape)
    rows = texts.texts if texts.pooled else texts.tokens
    kept = token * rows * ITEM_BYTES[texts.store_dtype or dtype]
    if texts.counted:  # neurons: a mean and a largest value, and what is counted
        kept += kept + token * texts.counted * texts.shards * 4
        layers = len(chosen(texts.layers, shape.layers))
        kept += texts.shards * (1 + 13 * layers) * HEADER_BYTES + texts.tokens * PIECE_BYTES
    answers = 200 * texts.new * texts.texts
    return kept + texts.text_bytes + INDEX_BYTES * texts.texts + answers + JSON_BYTES
