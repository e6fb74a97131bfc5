"""Layers compiled by PyTorch for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from stratascope.capture.loading import Loaded
from stratascope.capture.sites import Tap, unknown_architecture
from stratascope.errors import StratascopeError


@contextmanager
def compiled_layers(loaded: Loaded, taps: Sequence[Tap]) -> Iterator[None]:
    """Layers run through ``torch.compile`` inside the block, for batches of any shape.

    A layer that something is read inside of stays as it is: compiled layers share their code, and
    with it the hooks of the first of them. The first batches take a minute or more.

    Raises:
        StratascopeError: an architecture whose layers are not known, or no layer to compile.
    """
    if loaded.family is None:
        raise unknown_architecture(loaded.model)
    path = loaded.family.layers
    layers = [
        layer
        for name, layer in loaded.model.get_submodule(path).named_children()
        if not any(tap.path.startswith(f"{path}.{name}.") for tap in taps)
    ]
    if not layers:
        raise StratascopeError(
            "compile: something is read inside of every layer, so none can be compiled; read hidden_in "
            "or hidden_out, or leave it out"
        )
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
