"""Features written by hand, with a truth that the analyses must find.

60 texts in 30 pairs, three checkpoints of two layers. ``mood`` and ``warmth`` can be read at layer 1 of
``middle`` and ``last``, which are alike there, and nowhere else; ``coin`` nowhere. ``first`` is noise.
``last`` could not read line 7.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from safetensors.numpy import save_file

from stratascope.study.analyses import ProbeJob, SimilarityJob, TransferJob
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.dataset import Probes, Similarity, StudyDataset
from stratascope.study.features import FeatureSet
from stratascope.study.schema import Model

N, WIDTH, SHARD = 60, 6, 25
WORDS = ("birds", "clouds", "dogs", "rivers", "stones", "trees")
NAMES = ("first", "middle", "last")
UNREAD = 7
SITE = "hidden_out"

Fields = dict[str, list[Any]]
Matrices = dict[str, np.ndarray]


def fields() -> Fields:
    """Labels and groups of all texts; both texts of a pair have one mood."""
    rng = np.random.default_rng(7)
    pairs = np.arange(N) // 2
    return {
        "mood": [("calm", "glad")[pair % 2] for pair in pairs],
        "warmth": rng.normal(size=N).tolist(),
        "coin": [("heads", "tails")[i] for i in rng.permutation(N) % 2],
        "pair": [f"pair {pair}" for pair in pairs],
    }


def texts() -> list[str]:
    """Two words that all texts have, then one of six that says nothing about the mood."""
    chosen = np.random.default_rng(8).integers(len(WORDS), size=N)
    return [f"I see {WORDS[word]}, number {i}." for i, word in enumerate(chosen)]


def planted(checkpoint: str) -> Matrices:
    """Layer 0 is noise of the checkpoint's own; so is layer 1 of the first."""
    rng = np.random.default_rng(NAMES.index(checkpoint))
    noise = [rng.normal(size=(N, WIDTH)).astype(np.float32) for _ in range(2)]
    found = {f"layer_{i:02d}/{SITE}": each for i, each in enumerate(noise)}
    if checkpoint != "first":
        carried = fields()
        same = np.random.default_rng(9).normal(size=(N, WIDTH))
        same[:, 0] += [6.0 * (mood == "glad") for mood in carried["mood"]]
        same[:, 1] = carried["warmth"]
        found[f"layer_01/{SITE}"] = same.astype(np.float32)
    return found


