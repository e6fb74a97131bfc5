"""Every neuron of a site over a dataset, from a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stratascope.analyses.neuron_rows import example_rows, neuron_rows
from stratascope.analyses.neurons import Found, measure_neurons
from stratascope.api.extraction import extracted, feature_set
from stratascope.api.loading import load
from stratascope.api.model import Model
from stratascope.api.places import Layers, wanted_layers
from stratascope.store.neurons import NeuronFolder
from stratascope.study.dataset import Neurons
from stratascope.study.features import NeuronSet
from stratascope.study.validate import validate


@dataclass(frozen=True, eq=False)
class NeuronPass:
    """All neurons of the chosen layers; ``found`` has the arrays, N neurons a layer."""

    found: Found

    def rows(self, most: int = 0) -> list[dict[str, Any]]:
        """A row a neuron: spread, and of what it tells most; or the ``most`` most selective a layer."""
        return neuron_rows(self.found, most)

    def examples(self, layer: int, neuron: int) -> list[dict[str, Any]]:
        """Where one neuron is strongest, then where it is weakest; the token of ``text`` in « ».

        Raises StratascopeError for a layer that was not read, or a neuron that it has not.
        """
        return list(example_rows(self.found, layer, neuron))


def neurons(
    model: Model | str | Path,
    texts: str | Path | Iterable[Any],
    *,
    labels: str | Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
    text: str = "text",
    site: str = "mlp_act",
    layers: Layers = "all",
    top_k: int = 10,
    pool: Literal["mean", "max"] = "mean",
    permutations: int = 100,
    seed: int = 0,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    **more: Any,
) -> NeuronPass:
    """What every neuron of ``site`` does over ``texts``, in one pass; docs/neurons.md has the measures.

    ``model``, ``texts``, ``labels``, ``text``, ``out``, ``say`` and ``more`` are those of ``ss.extract``;
    ``groups`` in ``more`` names fields whose texts belong together. A text's value, over its tokens the
    ``pool``, is held against every label, with ``permutations`` shuffles drawn from ``seed``.

    Raises:
        StratascopeError: as ``ss.extract``, and for a label that has only one value.
    """
    model = model if isinstance(model, Model) else load(model)
    wanted = "all" if layers == "all" else tuple(wanted_layers(layers, model.layers))
    asked = {"site": site, "layers": wanted, "top_k": top_k, "pool": pool}
    spec = validate(Neurons, {**asked, "permutations": permutations, "seed": seed}, "neurons")
    features, source = feature_set(model, texts, labels, text, {"seed": seed, **more})
    dataset = features.dataset

    def opened(folder: Path) -> NeuronPass:
        counted = NeuronFolder.open(folder)
        return NeuronPass(measure_neurons(counted, spec, dataset.labels, dataset.groups))

    return extracted(model, NeuronSet.of(features, spec), source, out, say, opened)
