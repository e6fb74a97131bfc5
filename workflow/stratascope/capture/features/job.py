"""One job of the workflow: the shards that it is to extract, if they are not there yet.

Torch is imported, and the model loaded, only when something is missing; then once for all datasets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stratascope.capture.features.shards import check_folder, dealt, read_record, shards_of
from stratascope.errors import StratascopeError
from stratascope.store.datasets import open_dataset, sampled
from stratascope.store.features import INFO, Features, is_features, is_whole
from stratascope.store.hashes import sha256
from stratascope.study.features import FeatureJob, Part
from stratascope.study.schema import Limits

if TYPE_CHECKING:
    from stratascope.capture.loading import Loaded

Say = Callable[[str], None]

# What the manifest says of a shard.
LISTED = ("file", "input", "texts", "rows", "sha256")


def extract_missing(
    job: FeatureJob,
    root: Path,
    place: Path,
    say: Say,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
) -> list[dict[str, Any]]:
    """Extract what the job lacks into folders below ``place``; what lies there then, part by part.

    Paths in datasets are relative to ``root``. Raises ``StratascopeError`` at the end, naming each
    dataset that failed and why: what opening a dataset, loading the model and extracting find wrong,
    and what has no room (``capture.budget``). The others are kept.
    """

    @cache
    def loaded() -> Loaded:
        from stratascope.capture.loading import load

        return load(job.checkpoint)

    left: list[dict[str, Any]] = []
    failed: list[str] = []
    for part in job.parts:
        folder = place / part.features.folder
        try:
            shards = _shards(part, root, folder, loaded, say, limits)
        except StratascopeError as error:
            label = part.features.label
            problem = str(error) if label in str(error) else f"{label}: {error}"
            failed.append(problem)
            say(problem)
            continue
        left.append(
            {
                "folder": folder.name,
                "part": f"{part.number}/{part.of}",
                "shards": shards,
                "sha256": _end(folder),
            }
        )
    if failed:
        raise StratascopeError(
            f"{len(failed)} of {len(job.parts)} datasets failed, the others are kept: {'; '.join(failed)}"
        )
    return left


def _shards(
    part: Part,
    root: Path,
    folder: Path,
    loaded: Callable[[], Loaded],
    say: Say,
    limits: Limits,
) -> list[dict[str, Any]]:
    features = part.features
    dataset = features.dataset
    own = (part.number, part.of)
    check_folder(folder, features.digest)
    if not is_whole(folder):
        source = sampled(open_dataset(dataset, root), dataset.max_samples, dataset.seed)
        shards = shards_of(source.count(), dataset.shard_texts)
        mine = dealt(shards, own)
        if not all(shard.is_done(folder) for shard in mine) or _are_done(folder, len(shards)):
            from stratascope.capture.budget import check_features
            from stratascope.capture.features.extract import extract_features

            check_features(features, source, folder, say, part=own, limits=limits)
            extract_features(loaded(), features, source, folder, say, part=own)
        if not is_features(folder):  # other jobs have yet to extract theirs
            # Or the last of them has this moment, and cleared the records away.
            with contextlib.suppress(FileNotFoundError):
                return [_listed(read_record(folder, shard)) for shard in mine]
    return [_listed(shard) for shard in dealt(Features.open(folder).info["shards"], own)]


def _end(folder: Path) -> str | None:
    """The hash of run.json, which records everything else; none while other jobs are at work."""
    return sha256(folder / INFO) if is_features(folder) else None


def _are_done(folder: Path, count: int) -> bool:
    """Whether all shards lie there and only the end is missing: somebody was killed before it."""
    return len(list(folder.glob(".shard-*.parquet"))) == count


def _listed(shard: dict[str, Any]) -> dict[str, Any]:
    return {key: shard[key] for key in LISTED}
