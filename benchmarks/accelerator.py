"""The output of five layers at every token of many texts, in bfloat16, against the bare passes of the
same layers and against the disk's own speed for as many bytes: the larger of the two is the floor.
With a CUDA device, a Llama of the shape of 8B (random weights) reads 2,000 texts of 512 tokens; without
one, a small model on the CPU shows that the script works, and its numbers mean little."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import random_model
from bench import Bench
from race import Row, race
from stratascope.capture.attention import IMPLEMENTATION
from stratascope.capture.features.extract import extract_features
from stratascope.capture.loading import Loaded
from stratascope.store.datasets import MemorySource
from stratascope.store.datasets.rows import Row as Text
from stratascope.store.features import Features
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.dataset import Dataset
from stratascope.study.features import FeatureSet
from stratascope.study.schema import Model


@dataclass(frozen=True)
class Work:
    """What is read, and by which model."""

    config: dict[str, int]
    layers: tuple[int, ...]
    texts: int
    tokens: int
    batch: int
    rounds: int


LARGE = Work(
    {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    layers=(3, 10, 17, 24, 31),
    texts=2000,
    tokens=512,
    batch=32,
    rounds=3,
)
SMALL = Work(
    {
        "vocab_size": 500,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    layers=(1, 2, 3, 4, 5),
    texts=64,
    tokens=32,
    batch=32,
    rounds=3,
)


def measure(bench: Bench) -> list[Row]:
    """Ours against bare passes, and against writing the same bytes."""
    cuda = torch.cuda.is_available()
    work = replace(LARGE if cuda else SMALL, rounds=bench.sizes.rounds if not cuda else 3)
    loaded = _load(work, torch.device("cuda" if cuda else "cpu"))
    draw = np.random.default_rng(0)
    ids = draw.integers(4, work.config["vocab_size"], (work.texts, work.tokens))
    size = len(work.layers) * ids.size * work.config["hidden_size"] * 2

    def extract(folder: Path) -> Path:
        _extract(loaded, work, ids, folder / "features")
        return folder / "features"

    def bare(_: Path) -> None:
        with torch.inference_mode():
            for start in range(0, work.texts, work.batch):
                batch = torch.from_numpy(ids[start : start + work.batch]).to(loaded.device)
                loaded.model.model(batch, use_cache=False)
        if cuda:
            torch.cuda.synchronize()

    def disk(folder: Path) -> int:
        return _write(folder / "bytes", size)

    def agree(features: Path, _: None, written: int) -> str:
        shapes = {Features.open(features).matrix(f"layer_{i:02d}/hidden_out", rows=[0]).shape
                  for i in work.layers}  # fmt: skip
        assert shapes == {(1, work.config["hidden_size"])}
        assert written == size
        return f"{size / 1e9:.2f} GB on {torch.cuda.get_device_name() if cuda else 'the CPU'}"

    done = race({"extract": extract, "bare passes": bare, "disk": disk}, agree, work.rounds)
    what = f"five layers of {work.texts} texts of {work.tokens} tokens, bfloat16"
    target = "at most 1.1 times the larger of the two" if cuda else ""
    return [
        done.row(what, "extract", floor, reads="cost", target=target)
        for floor in ("bare passes", "disk")
    ]


def _load(work: Work, device: torch.device) -> Loaded:
    """A model made on its device: 16 GB of random weights never touch the disk."""
    config = LlamaConfig(**work.config, max_position_embeddings=4096)
    config._attn_implementation = IMPLEMENTATION
    torch.manual_seed(0)
    with device:
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            model = LlamaForCausalLM(config).eval().requires_grad_(False)
        finally:
            torch.set_default_dtype(default)
    spec = Model(id="random", dtype="bfloat16")
    checkpoint = Checkpoint("random", spec, "random", None, "random")
    return Loaded(checkpoint, model, random_model.make_tokenizer(400))


def _extract(loaded: Loaded, work: Work, ids: np.ndarray, folder: Path) -> None:
    dataset = Dataset(data="memory", input_ids="ids", position="all", layers=work.layers)
    features = FeatureSet("bench", dataset, "bench", loaded.checkpoint, threads=2)
    source = MemorySource([Text(i + 1, ids=row) for i, row in enumerate(ids)])
    extract_features(loaded, features, source, folder, say=lambda _: None)


def _write(path: Path, size: int) -> int:
    """Write ``size`` bytes to the disk, a piece at a time, and wait until they are there."""
    piece = memoryview(os.urandom(1 << 24))
    left = size
    with path.open("wb", buffering=0) as stream:
        while left:
            left -= stream.write(piece[: min(left, len(piece))])
        os.fsync(stream.fileno())
    return path.stat().st_size
