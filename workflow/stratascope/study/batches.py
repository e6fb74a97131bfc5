"""How many tokens go into a model at once: what is captured by, and what an estimate counts with."""

from __future__ import annotations

# On a CPU a batch must be large enough that its matrices are multiplied at full speed, and no larger:
# its memory grows and its speed does not. Measured on two cores (models 256 to 1024 wide): 1024 and
# 2048 tokens are about the best, 256 tokens take 10 to 20% longer.
CPU_NUMBERS = 1 << 20
CPU_TOKENS = (512, 2048)
# On a GPU larger batches gain nothing, and smaller ones leave it idle.
GPU_TOKENS = (256, 16384)
# Tokens of a batch of questions, pads included: enough to fill a device, little enough for any memory
# that holds the model. Fixed, so that the same questions make the same batches everywhere.
QUESTION_TOKENS = 4096


def cpu_tokens(hidden: int, vocabulary: int = 0) -> int:
    """Tokens of a batch of texts on a CPU, padding included, for a residual stream so wide.

    ``vocabulary`` is the width of the logits where they are stored.
    """
    return power_of_two(CPU_NUMBERS / max(hidden, vocabulary // 32), CPU_TOKENS)


def power_of_two(wanted: float, bounds: tuple[int, int]) -> int:
    """The largest power of two that is not above ``wanted``, within bounds."""
    least, most = bounds
    return max(least, min(most, 1 << max(0, int(wanted).bit_length() - 1)))
