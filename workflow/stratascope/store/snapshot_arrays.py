"""A checkpoint's snapshots as features: a row for each message of the study's conversations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stratascope.store.arrayfiles import StoredArray
from stratascope.store.layer_arrays import LayerArray, LayerArrays
from stratascope.store.layer_names import place_of
from stratascope.store.runs import SOURCES, read_json, tensor_name
from stratascope.store.tensorread import TensorReader

# What is known of a message without a label: fields to group and to predict by.
OF_MESSAGE = {"role": "role", "message": "index", "text": "content"}
OF_RUN = {"run": "label", "scenario": "scenario", "conversation": "parent"}


def is_states(path: Path) -> bool:
    """Whether the state vectors of a checkpoint lie there: results/states/NAME.safetensors or its index."""
    index = path.with_suffix(".json")
    if path.suffix not in (".safetensors", ".json") or not index.is_file():
        return False
    content = read_json(index)
    return isinstance(content, dict) and {"positions", "runs", "reference_sets"} <= set(content)


def snapshot_arrays(path: Path) -> LayerArrays:
    """The states after each distinct message that any run of the checkpoint read.

    Sites are ``<position>/<source>``, as ``turn_end/hidden_out``. Where several runs begin with the
    same messages, these are one row, the first run's. Fields: `OF_MESSAGE` and `OF_RUN`, to which
    ``--labels`` adds others, a row a message, in the order of these fields.
    Raises StratascopeError if a file is missing or damaged.
    """
    index = read_json(path.with_suffix(".json"))
    reader = TensorReader.open(path.with_suffix(".safetensors"))
    messages = _messages(index)
    kept = [row for row, _ in messages]
    arrays = []
    for position in index["positions"]:
        for layer in index["layers"]:
            for source in SOURCES:
                name = f"snapshot/{position}/{tensor_name(layer, source)}"
                if name in reader:
                    shape = (len(kept), reader.shape(name)[1])
                    read = partial(_rows, reader, name, kept)
                    stored = StoredArray(shape, np.dtype(np.float32), read)
                    place = place_of(tensor_name(layer, source))[0]
                    arrays.append(LayerArray(name, place, f"{position}/{source}", stored))
    fields = {
        name: partial(_column, [fields[name] for _, fields in messages])
        for name in (*OF_MESSAGE, *OF_RUN)
    }
    return LayerArrays(path, tuple(arrays), len(kept), None, fields)


def _messages(index: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """The row of each distinct message, and its fields."""
    found: dict[str, tuple[int, dict[str, Any]]] = {}
    for run in index["runs"]:
        for number, message in enumerate(run["messages"]):
            fields = {name: message[key] for name, key in OF_MESSAGE.items()}
            fields |= {name: run[key] for name, key in OF_RUN.items()}
            found.setdefault(message["prefix"], (run["rows"][0] + number, fields))
    return list(found.values())


def _rows(reader: TensorReader, name: str, kept: Sequence[int], rows: slice) -> np.ndarray:
    return reader.float32(name, kept[rows])


def _column(values: Sequence[Any]) -> Sequence[Any]:
    return values
