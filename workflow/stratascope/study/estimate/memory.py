"""Memory of a job at its peak: the process, the weights, and the largest of its passes.

How much of a pass is alive at once was measured, not derived: for each family in `families`, on a CPU
with PyTorch 2.13. The whole is compared with the peak of real captures by
`make simulations` (tests/capture/test_budget_memory.py): 1.00 to 1.23 times it. What is
said of a GPU was not measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stratascope.study.estimate.disk import numbers, switched_on
from stratascope.study.estimate.shape import Shape
from stratascope.study.estimate.work import ITEM_BYTES, RunWork, TextWork, Work, chosen

# Allocators hold more than is alive: of a pass so much more, and what lies between smaller tensors.
HELD = 0.1
HEAP = 1.5
HEAP_BYTES = 100_000_000
# Python, PyTorch and transformers, before any weight is there.
PROCESS_BYTES = 460_000_000
# A process that uses CUDA, and what CUDA takes of the GPU. Usual values, not measured here.
CUDA_PROCESS_BYTES = 2_000_000_000
CUDA_CONTEXT_BYTES = 600_000_000
# A head's score of a pair of tokens and its softmax, in float32, where somebody listens to them.
LISTENED_BYTES = 8.2
# What the way back keeps of a score.
GRAPH_SCORE_BYTES = 8
# References share rows of so many tokens at most (capture.packing).
ROW_TOKENS = 4096
# Tensors on their way from a GPU to the disk (capture.writer's queue, and one at each end).
QUEUED = 18
# Features on their way to the disk (capture.features.writing).
QUEUE_BYTES = 64 << 20
# The generation prompt after each message but the last, in about so many tokens.
SUFFIX_TOKENS = 12


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak: of RAM, and of GPUs (0 without one).

    ``spread``: over all GPUs there are, and what they have no room for lies in RAM.
    """

    ram: int
    gpu: int = 0
    spread: bool = False


def weight_bytes(work: Work) -> int | None:
    """The weights in memory, in the precision that the model runs in; ``None`` if unknown."""
    files, item = work.files, ITEM_BYTES[work.model.dtype]
    if files.quantized:
        return files.bytes
    if work.shape is not None:
        return work.shape.parameters * item
    if files.bytes is None:
        return None
    return files.bytes * item // ITEM_BYTES[files.dtype or work.model.dtype]


def memory_of(work: Work, shape: Shape, weights: int) -> Memory:
    """The peak of the process, which loads the weights and then runs passes of every kind."""
    dtype = work.files.dtype or "float32"
    converted = dtype != work.model.dtype and not work.files.quantized
    # The weights lie there in both precisions until the last is converted.
    other = (work.files.bytes or shape.parameters * ITEM_BYTES[dtype]) if converted else 0
    running = max(_passes(work, shape), default=0)
    running += int(HELD * running + min(HEAP * running, HEAP_BYTES))
    if work.device != "cuda":
        return Memory(PROCESS_BYTES + weights + max(other, running))
    queued = QUEUED * max((_widest(shape, run) for run in work.runs), default=0)
    spread = work.model.device_map is not None
    loading = other if spread else weights + other
    ram = CUDA_PROCESS_BYTES + max(loading, queued)
    return Memory(ram, CUDA_CONTEXT_BYTES + weights + running + queued, spread)


def pass_bytes(
    shape: Shape,
    dtype: str,
    tokens: int,
    pairs: int,
    *,
    listened: bool = False,
    logits: bool = False,
    cast: int = 0,
) -> int:
    """The activations alive at once in a pass over ``tokens`` tokens.

    ``pairs`` of tokens are compared by attention: the sum of the rows' squared lengths. ``listened``:
    attention weights are computed for a listener. ``logits``: of every token, with a copy of ``cast``
    bytes a number.
    """
    item = ITEM_BYTES[dtype]
    stream = shape.hidden
    mlp = tokens * item * (4 * stream + _inner(shape))
    score = max(shape.score_bytes[item == 4], LISTENED_BYTES if listened else 0)
    attention = tokens * item * (2 * stream + shape.q_width + 4 * shape.kv_width)
    attention += int(pairs * shape.heads * score)
    number = max(2 * item if shape.capped else item, item + cast)
    head = tokens * (shape.vocabulary * number + 2 * stream * item) if logits else 0
    return max(mlp, attention, head)


def cache_bytes(shape: Shape, tokens: int, dtype: str) -> int:
    """Keys and values of every layer, and of one more while it grows."""
    return 2 * shape.kv_width * (shape.layers + 1) * tokens * ITEM_BYTES[dtype]


