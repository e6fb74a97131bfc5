"""Operations of a model's matrix multiplications: two for each number of a matrix and each token.

Attention counts every pair of tokens of a sequence, seen or not, as PyTorch's FlopCounterMode does.
"""

from __future__ import annotations

from stratascope.study.estimate.shape import Shape
from stratascope.study.estimate.work import ReferenceWork, RunWork, TextWork, chosen


def flops(shape: Shape, tokens: int, pairs: int, heads: int, depth: int | None = None) -> int:
    """Of passes over ``tokens`` tokens in all.

    ``pairs``: what attention compares, the sum of the rows' squared lengths. ``heads``: of how many
    tokens the logits are computed. ``depth``: after how many layers the passes stop, by default all.
    """
    depth = shape.layers if depth is None else depth
    layers = 2 * shape.matrices * tokens * depth // max(shape.layers, 1)
    attention = 4 * shape.q_width * depth * pairs
    return layers + attention + 2 * shape.head_matrix * heads


def run_flops(shape: Shape, run: RunWork) -> int:
    """Of a run: the generation, the snapshots' pass, and the gradients' there and back."""
    steps = run.new - 1
    pairs = run.prompt**2 + steps * run.prompt + steps * run.new // 2
    heads = run.tokens if run.capture.logits else run.new
    total = flops(shape, run.tokens, pairs, heads) + flops(shape, run.prompt, run.prompt**2, 0)
    if run.capture.gradients is not None:
        total += 2 * flops(shape, run.tokens, run.tokens**2, run.new)
    return total


def reference_flops(shape: Shape, references: ReferenceWork) -> int:
    """Of a reference set: each conversation once, without the head."""
    pairs = sum(length**2 for length in references.lengths)
    return flops(shape, sum(references.lengths), pairs, 0)


def text_flops(shape: Shape, texts: TextWork) -> int:
    """Of texts of about the same length, down to the deepest layer that is kept, and their answers."""
    whole = bool(texts.modules or texts.new or {"final_norm", "logits"} & set(texts.sites))
    depth = shape.layers if whole else max(chosen(texts.layers, shape.layers), default=0) + 1
    mean = texts.tokens // max(texts.texts, 1)
    heads = texts.tokens if "logits" in texts.sites else 0
    total = flops(shape, texts.tokens, texts.tokens * mean, heads, depth)
    answers = texts.texts * texts.new
    return total + flops(shape, answers, answers * mean, answers)
