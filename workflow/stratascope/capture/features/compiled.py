"""Layers compiled by PyTorch for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stratascope.capture.loading import Loaded
from stratascope.capture.sites import unknown_architecture


@contextmanager
def compiled_layers(loaded: Loaded) -> Iterator[None]:
    """Every layer runs through ``torch.compile`` inside the block, for batches of any shape.

    What a hook on a layer sees stays the same; hooks inside a layer cost the compiler some of its
    gain. The first batches take a minute or more.

    Raises:
        StratascopeError: an architecture whose layers are not known.
    """
    if loaded.family is None:
        raise unknown_architecture(loaded.model)
    layers = list(loaded.model.get_submodule(loaded.family.layers).children())
    # An attribute of the layer stands before its class's method; accelerate may have put one there.
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        vars(layer)["forward"] = torch.compile(layer.forward, dynamic=True)
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            vars(layer).pop("forward")
            if own is not None:
                vars(layer)["forward"] = own
