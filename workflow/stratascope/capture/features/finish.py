"""The end of an extraction: one index of all shards, and run.json, which says that all is there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from stratascope.capture.describe import (
    describe_environment,
    describe_model,
    describe_tokenizer,
)
from stratascope.capture.features.noise import WHAT
from stratascope.capture.features.shards import (
    Shard,
    drop_records,
    mixed_kinds,
    read_record,
    read_table,
)
from stratascope.capture.loading import Loaded
from stratascope.errors import StratascopeError
from stratascope.store.commit import new_file, write_json
from stratascope.store.features import FORMAT, INDEX, INFO, is_features
from stratascope.store.hashes import sha256
from stratascope.study.features import FeatureSet
from stratascope.study.stages import version

LAYER = re.compile(r"layer_(\d+)/")


def finish_features(
    loaded: Loaded, features: FeatureSet, folder: Path, shards: Sequence[Shard]
) -> None:
    """Write the index and run.json of ``shards``, all of which are there; drop their records.

    Two processes may do so at one time, and leave the same.

    Raises:
        StratascopeError: every row was bad; a label that is a text here and a number there.
    """
    try:
        records = [read_record(folder, shard) for shard in shards]
        _check_texts(features, records)
        _write_index(folder, shards)
    except FileNotFoundError:
        if is_features(folder):
            return  # another process was faster, and has removed the records
        raise
    write_json(folder / INFO, _summary(loaded, features, folder, records))
    drop_records(folder, shards)


def _check_texts(features: FeatureSet, records: Sequence[dict[str, Any]]) -> None:
    skipped = [row for record in records for row in record["skipped"]]
    if skipped and not any(record["texts"] for record in records):
        first = skipped[0]
        raise StratascopeError(
            f"{features.label}: every row is bad ({len(skipped)}): line {first['line']}: {first['reason']}"
        )


def _write_index(folder: Path, shards: Sequence[Shard]) -> None:
    """Join the shards' tables, one in memory at a time; a column takes the kind that fits them all."""
    schemas = [_schema(folder, shard) for shard in shards]
    try:
        schema = pyarrow.unify_schemas(schemas, promote_options="permissive")
    except pyarrow.ArrowException as error:
        raise mixed_kinds(_mixed(schemas)) from error
    with (
        new_file(folder / INDEX) as partial,
        pyarrow.parquet.ParquetWriter(partial, schema) as writer,
    ):
        for shard in shards:
            if (table := read_table(folder, shard)).num_rows:
                writer.write_table(table.cast(schema))


def _schema(folder: Path, shard: Shard) -> pyarrow.Schema:
    return pyarrow.parquet.read_schema(shard.record(folder)).remove_metadata()


def _mixed(schemas: Sequence[pyarrow.Schema]) -> str:
    """The first column that is of several kinds."""
    for name in schemas[0].names:
        columns = [pyarrow.schema([schema.field(name)]) for schema in schemas]
        try:
            pyarrow.unify_schemas(columns, promote_options="permissive")
        except pyarrow.ArrowException:
            return str(name)
    raise AssertionError("no column differs")


def _summary(
    loaded: Loaded, features: FeatureSet, folder: Path, records: Sequence[dict[str, Any]]
) -> dict[str, object]:
    shapes = records[0]["shapes"]
    layers = {int(found[1]) for name in shapes if (found := LAYER.match(name))}
    noise = records[0]["noise_floor"]
    hashes = {INDEX: sha256(folder / INDEX)}
    for record in records:
        hashes |= record["files"]
    dataset = features.dataset
    return {
        "format": FORMAT,
        "label": features.label,
        "digest": features.digest,
        "stage": {"name": features.stage, "version": version(features.stage)},
        "dataset": dataset.model_dump(mode="json"),
        "content": features.content,
        "model": describe_model(loaded),
        "tokenizer": describe_tokenizer(loaded),
        "sites": list(dataset.sites),
        "layers": sorted(layers),
        "modules": list(dataset.modules),
        "position": dataset.position,
        "dtype": records[0]["dtype"],
        "shapes": shapes,
        "texts": sum(record["texts"] for record in records),
        "rows": sum(record["rows"] for record in records),
        "shards": [
            {key: record[key] for key in ("file", "input", "texts", "rows", "sha256")}
            for record in records
        ],
        "skipped": list(_skipped(records)),
        "batches": max((record["batches"] for record in records), key=lambda b: b["lowered"]),
        "noise_floor": {
            "largest_relative_difference": noise["difference"],
            "texts": noise["texts"],
            "what": WHAT,
        },
        "files": dict(sorted(hashes.items())),
        "env": describe_environment(loaded) | {"threads": features.threads},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _skipped(records: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for record in records:
        yield from record["skipped"]
