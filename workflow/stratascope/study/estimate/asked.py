"""What a job asks a scheduler for, where the study does not say: by the estimate, with a margin.

Memory is the estimate's peak. Time is a bound from operations, weights and bytes at speeds that any
machine of the last ten years should reach, for a job that is killed for its time has wasted it, and
one that asked for too much only waits a little longer. An attempt after the first gets as much more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from stratascope.study.estimate.cost import estimate
from stratascope.study.estimate.work import Work

# Of a model that nothing is known of before it is there.
UNKNOWN_MB, UNKNOWN_MINUTES = 4000, 240
# More than the estimated peak, for what of it was not measured; and the two Snakemakes around a job that
# Slurm counts to it.
MARGIN = 1.25
AROUND_BYTES = 500_000_000
STEP_MB = 100
# Python's and PyTorch's start, a slow file system, and a margin on the rest.
START_MINUTES, SLACK = 15, 3.0
# Operations a second: of a thread, and of a GPU, at a tenth or so of what data sheets say.
FLOPS = {"cpu": 5e9, "cuda": 2e13, "mps": 1e12}
# Bytes a second that weights are read with, once for each generated token.
BANDWIDTH = {"cpu": 5e9, "cuda": 3e11, "mps": 5e10}
# Bytes a second to and from the disk.
DISK = 1e8


@dataclass(frozen=True)
class Asked:
    """Memory (MB, RAM), time (minutes) and GPUs of a job's first attempt."""

    memory_mb: int
    minutes: int
    gpus: int


def memory_mb(work: Work) -> int:
    """RAM of the job, in MB (2^20 bytes)."""
    found = estimate(work)
    if found.memory is not None:
        need = found.memory.ram
    elif found.weights is not None:
        need = 2 * found.weights + (UNKNOWN_MB << 20)
    else:
        return UNKNOWN_MB
    return STEP_MB * math.ceil((MARGIN * need + AROUND_BYTES) / (1 << 20) / STEP_MB)


def minutes(work: Work, threads: int) -> int:
    """Time of the job, loading included."""
    found = estimate(work)
    if found.flops is None or found.weights is None or found.disk is None:
        return UNKNOWN_MINUTES
    speed = FLOPS[work.device] * (threads if work.device == "cpu" else 1)
    generated = sum(run.new for run in work.runs) + sum(t.texts * t.new for t in work.texts)
    seconds = found.flops / speed + generated * found.weights / BANDWIDTH[work.device]
    seconds += (found.disk + (work.files.bytes or found.weights)) / DISK
    return START_MINUTES + math.ceil(SLACK * seconds / 60)
