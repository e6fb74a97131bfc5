"""From the residual stream to logits: the final norm and the head, in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

# Logits held at once, in numbers: 16 MiB in double precision, of which reading takes some copies.
CHUNK = 2**21


@dataclass(frozen=True)
class Norm:
    """A norm over the last axis, of ``width`` numbers.

    ``kind``: ``rms`` (Zhang & Sennrich, 2019), ``rms_plus_one`` (the same, times 1 + weight, as
    Gemma's) or ``layer`` (Ba et al., 2016). ``weight`` and ``bias`` are (width,), or none.
    """

    kind: Literal["rms", "rms_plus_one", "layer"]
    eps: float
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None

    @property
    def centres(self) -> bool:
        """Whether it takes the mean away."""
        return self.kind == "layer"

    def gain(self, width: int) -> np.ndarray:
        """What it multiplies each number with, beside the scale: (width,)."""
        if self.weight is None:
            return np.ones(width, np.float32)
        return np.asarray(self.weight + 1 if self.kind == "rms_plus_one" else self.weight)

    def scale(self, states: np.ndarray) -> np.ndarray:
        """What it divides by: (..., 1), above 0."""
        centred = states - states.mean(-1, keepdims=True) if self.centres else states
        return np.asarray(np.sqrt((centred**2).mean(-1, keepdims=True) + self.eps))

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """The normed states, of the same shape."""
        centred = states - states.mean(-1, keepdims=True) if self.centres else states
        out = centred / self.scale(states) * self.gain(states.shape[-1])
        return np.asarray(out if self.bias is None else out + self.bias)


@dataclass(frozen=True)
class Readout:
    """The end of a model: what makes logits of the last layer's output, (rows, hidden).

    ``head`` is (vocabulary, width), ``bias`` (vocabulary,); ``project`` is (width, hidden), where the
    head is narrower than the stream. ``cap``: logits are ``cap * tanh(x / cap)``.
    """

    norm: Norm | None
    head: np.ndarray
    bias: np.ndarray | None = None
    project: np.ndarray | None = None
    cap: float | None = None

    def logits(self, states: np.ndarray) -> np.ndarray:
        """(rows, vocabulary), float32: the model's own at its last layer, to rounding."""
        out = states if self.norm is None else self.norm(states)
        if self.project is not None:
            out = out @ self.project.T
        out = out @ self.head.T
        if self.bias is not None:
            out = out + self.bias
        return np.asarray(out if self.cap is None else self.cap * np.tanh(out / self.cap))

    def chunks(self, rows: int) -> Iterator[slice]:
        """Slices of so many rows whose logits fit into memory at once."""
        size = max(1, CHUNK // len(self.head))
        return (slice(start, start + size) for start in range(0, rows, size))
