"""Neurons of a dataset on a checkpoint, as the analyses leave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class NeuronIndex:
    """What is known of all neurons of one site, and of the most selective ones in full."""

    content: Mapping[str, Any]

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return str(self.content["dataset"])

    @property
    def checkpoint(self) -> str:
        """The checkpoint's name."""
        return str(self.content["checkpoint"])

    @property
    def shown(self) -> Sequence[Mapping[str, Any]]:
        """The neurons with all their examples, layer by layer, the most selective first."""
        return list(self.content["shown"])

    def density(
        self, neuron: Mapping[str, Any], low: float, high: float, bins: int
    ) -> NDArray[np.float64]:
        """(bins,): how many values lie in each of so many equal parts of the range from low to high.

        A bucket's values are spread evenly over it: the sketch knows no better.
        """
        first, counts = neuron["histogram"]["first"], neuron["histogram"]["counts"]
        edges = np.linspace(low, high, bins + 1)
        found = np.zeros(bins)
        lower, upper = self.content["bounds"]
        for place, count in enumerate(counts, first):
            a = max(low if lower[place] is None else lower[place], low)
            b = min(high if upper[place] is None else upper[place], high)
            if b <= a or high <= low:
                at = (a - low) / (high - low) * bins if high > low else 0
                found[min(bins - 1, max(0, int(at)))] += count
                continue
            inside = np.clip(np.minimum(edges[1:], b) - np.maximum(edges[:-1], a), 0, None)
            found += count * inside / (b - a)
        return found
