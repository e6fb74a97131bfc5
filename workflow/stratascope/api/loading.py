"""Where a model comes from: a folder, the hub, or memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.utils.hub import resolve_revision

from stratascope.api.model import Model
from stratascope.capture import loading
from stratascope.capture.loading import quiet
from stratascope.errors import StratascopeError
from stratascope.study import schema
from stratascope.study.checkpoints import Checkpoint, is_hub_id, local_folder, names_for
from stratascope.study.strict import Dtype
from stratascope.study.validate import validate


def load(
    source: str | Path,
    *,
    revision: str | None = None,
    dtype: str | torch.dtype | None = None,
    device: str = "auto",
    device_map: str | None = None,
    gguf_file: str | None = None,
    trust_remote_code: bool = False,
) -> Model:
    """Load a model from a folder or from the Hugging Face hub, with its tokenizer.

    ``dtype``: ``float32``, ``bfloat16`` or ``float16``; by default what the weights were saved in.
    ``device``: ``auto``, ``cpu``, ``cuda`` or ``mps``. ``revision``: a branch, tag or commit of the hub,
    which a folder does not have. The weights are frozen and the model is in evaluation mode.

    Raises:
        StratascopeError: no such folder or model, files missing or damaged, a device that is not there.
    """
    given: dict[str, Any] = {
        "id": str(source),
        "revision": revision,
        "device": device,
        "device_map": device_map,
        "gguf_file": gguf_file,
        "trust_remote_code": trust_remote_code,
    }
    if dtype is not None:
        given["dtype"] = str(dtype).removeprefix("torch.")
    model = validate(schema.Model, given, "load")
    folder = local_folder(model, Path())
    if folder is None and not is_hub_id(model):
        raise StratascopeError(f"load: no model folder {source} (looked in {Path().resolve()})")
    if folder is not None and revision is not None:
        raise StratascopeError(f"load: {source} is a folder, which has no revision; leave it out")
    name = names_for([model])[model]
    if folder is not None:
        checkpoint = Checkpoint(name, model, str(folder), None, "")
    else:
        checkpoint = _on_hub(name, model)
    if dtype is None:
        own = _saved_dtype(checkpoint)
        checkpoint = replace(checkpoint, model=model.model_copy(update={"dtype": own}))
    loaded = loading.load(checkpoint)
    return Model(loaded.model, loaded.tokenizer, checkpoint)


def wrap(
    module: nn.Module, tokenizer: PreTrainedTokenizerBase | None = None, name: str | None = None
) -> Model:
    """Look into a module that is in memory already: a model of transformers, or any other.

    Nothing about it changes. Without a tokenizer it reads token ids, or what its ``forward`` takes.
    """
    config = getattr(module, "config", None)
    known = name or getattr(config, "name_or_path", "") or type(module).__name__
    weight = next((p for p in module.parameters() if p.is_floating_point()), None)
    model = schema.Model(id=known, dtype=_named(None if weight is None else weight.dtype))
    return Model(module, tokenizer, Checkpoint(names_for([model])[model], model, "", None, ""))


def _saved_dtype(checkpoint: Checkpoint) -> Dtype:
    return _named(getattr(loading.load_config(checkpoint), "dtype", None))


def _named(dtype: torch.dtype | str | None) -> Dtype:
    """A precision as configs name it; float32 for all others."""
    half: dict[str, Dtype] = {"float16": "float16", "bfloat16": "bfloat16"}
    return half.get(str(dtype).removeprefix("torch."), "float32")


def _on_hub(name: str, model: schema.Model) -> Checkpoint:
    """The checkpoint at the commit that its branch or tag means now; a branch moves on.

    Without the network that is the commit in the cache. Where there is none either, loading says so.
    """
    wanted = model.revision or "main"
    with quiet():
        found = resolve_revision(model.id, revision=wanted)
    commit = str(getattr(found, "resolved", found))
    return Checkpoint(name, model, model.id, commit, f"hub:{model.id}@{commit}")
