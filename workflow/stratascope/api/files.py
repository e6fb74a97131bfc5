"""Activations on disk: one safetensors or NPZ file with tensors, tokens, mask and texts."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes

from stratascope.api.activations import Activations
from stratascope.api.passes import Pass
from stratascope.errors import StratascopeError
from stratascope.store.commit import new_file

FORMAT = "stratascope-activations-1"
# Beside the recorded tensors; no module's path holds a slash.
IDS, MASK = "inputs/ids", "inputs/mask"
# What is known beside the tensors, as JSON: an entry of an NPZ file, and one of a safetensors header
# (the library shuffles several).
METADATA = "metadata"
HEADER = "stratascope"

Tensors = dict[str, torch.Tensor]


def save(acts: Activations, path: Path) -> Path:
    """Write ``acts`` to a ``.safetensors`` or ``.npz`` file, whole or not at all.

    Tensors keep their names and their precision, but in NPZ, which has no bfloat16, that becomes
    float32, exactly. ``inputs/ids`` and ``inputs/mask`` are (texts, tokens); texts, tokens and the
    model's name are JSON in the header, or in NPZ's entry ``metadata``. The same content gives the same
    bytes.

    Raises:
        StratascopeError: another suffix, nothing to save, or a disk that refuses.
    """
    if path.suffix not in (".safetensors", ".npz"):
        raise StratascopeError(f"{path}: save activations as .safetensors or .npz")
    if not len(acts):
        raise StratascopeError(f"{path}: nothing was recorded, so there is nothing to save")
    inputs = {IDS: acts.ids, MASK: acts.mask}
    known = {name: tensor for name, tensor in inputs.items() if tensor is not None}
    about = json.dumps({"format": FORMAT, **_about(acts)})
    with new_file(path) as partial:
        if path.suffix == ".npz":
            arrays = {**acts.numpy(), **{name: known[name].numpy() for name in known}}
            with partial.open("wb") as stream:
                np.savez(stream, **arrays, **{METADATA: np.array(about)})  # type: ignore[arg-type]
        else:
            # Two sites may be one tensor in memory, which safetensors refuses.
            own = {name: tensor.detach().cpu().clone() for name, tensor in acts.items()}
            partial.write_bytes(safetensors_bytes(own | known, {HEADER: about}))
    return path


def load_activations(path: str | Path) -> Activations:
    """Read what ``Activations.save`` wrote; of any other safetensors or NPZ file its tensors.

    Raises:
        StratascopeError: a file that is not there, is damaged, or is of another kind.
    """
    path = Path(path)
    read = {".safetensors": _read_safetensors, ".npz": _read_npz}.get(path.suffix)
    if read is None:
        raise StratascopeError(f"{path}: activations are .safetensors or .npz files")
    if not path.is_file():
        raise StratascopeError(f"{path}: no such file")
    try:
        tensors, about = read(path)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise StratascopeError(f"{path}: damaged, or not what its name says: {reason}") from error
    ids, mask = tensors.pop(IDS, None), tensors.pop(MASK, None)
    texts, tokens = about.get("texts"), about.get("tokens")
    one = Pass(tensors, ids, mask, None if texts is None else tuple(texts))
    shown: dict[int, str] = {}
    if ids is not None and mask is not None and tokens is not None:
        shown = dict(zip(ids[mask].tolist(), chain.from_iterable(tokens), strict=True))
    show = (lambda found: [shown[i] for i in found]) if shown else None
    return Activations([one], about.get("model", ""), show)


def _about(acts: Activations) -> dict[str, Any]:
    """What is known beside the tensors."""
    about: dict[str, Any] = {"model": acts.model, "names": list(acts)}
    for key in ("texts", "tokens"):
        with suppress(StratascopeError):  # a module called with other things than text
            about[key] = getattr(acts, key)
    return about


def _read_safetensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    with safe_open(path, "pt") as file:
        header = (file.metadata() or {}).get(HEADER)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if header is None:
        return tensors, {}
    about: dict[str, Any] = json.loads(header)
    # The file has its own order; the recording's is that of the model's work.
    order = [*about["names"], *(name for name in tensors if name in (IDS, MASK))]
    return {name: tensors[name] for name in order}, about


def _read_npz(path: Path) -> tuple[Tensors, dict[str, Any]]:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays.pop(METADATA))) if METADATA in arrays else {}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, about
