"""Fitted probes on disk: their weights in one safetensors file, what they are in its metadata."""

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

FORMAT = "stratascope-probes-1"
PARTS = ("weights", "bias")

Arrays = Mapping[str, np.ndarray]


def save_probes(path: Path, probes: Mapping[str, Arrays], about: Mapping[str, Any]) -> None:
    """Write probes by the name of their features, such as ``layer_03/hidden_out``, to ``path``.

    Each has ``weights`` (d, k) and ``bias`` (k,), float64, for features as they were given; they
    become tensors ``<name>/weights`` and ``<name>/bias``. ``about``, what all of them share, such as
    ``label``, ``kind`` and ``classes``, is kept as JSON. The same probes give the same bytes.
    """
    tensors = {
        f"{name}/{part}": np.ascontiguousarray(arrays[part], dtype=np.float64)
        for name, arrays in probes.items()
        for part in PARTS
    }
    text = json.dumps({"format": FORMAT, **about}, ensure_ascii=False, sort_keys=True)
    with new_file(path) as partial:
        save_file(tensors, partial, {"stratascope": text})


def load_probes(path: Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """The probes of a file, by the name of their features, and what is known of all of them.

    Raises StratascopeError if the file is missing, damaged, or holds no probes.
    """
    try:
        with safe_open(path, framework="numpy") as stream:
            about = json.loads((stream.metadata() or {}).get("stratascope", "{}"))
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise StratascopeError(f"{path}: cannot be read as probes: {error}") from error
    if about.get("format") != FORMAT:
        raise StratascopeError(f"{path}: no probes of `stratascope probe --save`")
    probes: dict[str, dict[str, np.ndarray]] = {}
    for key in sorted(tensors):
        name, _, part = key.rpartition("/")
        probes.setdefault(name, {})[part] = tensors[key]
    return probes, about
