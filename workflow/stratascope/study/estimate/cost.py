"""All that a job takes in one place: weights, memory, disk, tokens, operations."""

from __future__ import annotations

from dataclasses import dataclass

from stratascope.study.estimate.disk import reference_disk, run_disk, text_disk
from stratascope.study.estimate.flops import reference_flops, run_flops, text_flops
from stratascope.study.estimate.memory import Memory, memory_of, weight_bytes
from stratascope.study.estimate.work import Work


@dataclass(frozen=True)
class Estimate:
    """What a job takes at most; ``None`` is unknown before the model is there.

    Bytes of the ``weights`` in memory, of ``memory`` at the peak, and of ``disk`` written; ``tokens``
    that the model reads; ``flops``, the operations of its matrix multiplications (a multiplication and
    an addition are two).
    """

    weights: int | None
    memory: Memory | None
    disk: int | None
    tokens: int
    flops: int | None


def estimate(work: Work) -> Estimate:
    """What ``work`` takes. Arithmetic only: nothing is loaded or read."""
    tokens = sum(run.tokens for run in work.runs)
    tokens += sum(sum(item.lengths) for item in work.references)
    tokens += sum(item.tokens + item.texts * item.new for item in work.texts)
    weights, shape = weight_bytes(work), work.shape
    if shape is None:
        return Estimate(weights, None, None, tokens, None)
    disk = sum(run_disk(shape, run) for run in work.runs)
    disk += sum(reference_disk(shape, item) for item in work.references)
    disk += sum(text_disk(shape, item, work.model.dtype) for item in work.texts)
    flops = sum(run_flops(shape, run) for run in work.runs)
    flops += sum(reference_flops(shape, item) for item in work.references)
    flops += sum(text_flops(shape, item) for item in work.texts)
    memory = None if weights is None else memory_of(work, shape, weights)
    return Estimate(weights, memory, disk, tokens, flops)
