from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from safetensors.numpy import save_file

from stratascope.errors import StratascopeError
from stratascope.store.feature_arrays import (
    LayerArrays,
    check_same_texts,
    matched_sites,
    open_layers,
)
from stratascope.store.layer_names import place_of


def extracted(
    folder: Path,
    arrays: dict[str, np.ndarray],
    counts: list[int] | None = None,
    **changes: Any,
) -> Path:
    """A features folder as `extract` leaves it, in two shards; ``counts``: rows of each text."""
    rows = len(next(iter(arrays.values())))
    texts = rows if counts is None else len(counts)
    counts = [1] * rows if counts is None else counts
    columns = {
        "text": changes.pop("texts", [f"text {i}" for i in range(texts)]),
        "line": changes.pop("lines", list(range(1, texts + 1))),
        "shard": [int(i >= 2) for i in range(texts)],
        "row": [0] * texts,
        "rows": counts,
        "tokens": counts,
        "topic": [i // 2 for i in range(texts)],
    }
    folder.mkdir()
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "index.parquet")
    first = sum(counts[:2])
    shards = []
    for i, part in enumerate((slice(0, first), slice(first, rows))):
        file = f"features-{i:05d}.safetensors"
        save_file({k: np.ascontiguousarray(v[part]) for k, v in arrays.items()}, folder / file)
        shards.append({"file": file, "rows": len(range(rows)[part])})
    info = {
        "format": "stratascope-features-1",
        "content": "abc",
        "position": "last" if max(counts) == 1 else "all",
        "shapes": {name: array.shape[1] for name, array in arrays.items()},
        "rows": rows,
        "shards": shards,
    }
    (folder / "run.json").write_text(json.dumps(info | changes))
    return folder


def layers(n: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    names = {"layer_00/hidden_out": 4, "layer_01/hidden_out": 4, "layer_01/attn_out": 3}
    return {name: rng.normal(size=(n, d)).astype(np.float32) for name, d in names.items()}


def everything(stored: LayerArrays) -> dict[str, np.ndarray]:
    return {array.name: array[slice(None)] for array in stored.arrays}


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "layer_03": (3, "features"),
        "layer_03/hidden_out": (3, "hidden_out"),
        "layers.15.mlp": (15, "mlp"),
        "layers.15": (15, "features"),
        "model.layers.15.self_attn": (15, "self_attn"),
        "transformer.h.3.attn": (3, "attn"),
        "gpt2.h.3.mlp": (3, "gpt2.mlp"),
        "encoder.layers.2": (2, "encoder"),
        "blocks.7.hook_resid_post": (7, "hook_resid_post"),
        "resid_post_7": (7, "resid_post"),
        "layer_3_mlp": (3, "mlp"),
        "hidden_states_11": (11, "hidden_states"),
        "L3": (3, "features"),
        "007": (7, "features"),
        "embeddings": (None, "embeddings"),
        "module/lm_head": (None, "module/lm_head"),
        "module/model.layers.3.mlp": (3, "module/mlp"),
    }.items(),
)
def test_names_say_layer_and_site(name: str, expected: tuple[int | None, str]) -> None:
    """The ways in which people name layers give number and site."""
    assert place_of(name) == expected


def test_features_of_extract(tmp_path: Path) -> None:
    """A folder of `extract` gives its layers by site, and rows over the shards' boundary."""
    arrays = layers()
    folder = extracted(tmp_path / "a", arrays)
    for path in (folder, folder / "run.json"):
        stored = open_layers(path)
        assert (stored.n, stored.sites, stored.pooled) == (6, ["hidden_out", "attn_out"], True)
        assert [array.layer for array in stored.at("hidden_out")] == [0, 1]
        assert [array.name for array in stored.at("attn_out", [1, 5])] == ["layer_01/attn_out"]
        for array in stored.arrays:
            assert array.shape == arrays[array.name].shape
            np.testing.assert_array_equal(array[slice(1, 5)], arrays[array.name][1:5])
        assert stored.field("topic") == [0, 0, 1, 1, 2, 2]
        assert stored.texts() is None
    with pytest.raises(StratascopeError, match="no field 'colour'; there are topic"):
        stored.field("colour")


