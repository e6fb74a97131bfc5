"""Shards: which rows of the input each holds, who makes it, and what is known of a finished one.

Until all shards are there, the record of a finished one lies beside it in a hidden file: a table of
its texts, for the index, with a JSON object in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow
import pyarrow.parquet

from stratascope.errors import StratascopeError
from stratascope.store.commit import new_file, write_json
from stratascope.store.features import COLUMNS, INFO, START, shard_name
from stratascope.store.runs import read_json

_KEY = b"stratascope"

S = TypeVar("S")


@dataclass(frozen=True)
class Shard:
    """Rows ``start`` to ``stop`` (not included) of the input."""

    number: int
    start: int
    stop: int

    def file(self, folder: Path) -> Path:
        """Its tensors."""
        return folder / shard_name(self.number)

    def record(self, folder: Path) -> Path:
        """What is known of it, until all are there."""
        return folder / f".shard-{self.number:05d}.parquet"

    def is_done(self, folder: Path) -> bool:
        """Whether it is whole: its record is written last."""
        return self.file(folder).is_file() and self.record(folder).is_file()


def shards_of(rows: int, size: int) -> list[Shard]:
    """The shards of an input of so many rows, ``size`` in each but the last."""
    return [
        Shard(number, start, min(start + size, rows))
        for number, start in enumerate(range(0, rows, size))
    ]


def dealt(shards: Sequence[S], part: tuple[int, int]) -> list[S]:
    """Part ``i`` of ``k``, counted from 1: a range of shards as long as the others, or one longer.

    Raises:
        StratascopeError: a part that there is none of.
    """
    i, k = part
    if not 1 <= i <= k:
        raise StratascopeError(f"part {i}/{k}: parts of {k} are 1/{k} to {k}/{k}")
    return list(shards[(i - 1) * len(shards) // k : i * len(shards) // k])


def index_table(columns: Mapping[str, Any]) -> pyarrow.Table:
    """A part of the index.

    Raises:
        StratascopeError: a label or group of several kinds, such as texts and numbers.
    """
    types = {name: pyarrow.int64() for name in COLUMNS}
    types |= {"text": pyarrow.string(), "shard": pyarrow.int32()}
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pyarrow.array(values, type=types.get(name))
        except pyarrow.ArrowException as error:
            raise mixed_kinds(name) from error
    return pyarrow.table(arrays)


def mixed_kinds(field: str) -> StratascopeError:
    """The error for a label or group that is not of one kind."""
    return StratascopeError(
        f"labels, groups: the field {field!r} is not a text, a number or a boolean in all rows alike; make "
        "it one kind"
    )


def write_record(
    folder: Path, shard: Shard, table: pyarrow.Table, about: Mapping[str, Any]
) -> None:
    """Say that a shard is whole."""
    text = json.dumps(about, ensure_ascii=False, allow_nan=False)
    with new_file(shard.record(folder)) as partial:
        pyarrow.parquet.write_table(
            table.replace_schema_metadata({_KEY: text.encode("utf-8", "surrogatepass")}), partial
        )


def read_record(folder: Path, shard: Shard) -> dict[str, Any]:
    """What ``write_record`` was told."""
    metadata = pyarrow.parquet.read_schema(shard.record(folder)).metadata
    return dict(json.loads(metadata[_KEY]))


def read_table(folder: Path, shard: Shard) -> pyarrow.Table:
    """A shard's part of the index."""
    return pyarrow.parquet.read_table(shard.record(folder)).replace_schema_metadata(None)


def drop_records(folder: Path, shards: Sequence[Shard]) -> None:
    """Remove what only an extraction under way needs: run.json says it all."""
    for path in (folder / START, *(shard.record(folder) for shard in shards)):
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Start:
    """How an extraction goes on: every batch of a shard has at most ``token_budget`` tokens.

    ``lowered``: how often the budget was found too large.
    """

    token_budget: int
    lowered: int = 0


def begin(folder: Path, digest: str, budget: int) -> Start:
    """Begin in ``folder``, or go on with what was begun there, by whichever process.

    ``START`` holds the digest of what will lie there, and the batches' size.
    """
    path = folder / START
    if not path.is_file() or read_json(path)["digest"] != digest:
        save_start(folder, digest, Start(budget))
    content = read_json(path)
    return Start(content["token_budget"], content["lowered"])


def save_start(folder: Path, digest: str, start: Start) -> None:
    """Record how the extraction goes on."""
    content = {"digest": digest, "token_budget": start.token_budget, "lowered": start.lowered}
    write_json(folder / START, content)


def check_folder(folder: Path, digest: str) -> None:
    """Refuse to mix features; an extraction that left no shard yet is in nobody's way.

    Raises:
        StratascopeError: a folder with other features, or a run.json of something else.
    """
    shards = any(folder.glob("features-*.safetensors"))
    about = [folder / name for name in (INFO, START) if (folder / name).is_file()]
    if not shards and folder / INFO not in about:
        return
    found = read_json(about[0]).get("digest") if about else None
    if found != digest:
        raise StratascopeError(
            f"{folder}: holds other features (digest {found}, these would be {digest}): another model, "
            "dataset or setting; choose another folder, or remove it"
        )
