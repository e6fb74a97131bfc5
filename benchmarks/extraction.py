"""The output of every layer at every token of a dataset, to disk, in float32. Ours against two
floors, which keep nothing (the layers alone, and the layers with the head), and against what else one would
use, which all run the head and hold everything in memory. All texts of 64 tokens; and of mixed length,
uniform from 5 to 200 tokens, where the others pad batches in the order of the input. Then the peak
memory of a process that extracts N texts and of one that extracts ten times as many."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import peers
from agree import largest_difference
from bench import Bench
from race import Row, Side, race
from stratascope.capture.features.extract import extract_features
from stratascope.store.datasets import MemorySource
from stratascope.store.datasets.rows import Row as Text
from stratascope.store.features import Features
from stratascope.study.dataset import Dataset
from stratascope.study.features import FeatureSet

BACKBONE, FULL = "backbone, nothing kept", "with the head, nothing kept"
TOLERANCE = 1e-4


def measure(bench: Bench) -> list[Row]:
    """Texts of one length, then of mixed lengths, then memory."""
    sizes = bench.sizes
    draw = np.random.default_rng(0)
    same = [sizes.text_tokens] * sizes.texts
    # Half as many: the others pad them, and take long.
    mixed = draw.integers(*sizes.mixed_tokens, endpoint=True, size=sizes.texts // 2).tolist()
    rows = []
    for what, lengths, target in (
        (f"{sizes.texts} texts of {sizes.text_tokens} tokens", same, ""),
        (f"{len(mixed)} texts of mixed length", mixed, "best of these: at least 1.5"),
    ):
        texts = [draw.integers(4, sizes.vocabulary, length) for length in lengths]
        rows += _measure(bench, what, texts, target)
    return [*rows, _memory(bench)]


def _measure(bench: Bench, what: str, texts: Sequence[np.ndarray], target: str) -> list[Row]:
    def stratascope(folder: Path) -> Path:
        extract(bench, texts, folder / "features")
        return folder / "features"

    model = bench.deep.model
    ways = {BACKBONE: peers.backbone, FULL: peers.full, **peers.installed()}
    sides: dict[str, Side] = {"extract": stratascope}
    for name, way in ways.items():
        sides[name] = lambda folder, way=way: way(model, texts, folder)  # type: ignore[misc]

    def agree(ours: Path, _: None, __: None, *files: Path) -> str:
        mine = as_layers(ours)
        differ = [largest_difference(mine, dict(np.load(file)), TOLERANCE) for file in files]
        return f"differ by {max(differ):.0e}"

    done = race(sides, agree, bench.sizes.rounds)
    rows = [done.row(what, "extract", BACKBONE, reads="cost", target="at most 1.1", note="")]
    if target:
        rows = [done.row(what, "extract", BACKBONE, reads="cost", note="it pads, ours sorts")]
    rows.append(done.row(what, "extract", FULL, reads="cost", note=""))
    return rows + [
        done.row(what, "extract", name, target=target)
        for name in sides
        if name in peers.installed()
    ]


def extract(bench: Bench, texts: Sequence[np.ndarray], folder: Path) -> None:
    """Our way: every layer's output at every token."""
    dataset = Dataset(data="memory", input_ids="ids", position="all", shard_texts=len(texts))
    features = FeatureSet("bench", dataset, "bench", bench.deep.checkpoint, threads=2)
    source = MemorySource([Text(i + 1, ids=ids) for i, ids in enumerate(texts)])
    extract_features(bench.deep, features, source, folder, say=lambda _: None)


def as_layers(folder: Path) -> dict[str, np.ndarray]:
    """The features as the others save them: `layer_NN`, (tokens of all texts, hidden)."""
    features = Features.open(folder)
    return {f"layer_{i:02d}": features.matrix(f"layer_{i:02d}/hidden_out") for i in features.layers}


def _memory(bench: Bench) -> Row:
    """A row of megabytes instead of seconds: the peak of ten times as many texts, over that of N."""
    peaks = [
        tuple(_peak(bench, times * bench.sizes.memory_texts) for _ in range(bench.sizes.rounds))
        for times in (10, 1)
    ]
    return Row(
        f"peak memory of extracting {10 * bench.sizes.memory_texts} texts",
        "ten times as many",
        f"{bench.sizes.memory_texts} texts",
        *peaks,
        reads="cost",
        target="at most 1.1",
        unit="MB",
    )


def _peak(bench: Bench, texts: int) -> float:
    """Peak resident memory of `stratascope extract` in a process of its own, in megabytes."""
    folder = bench.folder / "memory"
    folder.mkdir(exist_ok=True)
    data = folder / f"{texts}.parquet"
    if not data.exists():
        draw = np.random.default_rng(texts)
        ids = draw.integers(4, bench.sizes.vocabulary, (texts, bench.sizes.text_tokens))
        pq.write_table(pa.table({"ids": list(ids)}), data)
    out = folder / f"features-{len(list(folder.iterdir()))}"
    command = ["stratascope", "extract", str(bench.deep_folder), str(data), "--input-ids", "ids"]
    command += ["--position", "mean", "--shard-texts", str(bench.sizes.memory_texts)]
    code = (
        "import json, resource, sys; from stratascope.cli import main; sys.argv = sys.argv[1:]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--out", str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout.splitlines()[-1]))