def paired(width: int = 200) -> tuple[Matrices, list[str]]:
    """Features that say which pair a text is of, and a label that each pair has by chance."""
    rng = np.random.default_rng(10)
    of_pair = np.repeat(rng.normal(size=(N // 2, width)), 2, axis=0)
    near = of_pair + 0.01 * rng.normal(size=(N, width))
    label = np.repeat(rng.permutation(N // 2) % 2, 2)
    return {f"layer_00/{SITE}": near.astype(np.float32)}, [("no", "yes")[i] for i in label]


def feature_set(checkpoint: str, name: str = "talks", **dataset: Any) -> FeatureSet:
    settings = {"data": "x.jsonl", "labels": ("mood", "warmth", "coin"), "groups": ("pair",)}
    model = Checkpoint(
        checkpoint, Model(id=checkpoint), checkpoint, None, f"{checkpoint}'s weights"
    )
    return FeatureSet(name, StudyDataset(**settings | dataset), "content", model, 1)


def write_features(
    place: Path,
    features: FeatureSet,
    matrices: Matrices,
    carried: Mapping[str, Sequence[Any]],
    said: Sequence[str | None],
    unread: Sequence[int] = (),
) -> None:
    """A folder as extraction leaves it, of all lines that are not ``unread``."""
    folder = place / features.folder
    folder.mkdir(parents=True)
    kept = [i for i in range(len(said)) if i + 1 not in unread]
    shards, at = [], {"shard": [], "row": []}
    for number, start in enumerate(range(0, len(said), SHARD)):
        mine = [i for i in kept if start <= i < start + SHARD]
        file = f"features-{number:05d}.safetensors"
        save_file({k: np.ascontiguousarray(v[mine]) for k, v in matrices.items()}, folder / file)
        shards.append({"file": file, "texts": len(mine), "rows": len(mine)})
        at["shard"] += [number] * len(mine)
        at["row"] += range(len(mine))
    index = {
        "text": pyarrow.array([said[i] for i in kept], pyarrow.string()),
        "line": [i + 1 for i in kept],
        "shard": pyarrow.array(at["shard"], pyarrow.int32()),
        "row": at["row"],
        "rows": [1] * len(kept),
        "tokens": [9] * len(kept),
        **{name: [values[i] for i in kept] for name, values in carried.items()},
    }
    pyarrow.parquet.write_table(pyarrow.table(index), folder / "index.parquet")
    info = {
        "format": "stratascope-features-1",
        "label": features.label,
        "digest": features.digest,
        "sites": [SITE],
        "layers": sorted({int(n[6:8]) for n in matrices if n.startswith("layer_")}),
        "position": "last",
        "shapes": {name: matrix.shape[1] for name, matrix in matrices.items()},
        "texts": len(kept),
        "rows": len(kept),
        "shards": shards,
    }
    (folder / "run.json").write_text(json.dumps(info))


Made = Callable[..., FeatureSet]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the features of the three checkpoints lie."""
    folder = tmp_path_factory.mktemp("features")
    for name in NAMES:
        unread = [UNREAD] if name == "last" else []
        write_features(folder, feature_set(name), planted(name), fields(), texts(), unread)
    return folder


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Write other features below ``tmp_path``: a feature set of these matrices and fields."""

    def make(
        matrices: Matrices,
        carried: Mapping[str, Sequence[Any]],
        said: Sequence[str | None] | None = None,
        checkpoint: str = "first",
        **dataset: Any,
    ) -> FeatureSet:
        features = feature_set(checkpoint, **dataset)
        write_features(tmp_path, features, matrices, carried, texts() if said is None else said)
        return features

    return make


PROBES = Probes(bootstrap=50, permutations=19)
SIMILARITY = Similarity(bootstrap=40, permutations=49)


@pytest.fixture(scope="session")
def probe_job() -> Callable[..., ProbeJob]:
    """The probes of a checkpoint's features, or of others."""

    def make(
        features: FeatureSet | str, labels: Sequence[str] = ("mood",), **spec: Any
    ) -> ProbeJob:
        found = feature_set(features) if isinstance(features, str) else features
        return ProbeJob(found, (), PROBES.model_copy(update=spec), tuple(labels))

    return make


@pytest.fixture(scope="session")
def transfer_job() -> Callable[..., TransferJob]:
    """Probes of several feature sets judged elsewhere."""

    def make(sets: Sequence[FeatureSet | str], *kinds: str, **spec: Any) -> TransferJob:
        found = tuple(feature_set(item) if isinstance(item, str) else item for item in sets)
        labels, others = spec.pop("labels", ("mood",)), spec.pop("others", ())
        chosen = PROBES.model_copy(update={"transfer": kinds, **spec})
        return TransferJob("talks", found, (), chosen, labels, others)

    return make


@pytest.fixture(scope="session")
def similarity_job() -> Callable[..., SimilarityJob]:
    """A comparison of several feature sets."""

    def make(sets: Sequence[FeatureSet | str], *measures: str, **spec: Any) -> SimilarityJob:
        found = tuple(feature_set(item) if isinstance(item, str) else item for item in sets)
        chosen = {"measures": measures or ("linear_cka_debiased",), **spec}
        return SimilarityJob("talks", found, (), SIMILARITY.model_copy(update=chosen))

    return make


@pytest.fixture(scope="session")
def pairs() -> tuple[Matrices, list[str]]:
    """Features that know a text's pair, and a label by chance."""
    return paired()


@pytest.fixture(scope="session")
def truth() -> Fields:
    """The labels and groups of the 60 texts."""
    return fields()


@pytest.fixture(scope="session")
def said() -> list[str]:
    """The 60 texts."""
    return texts()