def test_token_features_know_their_texts(tmp_path: Path) -> None:
    """With a row for each token, rows have the number and the fields of their text."""
    stored = open_layers(extracted(tmp_path / "a", layers(), [1, 2, 3]))
    assert not stored.pooled
    assert stored.texts() == [0, 1, 1, 2, 2, 2]
    assert stored.field("topic") == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("kind", ["npz", "compressed", "npy", "safetensors", "npz folder"])
def test_arrays_of_others(tmp_path: Path, kind: str) -> None:
    """NPZ, NPY and safetensors, one file or one a layer, give the same layers, rows by slice."""
    arrays = {f"layers.{i}.mlp": array for i, array in enumerate(layers().values())}
    arrays["layers.1.mlp"] = np.asfortranarray(arrays["layers.1.mlp"].astype(np.float64))
    fields = {"topic": np.array([0, 0, 1, 1, 2, 2]), "input_ids": np.zeros((6, 9), np.int64)}
    path = tmp_path / "acts.npz"
    if kind == "npz":
        np.savez(path, **arrays, **fields)
    elif kind == "compressed":
        np.savez_compressed(path, **arrays, **fields)
    elif kind == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file({k: np.ascontiguousarray(v) for k, v in (arrays | fields).items()}, path)
    else:
        path = tmp_path / "acts"
        path.mkdir()
        for name, array in (arrays | fields).items():
            if kind == "npy":
                np.save(path / f"{name}.npy", array)
            else:
                np.savez(path / f"{name}.npz", array)
    stored = open_layers(path)
    assert [(array.layer, array.site) for array in stored.at("mlp")] == [
        (i, "mlp") for i in range(3)
    ]
    assert stored.n == 6
    assert list(stored.fields) == ["topic"]
    assert stored.field("topic") == [0, 0, 1, 1, 2, 2]
    for array in stored.arrays:
        expected = arrays[array.name]
        assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
        for rows in (slice(None), slice(2, 5)):
            np.testing.assert_array_equal(array[rows], expected[rows])


def test_a_folder_of_files_with_several_sites(tmp_path: Path) -> None:
    """A file a layer with sites in it gives layers by the file and sites by the array."""
    for i in range(2):
        np.savez(tmp_path / f"layer_{i}.npz", mlp=np.ones((5, 2)), attn=np.ones((5, 3)))
    stored = open_layers(tmp_path)
    assert [(array.layer, array.site) for array in stored.arrays] == [
        (0, "mlp"), (0, "attn"), (1, "mlp"), (1, "attn"),
    ]  # fmt: skip


def test_large_arrays_are_not_read_to_be_opened(tmp_path: Path) -> None:
    """An NPZ file of arrays stored as they are is mapped: opening it and reading rows is small."""
    import tracemalloc

    np.savez(tmp_path / "a.npz", layer_0=np.zeros((4000, 500)))
    tracemalloc.start()
    (array,) = open_layers(tmp_path / "a.npz").arrays
    assert array[slice(10, 20)].shape == (10, 500)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def test_wrong_files_are_errors(tmp_path: Path) -> None:
    """What is not there, not arrays, not matrices, or ambiguous, is named with what would be right."""
    ones = np.ones((5, 2))

    def saved(name: str, **arrays: Any) -> Path:
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    cases = {
        "not there": tmp_path / "no.npz",
        "neither run.json": tmp_path / "empty",
        r"shape \(5, 7, 2\): .*one row first": saved("three.npz", layer_0=np.ones((5, 7, 2))),
        "no layers: .*there is labels": saved("none.npz", labels=np.ones(5)),
        "layer_1 and layers.1 are both layer 1": saved(
            "two.npz", layer_1=ones, **{"layers.1": ones}
        ),
        "layer_0 has 5, layer_1 4": saved("rows.npz", layer_0=ones, layer_1=ones[1:]),
        "not an array file; .npz": tmp_path / "text.txt",
        "not an array file, or damaged": tmp_path / "damaged.npz",
        "more than one of its files holds layer_0": tmp_path / "twice",
    }
    (tmp_path / "empty").mkdir()
    (tmp_path / "twice").mkdir()
    for name in ("a", "b"):
        np.savez(tmp_path / "twice" / f"{name}.npz", layer_0=ones, layer_1=ones)
    (tmp_path / "text.txt").write_text("no")
    (tmp_path / "damaged.npz").write_bytes(b"PK no archive")
    for message, path in cases.items():
        with pytest.raises(StratascopeError, match=message):
            open_layers(path)
    objects = saved("objects.npz", layer_0=np.array([[{}]], dtype=object))
    with pytest.raises(StratascopeError, match="no layers"):
        open_layers(objects)


