"""The state vectors of one checkpoint in one file: what every comparison starts from.

Captured tensors are large and lie in many folders; the states are the few rows that comparisons
need. A row that a run did not capture is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from stratascope.errors import StratascopeError
from stratascope.store.commit import new_file, write_json
from stratascope.store.hashes import sha256
from stratascope.store.runs import SOURCES, RunFolder, read_json, tensor_name
from stratascope.store.tensorread import TensorReader


def extract_states(
    checkpoint: str,
    order: int,
    runs: Sequence[tuple[RunFolder, Path | None]],
    out: Path,
) -> None:
    """Write ``<out>.safetensors`` and ``<out>.json`` (the index, written last).

    ``runs`` are sorted by label; each comes with the folder of its reference set, if it has one.
    ``order`` is the checkpoint's place in the study. Tensors, all float32:
    ``initial|final/layer_NN/<source>`` (runs, hidden), ``snapshot/<position>/layer_NN/<source>``
    (messages of all runs, hidden), ``reference/<position>/layer_NN/<source>`` (references, hidden).
    """
    folders = list(dict.fromkeys(path for _, path in runs if path))
    index = _index(checkpoint, order, runs, folders)
    tensors: dict[str, np.ndarray] = {}
    snapshots = [run.snapshots for run, _ in runs]
    references = [TensorReader.open(folder / "references.safetensors") for folder in folders]
    for layer in index["layers"]:
        for source in SOURCES:
            name = tensor_name(layer, source)
            for which in ("initial", "final"):
                vectors = [run.state(which, layer, source) for run, _ in runs]
                _put(
                    tensors,
                    f"{which}/{name}",
                    [v if v is None else v[None] for v in vectors],
                    [1] * len(runs),
                )
            for position in index["positions"]:
                key = f"{position}/{name}"
                counts = [len(run["messages"]) for run in index["runs"]]
                _put(
                    tensors, f"snapshot/{key}", [_all(reader, key) for reader in snapshots], counts
                )
                sizes = [len(item["labels"]) for item in index["reference_sets"]]
                _put(
                    tensors, f"reference/{key}", [_all(reader, key) for reader in references], sizes
                )
    with new_file(out.with_name(out.name + ".safetensors")) as partial:
        # Not save_file: it makes files that only their owner can read.
        partial.write_bytes(save(tensors))
    files = {f"{out.name}.safetensors": sha256(out.with_name(out.name + ".safetensors"))}
    write_json(out.with_name(out.name + ".json"), index | {"files": files})


def _all(reader: TensorReader, name: str) -> np.ndarray | None:
    return reader.float32(name) if name in reader else None


def _put(
    tensors: dict[str, np.ndarray], key: str, blocks: list[np.ndarray | None], counts: list[int]
) -> None:
    """Stack blocks of rows; a missing block is NaN rows; nothing at all is left out."""
    widths = {block.shape[1] for block in blocks if block is not None}
    if not widths:
        return
    width = widths.pop()
    filled = [
        np.full((count, width), np.nan, np.float32) if block is None else block
        for block, count in zip(blocks, counts, strict=True)
    ]
    tensors[key] = np.concatenate(filled)


def _index(
    checkpoint: str, order: int, runs: Sequence[tuple[RunFolder, Path | None]], folders: list[Path]
) -> dict[str, Any]:
    infos = [run.info for run, _ in runs]
    archs = {(i["model"]["arch"]["hidden_size"], i["model"]["arch"]["num_layers"]) for i in infos}
    if len(archs) != 1:
        raise StratascopeError(
            f"{checkpoint}: its runs disagree on the model's size: {sorted(archs)}"
        )
    hidden, layers = archs.pop()
    entries, row = [], 0
    for (run, folder), info in zip(runs, infos, strict=True):
        messages = [
            {key: message[key] for key in ("index", "role", "content", "prefix")}
            for message in info["snapshots"]["messages"]
        ]
        entries.append(
            {
                "label": info["label"],
                "scenario": info["scenario"]["name"],
                "parent": info["parent"],
                "folder": run.path.name,
                "generated": info["generated_text"],
                "prompt": messages[-1]["content"],
                "rows": [row, row + len(messages)],
                "messages": messages,
                "reference_set": folders.index(folder) if folder else None,
            }
        )
        row += len(messages)
    sets, row = [], 0
    for folder in folders:
        labels = read_json(folder / "references.json")["labels"]
        sets.append({"labels": labels, "rows": [row, row + len(labels)]})
        row += len(labels)
    positions = list(dict.fromkeys(p for info in infos for p in info["snapshots"]["positions"]))
    return {
        "checkpoint": checkpoint,
        "order": order,
        "model": {key: infos[0]["model"][key] for key in ("id", "revision")},
        "hidden_size": hidden,
        "num_layers": layers,
        "layers": sorted({layer for info in infos for layer in info["layers"]}),
        "sources": list(SOURCES),
        "positions": positions,
        "runs": entries,
        "reference_sets": sets,
    }
