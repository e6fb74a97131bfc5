"""Features of layers to compare: a folder that `extract` left, or arrays of others, one a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.store.arrayfiles import SUFFIXES, StoredArray, arrays_in
from stratascope.store.features import COLUMNS, Features, is_features
from stratascope.store.layer_arrays import LayerArray, LayerArrays
from stratascope.store.layer_names import UNNAMED, place_of
from stratascope.store.snapshot_arrays import is_states, snapshot_arrays
from stratascope.study.names import nearest

# Names that say nothing, of the only array in a file.
_NO_NAMES = {"arr_0", "data", "features", "activations", "array", "x"}


def open_layers(path: Path) -> LayerArrays:
    """Open the features of layers; of the numbers themselves, nothing is read yet.

    ``path`` is a folder of `stratascope extract` (or its run.json), a checkpoint's states (see
    `snapshot_arrays`), an NPZ, NPY or safetensors file, or a folder of such files. Of others'
    arrays, matrices of floats are layers and what has one axis is a field; the rest is left out. A
    name gives its layer by its number and its site by what is left: ``layer_03``,
    ``layers.15.mlp``, ``layer_03/hidden_out``, ``h.3.attn``.

    Raises:
        StratascopeError: nothing to read there; arrays with three axes; two arrays of one layer and
            site; layers with different numbers of rows.
    """
    folder = path.parent if path.name == "run.json" else path
    if is_features(folder):
        return _of_extract(Features.open(folder))
    if is_states(path):
        return snapshot_arrays(path)
    return _of_others(path)


def _of_extract(features: Features) -> LayerArrays:
    def stored(name: str) -> StoredArray:
        shape = (len(features), features.width(name))
        return StoredArray(shape, np.dtype(np.float32), partial(features.matrix, name))

    def column(name: str) -> Callable[[], Sequence[Any]]:
        def read() -> Sequence[Any]:
            values = features.index.column(name).to_pylist()
            rows = features.index.column("rows").to_pylist()
            return [value for value, count in zip(values, rows, strict=True) for _ in range(count)]

        return read

    arrays = tuple(LayerArray(name, *place_of(name), stored(name)) for name in features.names)
    fields = [name for name in features.index.column_names if name not in COLUMNS]
    return LayerArrays(
        features.path, arrays, len(features), features, {name: column(name) for name in fields}
    )


def _of_others(path: Path) -> LayerArrays:
    found = _files(path)
    layers: list[LayerArray] = []
    fields: dict[str, Callable[[], Sequence[Any]]] = {}
    for name, array in found.items():
        if len(array.shape) == 1:
            fields[name] = partial(_listed, array)
        elif array.dtype.kind == "f" and array.shape:
            _check_shape(path, name, array.shape)
            layers.append(LayerArray(name, *place_of(name), array))
    if not layers:
        some = [f"{name} {array.shape}" for name, array in found.items()][:5]
        there = ", ".join(some) or "nothing"
        raise StratascopeError(f"{path}: no layers: they are matrices of floats; there is {there}")
    _check_layers(path, layers)
    return LayerArrays(path, tuple(layers), layers[0].shape[0], None, fields)


def _listed(array: StoredArray) -> list[Any]:
    return list(np.asarray(array[slice(None)]).tolist())


def _check_layers(path: Path, layers: Sequence[LayerArray]) -> None:
    places: dict[tuple[int | None, str], str] = {}
    for one in layers:
        other = places.setdefault((one.layer, one.site), one.name)
        if other != one.name:
            raise StratascopeError(
                f"{path}: {other} and {one.name} are both layer {one.layer} of {one.site!r}; "
                "rename one, or give a file with one array a layer"
            )
    first = layers[0]
    for one in layers:
        if one.shape[0] != first.shape[0]:
            raise StratascopeError(
                f"{path}: layers have different numbers of rows: {first.name} has "
                f"{first.shape[0]}, {one.name} {one.shape[0]}"
            )


def _check_shape(path: Path, name: str, shape: tuple[int, ...]) -> None:
    if len(shape) == 2:
        return
    remedy = "a layer is a matrix (texts, features)"
    if len(shape) == 3:
        remedy += (
            "; make each text one row first, with its last token or the mean over its tokens "
            "(padding left out), or let `stratascope extract` do so"
        )
    raise StratascopeError(f"{path}: {name} has shape {shape}: {remedy}")


def _files(path: Path) -> dict[str, StoredArray]:
    """Arrays by name; in a folder, by file and name where the name alone says no layer."""
    if not path.is_dir():
        if not path.is_file():
            raise StratascopeError(
                f"{path}: not there; give a folder of `stratascope extract`, or an NPZ file"
            )
        return arrays_in(path)
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if not files:
        raise StratascopeError(
            f"{path}: no features: neither run.json of `stratascope extract` nor files that end "
            f"in {', '.join(SUFFIXES)}"
        )
    found: dict[str, StoredArray] = {}
    for file in files:
        arrays = arrays_in(file)
        for name, array in arrays.items():
            known = _name_in_folder(file.stem, name, alone=len(arrays) == 1)
            if known in found:
                raise StratascopeError(
                    f"{path}: more than one of its files holds {known}; give one of them"
                )
            found[known] = array
    return found


def _name_in_folder(stem: str, name: str, alone: bool) -> str:
    if name == stem or (alone and name in _NO_NAMES):
        return stem
    own, _ = place_of(name)
    return name if own is not None and place_of(stem)[0] is None else f"{stem}/{name}"


def matched_sites(
    a: LayerArrays, b: LayerArrays, wanted: Sequence[str] = ()
) -> list[tuple[str, str, str]]:
    """What to compare: a label, a site of a and a site of b; of ``wanted`` ones, or all in common.

    Two files with one site each are compared whatever these are called.

    Raises:
        StratascopeError: a wanted site that is not on both sides, or none in common.
    """
    common = [site for site in a.sites if site in b.sites]
    for site in wanted:
        if site not in common:
            guess = nearest(site, common)
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise StratascopeError(
                f"no site {site!r} on both sides: {a.path} has {', '.join(a.sites)}, {b.path} has "
                f"{', '.join(b.sites)}{hint}"
            )
    if wanted or common:
        return [(site, site, site) for site in wanted or common]
    if len(a.sites) == len(b.sites) == 1:
        (first,), (second,) = a.sites, b.sites
        names = [site for site in (first, second) if site != UNNAMED]
        return [(" | ".join(names), first, second)]
    raise StratascopeError(
        f"no site in common: {a.path} has {', '.join(a.sites)}, {b.path} has {', '.join(b.sites)}"
    )


def check_same_texts(a: LayerArrays, b: LayerArrays) -> None:
    """Raise StratascopeError unless the rows of both sides are of the same texts, as far as is known.

    The same dataset and lines are the same texts, however each model's template renders them; else
    the texts themselves must agree. With one row a token, each text needs as many tokens on both
    sides: different tokenisers leave nothing to pair, so that only pooled features compare.
    """
    if a.pooled != b.pooled:
        raise StratascopeError(
            f"{a.path} and {b.path}: one has a row for each text, the other for each token; "
            "extract both with a position such as `last` or `mean`"
        )
    if a.features is not None and b.features is not None:
        _check_index(a.features, b.features)
    if a.n != b.n:
        raise StratascopeError(
            f"{a.path} has {a.n} rows, {b.path} {b.n}: features of the same texts are needed, in "
            "the same order"
        )


def _check_index(a: Features, b: Features) -> None:
    lines = [features.index.column("line").to_pylist() for features in (a, b)]
    if lines[0] != lines[1]:
        apart = sorted(set(lines[0]) ^ set(lines[1]))[:5]
        which = f"lines {', '.join(map(str, apart))} are on one side only" if apart else "order"
        raise StratascopeError(
            f"{a.path} and {b.path} hold different texts ({which}); extract both from the same data"
        )
    if a.info["content"] != b.info["content"]:
        texts = [features.index.column("text").to_pylist() for features in (a, b)]
        for line, first, second in zip(lines[0], *texts, strict=True):
            if first != second or first is None:
                raise StratascopeError(
                    f"{a.path} and {b.path} hold different texts, first in line {line}; extract "
                    "both from the same data"
                )
    if a.pooled:
        return
    rows = [features.index.column("rows").to_pylist() for features in (a, b)]
    for line, first, second in zip(lines[0], *rows, strict=True):
        if first != second:
            raise StratascopeError(
                f"{a.path} and {b.path}: the text of line {line} has {first} tokens on one side and "
                f"{second} on the other, so that tokens cannot be paired; extract both with a "
                "position such as `last` or `mean`: different tokenisers compare on pooled features"
            )