def test_sites_in_common(tmp_path: Path) -> None:
    """All common sites are compared, or those wanted; two files of one site each in any case."""
    one = open_layers(extracted(tmp_path / "a", layers()))
    np.savez(
        tmp_path / "b.npz",
        **{"layers.0.hidden_out": np.ones((6, 2)), "layers.0.x": np.ones((6, 2))},
    )
    np.savez(tmp_path / "c.npz", layer_0=np.ones((6, 2)))
    np.savez(tmp_path / "d.npz", **{"layers.0.mlp": np.ones((6, 2))})
    other, plain, mlp = (open_layers(tmp_path / f"{name}.npz") for name in "bcd")
    assert matched_sites(one, other) == [("hidden_out", "hidden_out", "hidden_out")]
    assert matched_sites(one, one, ["attn_out"]) == [("attn_out", "attn_out", "attn_out")]
    assert matched_sites(plain, mlp) == [("mlp", "features", "mlp")]
    with pytest.raises(StratascopeError, match="did you mean 'hidden_out'"):
        matched_sites(one, other, ["hiden_out"])
    with pytest.raises(StratascopeError, match="no site in common"):
        matched_sites(one, plain)


def test_the_texts_must_be_the_same(tmp_path: Path) -> None:
    """Same lines of the same data are the same texts; else the texts themselves must agree."""
    arrays = layers()
    a = open_layers(extracted(tmp_path / "a", arrays))
    templated = [f"<user> text {i}" for i in range(6)]
    check_same_texts(a, open_layers(extracted(tmp_path / "b", arrays, texts=templated)))
    check_same_texts(a, open_layers(extracted(tmp_path / "c", arrays, content="other")))
    others = {
        "first in line 1": {"content": "other", "texts": templated},
        "lines 6, 7 are on one side only": {"lines": [1, 2, 3, 4, 5, 7]},
        r"hold different texts \(order\)": {"lines": [2, 1, 3, 4, 5, 6]},
        "one has a row for each text": {"position": "all"},
    }
    for number, (message, changes) in enumerate(others.items()):
        other = open_layers(extracted(tmp_path / str(number), arrays, **changes))
        with pytest.raises(StratascopeError, match=message):
            check_same_texts(a, other)
    np.savez(tmp_path / "d.npz", layer_0=np.ones((5, 2)))
    with pytest.raises(StratascopeError, match=r"6 rows, .* 5: features of the same texts"):
        check_same_texts(a, open_layers(tmp_path / "d.npz"))


def test_tokens_of_different_tokenisers_are_refused(tmp_path: Path) -> None:
    """One row a token compares only where each text has as many; else pooled features are asked for."""
    arrays = layers()
    a, b, c = (
        open_layers(extracted(tmp_path / name, arrays, counts))
        for name, counts in {"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 3, 2]}.items()
    )
    check_same_texts(a, b)
    with pytest.raises(
        StratascopeError, match=r"line 2 has 2 tokens .* 3 .*compare on pooled features"
    ):
        check_same_texts(a, c)
