"""What one sequence of tokens left behind, whoever recorded it: a row a token of every tensor.

A run folder, a run in the NPZ files of Activation Lab (one a step, or one for all), and what a model
computed a moment ago all read alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.store.arrayfiles import StoredArray, arrays_in
from stratascope.store.runs import RunFolder, is_run, read_json, tensor_name
from stratascope.study.names import nearest

Read = Callable[[], np.ndarray]
WEIGHTS = "attn_weights"
# What a token is called whose text no file says.
UNKNOWN = "token "
LAYER = re.compile(r"layer_(\d+)/(.+)")
EVERYTHING = slice(0, None)


@dataclass(frozen=True)
class Trace:
    """A sequence of tokens and the tensors of its forward passes.

    ``token_ids`` and ``tokens`` are those of the rows, in order; ``generated`` the ids that the passes
    chose, one a step. ``steps`` are the rows that each forward pass added: the prompt, then one token
    each. ``read`` gives a tensor by its name, (rows, width) or for attention weights (heads, rows, rows).
    ``model`` is its id as recorded, ``root`` the folder that a relative one is to be sought from,
    ``revision`` the commit of one from the hub, ``identity`` the hash of a folder's files.
    """

    label: str
    model: str | None
    root: Path
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    generated: tuple[int, ...]
    steps: tuple[range, ...]
    read: Mapping[str, Read]
    revision: str | None = None
    identity: str | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def layers(self) -> list[int]:
        """The layers that anything was recorded of, ascending."""
        return sorted({int(found[1]) for name in self.read if (found := LAYER.fullmatch(name))})

    @property
    def sites(self) -> list[str]:
        """What was recorded: sites of layers, then tensors of the whole model."""
        of_layers = [found[2] for name in self.read if (found := LAYER.fullmatch(name))]
        whole = [name for name in self.read if not LAYER.fullmatch(name)]
        return list(dict.fromkeys([*of_layers, *whole]))

    def has(self, layer: int, site: str) -> bool:
        """Whether this site of this layer was recorded."""
        return tensor_name(layer, site) in self.read

    def tensor(self, name: str) -> np.ndarray:
        """``layer_03/hidden_out`` or ``embeddings``, as float32: (rows, width), a new array.

        Raises StratascopeError for what was not recorded, with the nearest name that was.
        """
        if name not in self.read:
            found = LAYER.fullmatch(name)
            where, site = (f" of layer {int(found[1])}", found[2]) if found else ("", name)
            near = nearest(site, self.sites)
            guess = f"; did you mean {near}?" if near and near != site else ""
            raise StratascopeError(
                f"{self.label}: {site}{where} was not recorded{guess} (recorded: "
                f"{', '.join(self.sites) or 'nothing'}; layers: {', '.join(map(str, self.layers)) or 'none'})"
            )
        return np.asarray(self.read[name](), dtype=np.float32)

    def at(self, layer: int, site: str) -> np.ndarray:
        """`tensor` of a site of a layer."""
        return self.tensor(tensor_name(layer, site))

    def chosen_layers(self, wanted: str | Sequence[int], site: str) -> list[int]:
        """``all`` layers with this site, or those wanted; negative ones count from the last.

        Raises StratascopeError for a layer without it.
        """
        there = [layer for layer in self.layers if self.has(layer, site)]
        if wanted == "all" or isinstance(wanted, str):
            if not there:
                self.tensor(site)  # says what is there
            return there
        picked = [there[layer] if layer < 0 and -layer <= len(there) else layer for layer in wanted]
        for layer in picked:
            self.at_least_named(layer, site)
        return picked

    def at_least_named(self, layer: int, site: str) -> None:
        """Raise StratascopeError unless this site of this layer was recorded."""
        if not self.has(layer, site):
            self.at(layer, site)


def open_trace(path: Path) -> Trace:
    """The trace in ``path``: a run folder (or its run.json), or seed-style NPZ files.

    These are a folder with steps.json and ``tensors/step_NNN.npz``, or one with ``activations.npz``,
    or an NPZ file of the whole sequence, each tensor (1, rows, width) or (rows, width).
    Raises StratascopeError for anything else.
    """
    folder = path.parent if path.name in ("run.json", "steps.json") else path
    whole = folder / "activations.npz" if folder.is_dir() else folder
    try:
        if is_run(folder):
            return _of_run(RunFolder.open(folder))
        if (folder / "steps.json").is_file():
            return _of_steps(folder)
        if whole.suffix == ".npz" and whole.is_file():
            return _of_whole(whole)
    except (KeyError, TypeError, AttributeError) as error:
        raise StratascopeError(
            f"{folder}: its run.json or steps.json is not that of a run: {type(error).__name__}: {error}"
        ) from error
    if not path.exists():
        raise StratascopeError(f"{path}: there is no such file or folder")
    raise StratascopeError(
        f"{path}: neither a run (run.json and activations.safetensors), nor steps.json with "
        "tensors/step_NNN.npz, nor an NPZ file of a whole sequence"
    )


def _of_run(run: RunFolder) -> Trace:
    entries = run.steps
    reader = run.activations
    return Trace(
        label=run.info["label"],
        model=run.info["model"]["id"],
        root=_study_of(run.path),
        token_ids=tuple(i for step in entries for i in step["input_token_ids"]),
        tokens=tuple(t for step in entries for t in step["input_tokens"]),
        generated=tuple(step["generated_token_id"] for step in entries),
        steps=tuple(range(*step["rows"]) for step in entries),
        read={name: partial(reader.float32, name) for name in reader.entries},
        revision=run.info["model"]["revision"],
        identity=run.info["model"].get("identity"),
    )


def _study_of(folder: Path) -> Path:
    """Model folders are relative to the study, whose results hold the run; else to where we are."""
    for parent in folder.resolve().parents:
        if (parent / "config" / "config.yaml").is_file():
            return parent
    return Path()


def _of_steps(folder: Path) -> Trace:
    entries = read_json(folder / "steps.json")["steps"]
    files = [_arrays(folder, step) for step in entries]
    steps, start = [], 0
    for step in entries:
        steps.append(range(start, start + len(step["input_token_ids"])))
        start = steps[-1].stop
    names = dict.fromkeys(name for arrays in files for name in arrays)
    info = read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
    return Trace(
        label=_label(info, folder),
        model=(info.get("model") or {}).get("id"),
        root=_study_of(folder),
        token_ids=tuple(i for step in entries for i in step["input_token_ids"]),
        tokens=tuple(t for step in entries for t in step["input_tokens"]),
        generated=tuple(step["generated_token_id"] for step in entries),
        steps=tuple(steps),
        read={name: partial(_joined, folder, name, files, steps) for name in names},
        identity=(info.get("model") or {}).get("identity"),
    )


def _label(info: Mapping[str, Any], folder: Path) -> str:
    scenario = info.get("scenario") or {}
    return str(info.get("label") or scenario.get("name") or folder.name)


def _arrays(folder: Path, step: Mapping[str, Any]) -> dict[str, StoredArray]:
    name = Path(str(step.get("tensors_file") or f"tensors/step_{step['step']:03d}.npz"))
    if name.is_absolute() or ".." in name.parts:
        raise StratascopeError(
            f"{folder / 'steps.json'}: tensors_file {str(name)!r} leaves the folder"
        )
    return arrays_in(folder / name)


def _joined(
    folder: Path, name: str, files: Sequence[Mapping[str, StoredArray]], steps: Sequence[range]
) -> np.ndarray:
    """The rows of all steps; attention weights as one lower-triangular square a head."""
    for number, arrays in enumerate(files):
        if name not in arrays:
            raise StratascopeError(f"{folder}: step {number} has no {name}, other steps do")
    parts = [np.asarray(arrays[name][EVERYTHING], dtype=np.float32)[0] for arrays in files]
    for number, (part, rows) in enumerate(zip(parts, steps, strict=True)):
        if part.ndim < 2 or part.shape[-2] != len(rows):
            raise StratascopeError(
                f"{folder}: step {number}: {name} is {part.shape}, and the step read {len(rows)} tokens"
            )
    if not name.endswith(f"/{WEIGHTS}"):
        return np.concatenate(parts)
    square = np.zeros((parts[0].shape[0], steps[-1].stop, steps[-1].stop), np.float32)
    for part, rows in zip(parts, steps, strict=True):
        square[:, rows.start : rows.stop, : part.shape[2]] = part
    return square


def _of_whole(path: Path) -> Trace:
    arrays = arrays_in(path)
    beside = path.with_name("run.json")
    info = read_json(beside) if beside.is_file() else {}
    rows = max((_rows(name, array) for name, array in arrays.items()), default=0)
    prompt = list(info.get("prompt_token_ids") or [])
    generated = list(info.get("generated_token_ids") or [])
    known = [*prompt, *generated][:rows]
    shown = list(info.get("prompt_tokens") or [])
    ends = [len(prompt), *range(len(prompt) + 1, rows + 1)] if 0 < len(prompt) <= rows else [rows]
    return Trace(
        label=_label(info, path),
        model=(info.get("model") or {}).get("id"),
        root=_study_of(path),
        token_ids=tuple(known) if len(known) == rows else (-1,) * rows,
        tokens=tuple([*shown, *(f"{UNKNOWN}{i}" for i in range(len(shown), rows))][:rows]),
        generated=tuple(generated),
        steps=tuple(range(start, end) for start, end in zip([0, *ends], ends, strict=False)),
        read={name: partial(_unbatched, name, array) for name, array in arrays.items()},
        identity=(info.get("model") or {}).get("identity"),
    )


def _rows(name: str, array: StoredArray) -> int:
    return array.shape[-1 if name.endswith(WEIGHTS) else -2] if len(array.shape) > 1 else 0


def _unbatched(name: str, array: StoredArray) -> np.ndarray:
    wanted = 3 if name.endswith(f"/{WEIGHTS}") else 2
    found = np.asarray(array[EVERYTHING])
    return found[0] if found.ndim == wanted + 1 and len(found) == 1 else found
