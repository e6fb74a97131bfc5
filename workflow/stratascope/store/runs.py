"""A captured run on disk: whether it is whole, what it says, its state vectors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.store.tensorread import TensorReader

RUN_FILES = ("run.json", "steps.json", "activations.safetensors", "snapshots.safetensors")
# In the folder of a run that asks for gradients.
GRADIENTS = "gradients.safetensors"
REFERENCE_FILES = ("references.json", "references.safetensors")

# Seed 003's residual-stream sources: the stream into and out of a block, and the two contributions.
SOURCES = ("hidden_in", "hidden_out", "attn_out", "mlp_down_out")


def is_run(folder: Path, *, gradients: bool = False) -> bool:
    """Whether a whole run lies there. Folders are renamed into place, so whole means present.

    ``gradients``: whether it asks for those, too.
    """
    names = (*RUN_FILES, GRADIENTS) if gradients else RUN_FILES
    return all((folder / name).is_file() for name in names)


def is_reference_set(folder: Path) -> bool:
    """Whether a whole reference set lies there."""
    return all((folder / name).is_file() for name in REFERENCE_FILES)


def tensor_name(layer: int, site: str) -> str:
    """``layer_07/hidden_out``, as tensor files name a site."""
    return f"layer_{layer:02d}/{site}"


@dataclass(frozen=True)
class RunFolder:
    """A run to read. Its tensors are opened when they are asked for."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """``path`` is the run's folder or its run.json."""
        folder = path.parent if path.name == "run.json" else path
        if not is_run(folder):
            missing = [name for name in RUN_FILES if not (folder / name).is_file()]
            raise StratascopeError(f"{folder}: not a captured run: {', '.join(missing)} not there")
        return cls(folder)

    @cached_property
    def info(self) -> dict[str, Any]:
        """run.json."""
        return dict(read_json(self.path / "run.json"))

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        """The entries of steps.json, one a forward pass."""
        return list(read_json(self.path / "steps.json")["steps"])

    @cached_property
    def activations(self) -> TensorReader:
        """Every captured tensor, one row a token."""
        return TensorReader.open(self.path / "activations.safetensors")

    @cached_property
    def snapshots(self) -> TensorReader:
        """The states after each message."""
        return TensorReader.open(self.path / "snapshots.safetensors")

    @cached_property
    def gradients(self) -> TensorReader | None:
        """The gradients at captured tensors, a row a token from the first on; none if not asked for."""
        asked = "gradients" in self.info
        return TensorReader.open(self.path / GRADIENTS) if asked else None

    @property
    def layers(self) -> list[int]:
        """The captured layers, ascending."""
        return list(self.info["layers"])

    def state(self, which: str, layer: int, source: str) -> np.ndarray | None:
        """One state vector, (hidden,) float32, or ``None`` if the run did not capture it.

        ``which`` is ``initial`` (the last prompt token) or ``final`` (the last token read).
        """
        name = tensor_name(layer, source)
        if name not in self.activations:
            return None
        rows = self.info["rows"]
        return self.activations.float32(
            name, (rows["prompt"] if which == "initial" else rows["total"]) - 1
        )


def read_json(path: Path) -> Any:
    """A JSON file that Stratascope wrote; ``StratascopeError`` if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StratascopeError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StratascopeError(f"{path}: damaged: not valid JSON") from error
