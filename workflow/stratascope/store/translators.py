"""A tuned lens on disk: one affine map a layer, in a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from stratascope.errors import StratascopeError
from stratascope.store.commit import new_file
from stratascope.store.runs import tensor_name

FORMAT = "stratascope-tuned-lens-1"
PARTS = ("weight", "bias")


def save_maps(
    path: Path, maps: Mapping[int, tuple[np.ndarray, np.ndarray]], about: Mapping[str, Any]
) -> None:
    """Write each layer's weight (hidden, hidden) and bias (hidden,) as ``layer_NN/weight``, float32.

    ``about`` is kept as JSON. The same maps give the same bytes.
    """
    tensors = {
        tensor_name(layer, part): np.ascontiguousarray(array, dtype=np.float32)
        for layer, arrays in maps.items()
        for part, array in zip(PARTS, arrays, strict=True)
    }
    text = json.dumps({"format": FORMAT, **about}, ensure_ascii=False, sort_keys=True)
    with new_file(path) as partial:
        save_file(tensors, partial, {"stratascope": text})


def load_maps(path: Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """The weight and bias of each layer. Raises StratascopeError for anything but such a file."""
    try:
        with safe_open(path, framework="numpy") as stream:
            about = json.loads((stream.metadata() or {}).get("stratascope", "{}"))
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise StratascopeError(f"{path}: cannot be read as a tuned lens: {error}") from error
    if about.get("format") != FORMAT:
        raise StratascopeError(f"{path}: no tuned lens of `stratascope tune-lens`")
    layers = sorted({int(name.split("/")[0].removeprefix("layer_")) for name in tensors})
    return {
        layer: (tensors[tensor_name(layer, "weight")], tensors[tensor_name(layer, "bias")])
        for layer in layers
    }
