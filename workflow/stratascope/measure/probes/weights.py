"""A probe as it may be kept: one direction a class, in the features' own units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import FloatArray
from stratascope.measure.probes.labels import Kind


@dataclass(frozen=True)
class ProbeWeights:
    """A fitted probe: ``weights`` ``(d, k)`` and ``bias`` ``(k,)`` for features as they were given.

    Standardisation is undone. With two classes k is 1, the logit of the second; with more k is the
    number of classes, a logit each; for ridge k is 1, the number predicted.
    """

    kind: Kind
    classes: tuple[Any, ...]
    weights: FloatArray
    bias: FloatArray

    def apply(self, states: npt.ArrayLike) -> FloatArray:
        """Logits, or predicted numbers, of any states ``(..., d)``: ``(..., k)``.

        Raises StratascopeError if the width is another.
        """
        given = np.asarray(states, dtype=np.float64)
        if given.ndim == 0 or given.shape[-1] != len(self.weights):
            raise StratascopeError(
                f"the probe was fitted on states of width {len(self.weights)}, these have shape "
                f"{given.shape}"
            )
        return np.asarray(given @ self.weights + self.bias)
