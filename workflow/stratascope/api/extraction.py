"""A whole dataset through a model in one call, and what lies on disk already."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from stratascope.api.inputs import items_of, messages_of
from stratascope.api.loading import load
from stratascope.api.model import Model
from stratascope.api.places import SITES, Layers, find_taps, wanted_layers
from stratascope.errors import StratascopeError
from stratascope.store.datasets import MemorySource, Row, Source, content_of, open_dataset, sampled
from stratascope.store.features import Features
from stratascope.store.identity import identify
from stratascope.store.runs import RunFolder
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.dataset import Dataset
from stratascope.study.digest import digest
from stratascope.study.features import FeatureSet
from stratascope.study.validate import validate

Opened = TypeVar("Opened")

# What the field of labels given as a plain list is called.
LABEL = "label"


def extract(
    model: Model | str | Path,
    texts: str | Path | Iterable[Any],
    *,
    labels: str | Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
    text: str = "text",
    position: Literal["last", "mean", "all", "span", "span_mean"] | int = "last",
    layers: Layers = "all",
    sites: str | Iterable[str] = ("hidden_out",),
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    **more: Any,
) -> Features:
    """The activations of every text, on disk and ready to be read: a row a text, or a row a token.

    ``model``: from ``ss.load`` or ``ss.wrap``, or what ``ss.load`` takes. ``texts``: texts,
    conversations or lists of token ids, in memory; or a file (JSONL, CSV, Parquet, token ids) or the name
    of a dataset on the hub, and then ``text`` is its field. ``labels``: of texts in memory a list, or a
    dict of lists by name; of a file the names of its fields. They are columns of ``features.index``.

    ``sites`` may name modules as well, as in ``Model.record``. ``position``: which token of each text, or
    ``mean`` over all; ``all`` has a row for every token. ``more``: whatever else a dataset of a study may
    say, such as ``max_samples`` and ``seed``, ``on_bad_row``, ``store_dtype``, ``messages``, ``groups``;
    config/README.md lists it.

    Without ``out`` the features lie in a temporary folder that goes with the object returned. With it they
    stay, and the same call later finds what is there. ``say`` is told of progress; ``print`` will do.

    Raises:
        StratascopeError: a row that cannot be read, labels that are not as many as the texts, a site or
            layer that is not there, values that are not finite, ``out`` with other features in it.
    """
    model = model if isinstance(model, Model) else load(model)
    given = {"position": position, **_places(model, sites, layers), **more}
    features, source = feature_set(model, texts, labels, text, given)
    return extracted(model, features, source, out, say, Features.open)


def feature_set(
    model: Model, texts: Any, labels: Any, text: str, given: Mapping[str, Any]
) -> tuple[FeatureSet, Source]:
    """What ``extract`` was asked for, and the rows; ``given`` are further keys of a dataset."""
    name, source, dataset, content = _dataset(texts, labels, text, given)
    return FeatureSet(name, dataset, content, _identified(model), torch.get_num_threads()), source


def extracted(
    model: Model,
    features: FeatureSet,
    source: Source,
    out: str | Path | None,
    say: Callable[[str], None] | None,
    opened: Callable[[Path], Opened],
) -> Opened:
    """What ``opened`` makes of the folder with ``features``; without ``out`` both go together."""
    from stratascope.capture.features.extract import extract_features

    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="stratascope-"))
    loaded = replace(model.loaded, checkpoint=features.checkpoint)
    try:
        with model.evaluating():
            extract_features(loaded, features, source, folder, say or _silent)
        found = opened(folder)
    except BaseException:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if out is None:
        weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found


def open_features(folder: str | Path) -> Features:
    """Features that ``stratascope extract``, a study or ``ss.extract`` left in ``folder``."""
    return Features.open(Path(folder))


def open_run(folder: str | Path) -> RunFolder:
    """A captured run: its ``info``, ``steps``, ``activations`` and ``snapshots``."""
    return RunFolder.open(Path(folder))


def _places(model: Model, names: str | Iterable[str], layers: Layers) -> dict[str, Any]:
    """Sites, modules and layers as a dataset names them."""
    wanted = [names] if isinstance(names, str) else list(names)
    taps, raw = find_taps(model.module, model.family, wanted, layers, model.layers)
    single = next((name for name in wanted if "/" in name), None)
    if single is not None:
        raise StratascopeError(
            f"sites: {single}: name the site, and its layer in `layers`, which go for all sites"
        )
    return {
        "sites": tuple(name for name in wanted if name in SITES),
        "modules": tuple(tap.names[0] for tap in taps if tap in raw),
        "layers": "all" if layers == "all" else tuple(wanted_layers(layers, model.layers)),
    }


def _dataset(
    texts: Any, labels: Any, text: str, given: Mapping[str, Any]
) -> tuple[str, Source, Dataset, str]:
    """Name, rows, description and content hash of what ``extract`` was given."""
    if isinstance(texts, (str, Path)):
        fields = (labels,) if isinstance(labels, str) else tuple(labels or ())
        own = "text" if not {"messages", "input_ids"} & set(given) else None
        named = {own: text} if own else {}
        dataset = validate(
            Dataset, {"data": str(texts), "labels": fields, **named, **given}, "extract"
        )
        source = open_dataset(dataset, Path())
        content = content_of(dataset, Path())
        name = Path(str(texts)).stem
    else:
        rows = _rows(texts, labels)
        fields = tuple(rows[0].fields)
        dataset = validate(Dataset, {"data": "memory", "labels": fields, **given}, "extract")
        source, content, name = MemorySource(rows), _content(rows), "texts"
    return name, sampled(source, dataset.max_samples, dataset.seed), dataset, content


def _rows(texts: Iterable[Any], labels: Any) -> list[Row]:
    items = items_of(texts)
    columns = {name: _plain(values) for name, values in _columns(labels).items()}
    for name, values in columns.items():
        if len(values) != len(items):
            raise StratascopeError(
                f"labels: {name} has {len(values)} values for {len(items)} texts; give one a text"
            )
    rows = []
    for i, item in enumerate(items):
        fields = {name: values[i] for name, values in columns.items()}
        if isinstance(item, str):
            rows.append(Row(i + 1, text=item, fields=fields))
        elif (messages := messages_of(item)) is not None:
            rows.append(Row(i + 1, messages=messages, fields=fields))
        else:
            rows.append(Row(i + 1, ids=np.asarray(item, dtype=np.int64), fields=fields))
    return rows


def _columns(labels: Any) -> Mapping[str, Iterable[Any]]:
    if labels is None:
        return {}
    if isinstance(labels, str):
        raise StratascopeError(
            f"labels: {labels!r} would be a field of a file; texts in memory need a label each, as a list"
        )
    return labels if isinstance(labels, Mapping) else {LABEL: labels}


def _plain(values: Iterable[Any]) -> list[Any]:
    """Values as Python's own; those of NumPy and PyTorch become numbers."""
    return [value.item() if hasattr(value, "item") else value for value in values]


def _content(rows: list[Row]) -> str:
    """The hash of rows in memory."""
    return digest([[_read(row), dict(row.fields)] for row in rows])


def _read(row: Row) -> object:
    if row.messages is not None:
        return [message.model_dump() for message in row.messages]
    return row.text if row.ids is None else row.ids.tolist()


def _identified(model: Model) -> Checkpoint:
    """The model's checkpoint with the identity of its files, or of the weights in memory."""
    checkpoint = model.checkpoint
    if checkpoint.identity:
        return checkpoint
    if checkpoint.source:
        return replace(checkpoint, identity=identify(Path(checkpoint.source)))
    total = hashlib.sha256()
    for name, weight in sorted(model.module.state_dict().items()):
        total.update(name.encode())
        total.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return replace(checkpoint, identity=f"memory:{total.hexdigest()}")


def _silent(_: str) -> None:
    """Nobody asked to be told."""
