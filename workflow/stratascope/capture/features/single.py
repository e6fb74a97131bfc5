"""``stratascope extract``: the features of one dataset on one model, without a study."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stratascope.capture.features.shards import dealt, read_record, shards_of
from stratascope.errors import StratascopeError
from stratascope.store.datasets import Source, content_of, open_dataset, sampled
from stratascope.store.features import Features, is_features
from stratascope.store.identity import identify
from stratascope.store.runs import read_json
from stratascope.study.checkpoints import (
    COMMIT,
    Checkpoint,
    is_hub_id,
    local_folder,
    lock_key,
    names_for,
    read_lock,
)
from stratascope.study.dataset import Dataset
from stratascope.study.features import FeatureSet
from stratascope.study.schema import Limits, Model
from stratascope.study.validate import validate

Say = Callable[[str], None]

# What a model runs in that does not say: every architecture computes in it without overflow.
FALLBACK_DTYPE = "float32"
DTYPES = ("float16", "bfloat16", "float32")


def extract_dataset(
    model: Mapping[str, Any],
    dataset: Mapping[str, Any],
    folder: Path,
    say: Say,
    *,
    threads: int,
    part: tuple[int, int] = (1, 1),
    compile: bool = False,  # noqa: A002 (as PyTorch calls it)
    limits: Limits = Limits(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Extract a dataset's features into ``folder``, and a summary of what lies there then.

    ``model`` and ``dataset`` are the keys of a study's ``Model`` and ``Dataset``; the model's
    ``dtype`` may be ``auto``. Paths are relative to the working folder. Raises ``StratascopeError``
    as finding the model, opening the dataset, loading and extracting do.
    """
    features, source = asked_features(model, dataset, threads)
    extract_asked(features, source, folder, say, part=part, compile=compile, limits=limits)
    return _summary(features, source, folder, part)


def asked_features(
    model: Mapping[str, Any], dataset: Mapping[str, Any], threads: int
) -> tuple[FeatureSet, Source]:
    """The features that the keys of a study's ``Model`` and ``Dataset`` ask for, and their texts.

    Raises:
        StratascopeError: what finding the model and opening the dataset find wrong.
    """
    asked = validate(Dataset, dataset, "extract")
    source = sampled(open_dataset(asked, Path()), asked.max_samples, asked.seed)
    checkpoint = _checkpoint(dict(model))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(asked.data).stem).strip("-._") or "dataset"
    return FeatureSet(name, asked, content_of(asked, Path()), checkpoint, threads), source


def extract_asked(
    features: FeatureSet,
    source: Source,
    folder: Path,
    say: Say,
    *,
    part: tuple[int, int] = (1, 1),
    compile: bool = False,  # noqa: A002 (as PyTorch calls it)
    limits: Limits = Limits(),  # noqa: B008 (frozen)
) -> None:
    """Extract ``features`` into ``folder`` if they are not there, with a check of memory and disk.

    Raises:
        StratascopeError: as loading and extracting do.
    """
    if not is_features(folder) or Features.open(folder).info["digest"] != features.digest:
        from stratascope.capture.budget import check_features
        from stratascope.capture.features.extract import extract_features
        from stratascope.capture.loading import load

        tokenizer = check_features(
            features, source, folder, say, part=part, limits=limits, options=True
        )
        loaded = load(features.checkpoint, tokenizer)
        extract_features(loaded, features, source, folder, say, part=part, compile=compile)


def _checkpoint(model: dict[str, Any]) -> Checkpoint:
    """The checkpoint of a folder, or of a hub model at its locked, given or present commit."""
    auto = model["dtype"] == "auto"
    spec = validate(Model, model | ({"dtype": FALLBACK_DTYPE} if auto else {}), "extract")
    name = names_for([spec])[spec]
    folder = local_folder(spec, Path())
    if folder is not None:
        if spec.revision is not None:
            raise StratascopeError(f"{spec.id}: a local folder has no revision; leave it out")
        found = Checkpoint(name, spec, str(folder), None, identify(folder))
    elif is_hub_id(spec):
        found = _of_hub(name, spec)
    else:
        raise StratascopeError(f"no model folder {spec.id} (looked in {Path().resolve()})")
    if not auto:
        return found
    return Checkpoint(
        name,
        spec.model_copy(update={"dtype": _own_dtype(found)}),
        found.source,
        found.revision,
        found.identity,
    )


def _of_hub(name: str, spec: Model) -> Checkpoint:
    commit = spec.revision or ""
    if not COMMIT.fullmatch(commit):
        commit = read_lock(Path()).get(lock_key(spec), "")
    if not commit:
        from stratascope.capture.loading import load_config

        asked = Checkpoint(name, spec, spec.id, spec.revision or "main", "")
        # The commit that the hub, or the cache without a network, means by it today.
        commit = getattr(load_config(asked), "_commit_hash", None) or ""
        if not commit:
            raise StratascopeError(
                f"{lock_key(spec)}: its commit is unknown; give it as --revision"
            )
    return Checkpoint(name, spec, spec.id, commit, f"hub:{spec.id}@{commit}")


def _own_dtype(checkpoint: Checkpoint) -> str:
    """The precision that a checkpoint was saved in, as its config.json says."""
    config: dict[str, Any] = {}
    if not checkpoint.is_local:
        from stratascope.capture.loading import load_config

        config = load_config(checkpoint).to_dict()
    elif (path := Path(checkpoint.source) / "config.json").is_file():
        config = dict(read_json(path))
    for found in (config, config.get("text_config") or {}):
        name = str(found.get("dtype") or found.get("torch_dtype")).removeprefix("torch.")
        if name in DTYPES:
            return name
    return FALLBACK_DTYPE


def _summary(
    features: FeatureSet, source: Source, folder: Path, part: tuple[int, int]
) -> dict[str, Any]:
    """One row: all of it, or what there is while other parts are missing."""
    whole = is_features(folder)
    if whole:
        info = Features.open(folder).info
        shards, skipped = info["shards"], len(info["skipped"])
        shapes = info["shapes"]
    else:
        mine = dealt(shards_of(source.count(), features.dataset.shard_texts), part)
        shards = [read_record(folder, shard) for shard in mine]
        skipped = sum(len(shard["skipped"]) for shard in shards)
        shapes = shards[0]["shapes"] if shards else {}
    layers = sorted({int(n.split("/")[0][6:]) for n in shapes if n.startswith("layer_")})
    return {
        "features": features.label,
        "whole": whole,
        "texts": sum(shard["texts"] for shard in shards),
        "rows": sum(shard["rows"] for shard in shards),
        "skipped": skipped,
        "sites": ",".join(features.dataset.sites),
        "modules": ",".join(features.dataset.modules),
        "layers": ",".join(map(str, layers)),
        "shards": len(shards),
        "bytes": sum((folder / shard["file"]).stat().st_size for shard in shards),
        "folder": str(folder),
    }
