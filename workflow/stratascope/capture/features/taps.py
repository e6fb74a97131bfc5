"""What a dataset asks to read."""

from __future__ import annotations

from stratascope.capture.loading import Loaded
from stratascope.capture.sites import (
    Tap,
    module_tap,
    resolve_layers,
    site_taps,
    unknown_architecture,
)
from stratascope.errors import StratascopeError
from stratascope.study.dataset import Dataset

BY_HAND = "`modules: [...]` and `sites: []`"


def feature_taps(loaded: Loaded, dataset: Dataset) -> list[Tap]:
    """The taps of a dataset's sites, layers and modules, in a fixed order.

    Raises:
        StratascopeError: a site, layer or module that the model has not; sites of an unknown
            architecture; attention weights, which are a row for each pair of tokens.
    """
    modules = [module_tap(loaded.model, name, "modules") for name in dataset.modules]
    if "attn_weights" in dataset.sites:
        raise StratascopeError(
            "sites: attn_weights are no features: they are as wide as the text is long; capture them in "
            "a scenario's run"
        )
    if not dataset.sites:
        return modules
    if loaded.family is None:
        raise unknown_architecture(loaded.model, BY_HAND)
    layers = resolve_layers(dataset.layers, loaded.layers, "layers")
    return [*site_taps(loaded.model, loaded.family, dataset.sites, layers), *modules]
