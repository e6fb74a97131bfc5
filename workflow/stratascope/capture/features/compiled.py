"""Layers compiled by PyTorch for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

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
    layers = loaded.model.get_submodule(loaded.family.layers)
    assert isinstance(layers, nn.ModuleList)
    for layer in layers:
        # An attribute of its own stands before the class's method, and goes without a trace.
        layer.forward = torch.compile(layer.forward, dynamic=True)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
