"""Single tensors of a checkpoint, in whatever form it lies there; the rest is not loaded.

From safetensors they are read without torch, so that a logit lens starts in a fraction of a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.store.runs import read_json
from stratascope.store.weights import Fetch, Rows, Weights, from_safetensors
from stratascope.study.checkpoints import Checkpoint

if TYPE_CHECKING:
    import torch

BIN_INDEX, BIN = "pytorch_model.bin.index.json", "pytorch_model.bin"


def open_weights(checkpoint: Checkpoint) -> tuple[dict[str, Any], Weights]:
    """The config.json of a checkpoint, and its tensors by name.

    Of a hub model only the files that hold a tensor asked for are fetched, and none that the cache has.
    A GGUF file is loaded as a whole.

    Raises:
        StratascopeError: files that are missing or damaged.
    """
    shown = checkpoint.name
    if checkpoint.model.gguf_file is not None:
        return _of_gguf(checkpoint)
    fetch = _fetch(checkpoint)
    path = fetch("config.json")
    if path is None:
        raise StratascopeError(f"{shown}: {checkpoint.source} holds no config.json")
    config = dict(read_json(path))
    found = from_safetensors(fetch, shown) or _from_bin(fetch, shown)
    if found is None and checkpoint.is_local:
        found = _from_dcp(checkpoint)
    if found is None:
        raise StratascopeError(
            f"{shown}: {checkpoint.source} holds no weights (model.safetensors, {BIN}, or their shards)"
        )
    return config, found


def _fetch(checkpoint: Checkpoint) -> Fetch:
    if not checkpoint.is_local:
        return cache(partial(_from_hub, checkpoint))
    folder = Path(checkpoint.source)
    return lambda name: folder / name if (folder / name).is_file() else None


def _from_hub(checkpoint: Checkpoint, name: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        return Path(hf_hub_download(checkpoint.source, name, revision=checkpoint.revision))
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StratascopeError(f"{checkpoint.source}: {name} cannot be had: {reason}") from error


def _from_bin(fetch: Fetch, shown: str) -> Weights | None:
    """Files of torch.save, memory-mapped."""
    if index := fetch(BIN_INDEX):
        files: Iterable[str] = sorted(set(read_json(index)["weight_map"].values()))
    elif fetch(BIN):
        files = [BIN]
    else:
        return None
    read = {}
    for file in files:
        for name, tensor in _pickled(fetch, shown, file).items():
            read[name] = partial(_rows, tensor)
    return Weights(shown, read)


def _pickled(fetch: Fetch, shown: str, file: str) -> dict[str, torch.Tensor]:
    import pickle

    import torch

    path = fetch(file)
    if path is None:
        raise StratascopeError(f"{shown}: {BIN_INDEX} lists {file}, which is not there")
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise StratascopeError(f"{path}: damaged or cut; copy the model again") from error


def _from_dcp(checkpoint: Checkpoint) -> Weights | None:
    from stratascope.capture.dcp import find_dcp, read_dcp
    from stratascope.capture.loading import load_skeleton

    folder = find_dcp(Path(checkpoint.source))
    if folder is None:
        return None
    names = load_skeleton(checkpoint).state_dict()

    def read(name: str, rows: Rows) -> np.ndarray:
        return _rows(read_dcp(folder, [name])[name], rows)

    return Weights(checkpoint.name, {name: partial(read, name) for name in names})


def _of_gguf(checkpoint: Checkpoint) -> tuple[dict[str, Any], Weights]:
    from stratascope.capture.loading import load

    model = load(checkpoint).model
    config = json.loads(model.config.to_json_string(use_diff=False))
    read = {name: partial(_rows, tensor) for name, tensor in model.state_dict().items()}
    return config, Weights(checkpoint.name, read)


def _rows(tensor: torch.Tensor, rows: Rows) -> np.ndarray:
    picked = tensor if rows is None else tensor[rows]
    return np.array(picked.float().cpu().numpy(), dtype=np.float32)
