"""Writing a run in the formats of others: per-step files as Activation Lab's, or a single file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.store.commit import new_folder
from stratascope.store.runs import SOURCES, RunFolder, read_json, tensor_name
from stratascope.store.tensorread import TensorReader

Arrays = dict[str, np.ndarray]


def export_run(
    path: Path, form: str, layout: str, out: Path | None, references: Path | None = None
) -> list[Path]:
    """Export the run in ``path``; returns what was written.

    ``form`` is ``npz`` or ``pt``. ``layout`` ``steps`` is seed-style: ``tensors/step_NNN``,
    ``conversation_snapshots/`` and ``references/`` beside run.json and steps.json, each tensor with a
    leading batch axis of 1. ``one-file`` is ``activations.npz|pt`` with the whole sequence.
    Gradients, where the run has them, are ``gradients.npz|pt`` with the whole sequence in either.
    ``references`` is the folder of a reference set to add in ``steps`` layout.
    Raises ``StratascopeError`` if ``out`` exists.
    """
    run = RunFolder.open(path)
    out = out or run.path.with_name(f"{run.path.name}-{form}")
    if out.exists():
        raise StratascopeError(f"{out}: exists already; choose another folder with --out")
    with new_folder(out) as folder:
        if layout == "steps":
            _export_steps(run, folder, form)
            if references is not None:
                _export_references(references, folder / "references", form)
        else:
            _save(folder / f"activations.{form}", _whole(run.activations, form), form)
            shutil.copyfile(run.path / "run.json", folder / "run.json")
        if run.gradients is not None:
            _save(folder / f"gradients.{form}", _whole(run.gradients, form), form)
    return sorted(p for p in out.rglob("*") if p.is_file())


def _export_steps(run: RunFolder, folder: Path, form: str) -> None:
    (folder / "tensors").mkdir()
    steps = []
    for step in run.steps:
        file = f"tensors/step_{step['step']:03d}.{form}"
        arrays = _step(run, step, form)
        _save(folder / file, arrays, form)
        index = {k: {"shape": list(a.shape), "dtype": str(a.dtype)} for k, a in arrays.items()}
        steps.append(step | {"tensors_file": file, "tensor_index": index})
    (folder / "steps.json").write_text(_json({"steps": steps}), encoding="utf-8")
    shutil.copyfile(run.path / "run.json", folder / "run.json")
    _export_snapshots(run, folder / "conversation_snapshots", form)


def _step(run: RunFolder, step: dict[str, Any], form: str) -> Arrays:
    first, stop = step["rows"]
    arrays: Arrays = {}
    for name in run.activations.entries:
        if name.endswith("/attn_weights"):
            rows = _read(
                run.activations, name, (slice(None), slice(first, stop), slice(0, stop)), form
            )
        else:
            rows = _read(run.activations, name, slice(first, stop), form)
        arrays[name] = rows[None]
    return arrays


def _whole(reader: TensorReader, form: str) -> Arrays:
    return {name: _read(reader, name, slice(None), form)[None] for name in reader.entries}


def _export_snapshots(run: RunFolder, folder: Path, form: str) -> None:
    """The state after each message, at the run's first position, (hidden,) float32 each."""
    info = run.info["snapshots"]
    position = info["positions"][0]
    skipped = {item["index"] for item in info["skipped"] if item["position"] in (None, position)}
    folder.mkdir()
    index = []
    for message in info["messages"]:
        index.append(
            {k: message[k] for k in ("index", "role")}
            | {"content_preview": message["content"][:80]}
        )
        if message["index"] in skipped:
            continue
        arrays = {
            name: run.snapshots.float32(f"{position}/{name}", message["index"])
            for name in _state_names(run.snapshots, position)
        }
        _save(folder / f"snapshot_{message['index']:02d}_{message['role']}.{form}", arrays, form)
    (folder / "index.json").write_text(_json(index), encoding="utf-8")


def _state_names(reader: TensorReader, position: str) -> Iterator[str]:
    layers = sorted({int(name.split("/")[1].removeprefix("layer_")) for name in reader.entries})
    for layer in layers:
        for source in SOURCES:
            if f"{position}/{tensor_name(layer, source)}" in reader:
                yield tensor_name(layer, source)


def _export_references(folder: Path, out: Path, form: str) -> None:
    """A reference set as ``ref_<label>`` files with an index."""
    reader = TensorReader.open(folder / "references.safetensors")
    info = read_json(folder / "references.json")
    position = info["positions"][0]
    out.mkdir()
    for i, label in enumerate(info["labels"]):
        arrays = {
            name: reader.float32(f"{position}/{name}", i) for name in _state_names(reader, position)
        }
        _save(out / f"ref_{label}.{form}", arrays, form)
    (out / "index.json").write_text(_json({"labels": info["labels"]}), encoding="utf-8")


def _read(reader: TensorReader, name: str, rows: Any, form: str) -> np.ndarray:
    """Rows as stored; bfloat16 as float32 for NumPy, and as its bits for PyTorch."""
    raw = np.array(reader.raw(name)[rows])
    if reader.entries[name]["dtype"] == "BF16" and form == "npz":
        return (raw.astype("<u4") << 16).view("<f4")
    return raw


def _save(path: Path, arrays: Arrays, form: str) -> None:
    if form == "npz":
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # names are not options
        return
    import torch

    # Only bfloat16 arrives as unsigned 16-bit integers (see _read).
    tensors = {
        name: torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
        if a.dtype == np.uint16
        else torch.from_numpy(a)
        for name, a in arrays.items()
    }
    torch.save(tensors, path)


def _json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