def _inner(shape: Shape) -> int:
    """Numbers a token that are alive at once inside an MLP."""
    inner = shape.mlp_copies * shape.inner
    if shape.experts is not None:
        each = 4 * shape.experts.inner + 2 * shape.hidden
        inner = max(inner, shape.experts.active * each + 3 * shape.experts.shared)
    return int(inner)


def _passes(work: Work, shape: Shape) -> Iterator[int]:
    """What each pass of the job needs beside the weights."""
    dtype = work.model.dtype
    for run in work.runs:
        yield _generation(shape, run, dtype)
        row = min(2 * run.prompt, run.prompt + SUFFIX_TOKENS * (run.messages - 1))
        yield _shared_row(shape, row, dtype)
        if run.capture.gradients is not None:
            yield _gradients(shape, run, dtype)
    for item in work.references:
        room = ROW_TOKENS + ROW_TOKENS // 4 if shape.packs else 0
        row = min(sum(item.lengths), max(*item.lengths, room))
        yield _shared_row(shape, row, dtype)
    for texts in work.texts:
        yield _reading(shape, texts, dtype)


def _generation(shape: Shape, run: RunWork, dtype: str) -> int:
    capture = run.capture
    item = ITEM_BYTES[capture.store_dtype]
    block = pass_bytes(
        shape,
        dtype,
        run.prompt,
        run.prompt**2,
        listened=capture.attention_weights,
        logits=capture.logits,
        cast=0 if capture.store_dtype == dtype else item,
    )
    # The rows of one head on their way to the file, each as wide as the longest context.
    rows = run.prompt * run.tokens * item if capture.attention_weights else 0
    return cache_bytes(shape, run.tokens, dtype) + block + rows


def _shared_row(shape: Shape, row: int, dtype: str) -> int:
    """Conversations in one row, with the mask that keeps them apart."""
    mask = row**2 * (2 + ITEM_BYTES[dtype]) if shape.packs else 0
    return pass_bytes(shape, dtype, row, row**2) + mask


def _reading(shape: Shape, texts: TextWork, dtype: str) -> int:
    pairs = texts.batch * min(texts.longest, texts.batch)
    block = pass_bytes(shape, dtype, texts.batch, pairs, logits="logits" in texts.sites)
    if texts.new:
        # Answers are scored and generated from copies of the cache.
        return block + 3 * cache_bytes(shape, texts.batch, dtype)
    token, _, _ = numbers(shape, frozenset(texts.sites), chosen(texts.layers, shape.layers))
    rows = texts.texts if texts.pooled else texts.tokens
    waiting = token * rows * ITEM_BYTES[texts.store_dtype or dtype]
    # Neurons: what is counted, what of it is written while the next shard is counted, a layer's table of
    # buckets, and the places of a batch in it.
    counted = 4 * texts.counted
    state = token * counted * min(3, 1 + texts.shards) + 2 * shape.inner * counted
    batch = 16 * texts.batch * shape.inner if counted else 0
    return block + min(QUEUE_BYTES, waiting) + state * bool(counted) + batch


def _gradients(shape: Shape, run: RunWork, dtype: str) -> int:
    """A pass whose every layer is kept for the way back; gradients take its place as they are made."""
    capture, item = run.capture, ITEM_BYTES[dtype]
    tokens = run.prompt if capture.gradients and capture.gradients.of == "token" else run.tokens
    scored = capture.attention_weights or shape.score_bytes[1] > 0
    layer = tokens * item * (8 * shape.hidden + _inner(shape) + shape.inner)
    layer += tokens**2 * shape.heads * GRAPH_SCORE_BYTES * scored
    token, pair, _ = numbers(shape, switched_on(capture), chosen(capture.layers, shape.layers))
    found = token * tokens * (4 if dtype == "float16" else item) + pair * tokens**2 * 4
    block = pass_bytes(shape, dtype, tokens, tokens**2, logits=capture.logits, cast=item)
    return max(shape.layers * layer, found) + block


def _widest(shape: Shape, run: RunWork) -> int:
    """Bytes of the largest tensor that a pass of the run stores."""
    capture, rows = run.capture, run.prompt
    sites = switched_on(capture)
    widths = shape.whole | shape.widths(0)
    pairs = widths.pop("attn_weights", 0) * rows if "attn_weights" in sites else 0
    widest = max([width for site, width in widths.items() if site in sites] + [pairs], default=0)
    return widest * rows * ITEM_BYTES[capture.store_dtype]
