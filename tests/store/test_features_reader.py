"""Reading features that lie on the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from stratascope.errors import StratascopeError
from stratascope.store.features import FORMAT, Features
from stratascope.store.tensors import TensorFile, TensorSpec

COUNTS = [[2, 1, 4], [], [3], [1, 5]]  # rows of each text of each shard
WIDTH = 3
TOTAL = sum(map(sum, COUNTS))
VALUES = np.random.default_rng(0).normal(size=(TOTAL, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of four shards, one of them empty, written with the official library."""
    path = tmp_path_factory.mktemp("features")
    shards, index, start = [], [], 0
    for number, counts in enumerate(COUNTS):
        name = f"features-{number:05d}.safetensors"
        rows = VALUES[start : start + sum(counts)]
        save_file({"layer_00/hidden_out": rows, "final_norm": -rows}, path / name)
        shards.append({"file": name, "rows": len(rows), "texts": len(counts)})
        at = 0
        for count in counts:
            index.append(
                {"text": "x", "line": 1, "shard": number, "row": at, "rows": count, "tokens": 9}
            )
            at += count
        start += len(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(index), path / "index.parquet")
    info = {
        "format": FORMAT, "shapes": {"layer_00/hidden_out": WIDTH, "final_norm": WIDTH},
        "shards": shards, "rows": TOTAL, "layers": [0], "sites": ["hidden_out", "final_norm"],
        "position": "all",
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(info))
    return path


def test_what_lies_there(folder: Path) -> None:
    """Names, layers, sites, rows and the index are those of the files."""
    for found in (Features.open(folder), Features.open(folder / "run.json")):
        assert found.names == ["layer_00/hidden_out", "final_norm"]
        assert (found.layers, found.sites, found.pooled) == (
            [0],
            ["hidden_out", "final_norm"],
            False,
        )
        assert len(found) == TOTAL
        assert found.width("final_norm") == WIDTH
        assert found.index.column("rows").to_pylist() == [2, 1, 4, 3, 1, 5]
        np.testing.assert_array_equal(found.matrix("layer_00/hidden_out"), VALUES)
        np.testing.assert_array_equal(found.matrix("final_norm"), -VALUES)


def test_the_rows_of_each_text(folder: Path) -> None:
    """Texts have consecutive rows over all shards."""
    found = Features.open(folder)
    slices = [found.text_rows(text) for text in range(6)]
    assert [s.stop - s.start for s in slices] == [2, 1, 4, 3, 1, 5]
    assert [s.start for s in slices[1:]] == [s.stop for s in slices[:-1]]
    for text in (-1, 6):
        with pytest.raises(IndexError, match="of 6"):
            found.text_rows(text)


@settings(max_examples=50, deadline=None)
@given(
    st.one_of(
        st.lists(st.integers(-TOTAL, TOTAL - 1), max_size=20),
        st.lists(st.booleans(), min_size=TOTAL, max_size=TOTAL).map(np.array),
        st.slices(TOTAL),
        st.none(),
    )
)
def test_rows_are_picked_as_numpy_picks_them(folder: Path, rows: object) -> None:
    """Slices, numbers in any order and masks give what they give on the whole matrix."""
    found = Features.open(folder).matrix("layer_00/hidden_out", rows)
    np.testing.assert_array_equal(found, VALUES[slice(None) if rows is None else rows])
    assert found.dtype == np.float32
    assert found.flags.writeable


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_pieces_are_the_whole(folder: Path, size: int) -> None:
    """A stream goes over all rows in order, in pieces of the size asked for."""
    pieces = list(Features.open(folder).stream("final_norm", size))
    assert {len(piece) for piece in pieces[:-1]} <= {size}
    np.testing.assert_array_equal(np.concatenate(pieces), -VALUES)


def test_bfloat16_is_widened_exactly(tmp_path: Path, folder: Path) -> None:
    """The upper halves of float32 numbers come back as these numbers."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    bits = (VALUES[:7].view(np.uint32) >> 16).astype(np.uint16)
    with TensorFile(
        tmp_path / "features-00000.safetensors",
        {"layer_00/hidden_out": TensorSpec("BF16", (7, WIDTH))},
    ) as file:
        file.write("layer_00/hidden_out", 3, bits[3:])
        file.write("layer_00/hidden_out", 0, bits[:3])
        file.finish(7)
    found = Features.open(tmp_path).matrix("layer_00/hidden_out", slice(7))
    np.testing.assert_array_equal(found, (bits.astype(np.uint32) << 16).view(np.float32))


def test_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A row beyond the tensor, of another width or type, or that is missing at the end, is an error."""
    rows = np.zeros((2, WIDTH), np.float32)
    with TensorFile(tmp_path / "a", {"a": TensorSpec("F32", (3, WIDTH))}) as file:
        for start, wrong in ((2, rows), (-1, rows), (0, rows[:, :2]), (0, rows.astype(np.float16))):
            with pytest.raises(ValueError, match="a: float"):
                file.write("a", start, wrong)
        file.write("a", 1, rows)
        with pytest.raises(ValueError, match="a: 2 of 3 rows were written"):
            file.finish(3)


def test_what_is_not_there_is_told(folder: Path, tmp_path: Path) -> None:
    """Unknown tensors, unfinished, foreign and damaged folders each have their line."""
    found = Features.open(folder)
    with pytest.raises(
        StratascopeError, match="no features 'layer_01/hidden_out'; there are layer_00"
    ):
        found.matrix("layer_01/hidden_out")
    with pytest.raises(IndexError):
        found.matrix("final_norm", [TOTAL])
    with pytest.raises(StratascopeError, match=r"no run\.json: nothing there"):
        Features.open(tmp_path)
    for path in folder.iterdir():
        if path.name != "run.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(StratascopeError, match="its extraction has not ended; run it again"):
        Features.open(tmp_path)
    (tmp_path / "run.json").write_text('{"format": "stratascope-run-1"}')
    with pytest.raises(StratascopeError, match="its format is 'stratascope-run-1'"):
        Features.open(tmp_path)
    (tmp_path / "run.json").write_text((folder / "run.json").read_text())
    (tmp_path / "features-00002.safetensors").unlink()
    with pytest.raises(StratascopeError, match=r"features-00002\.safetensors is missing"):
        Features.open(tmp_path)


def test_reading_needs_neither_torch_nor_pandas(folder: Path) -> None:
    """Analysis of features starts fast."""
    code = (
        "import sys; from pathlib import Path; from stratascope.store.features import Features\n"
        f"f = Features.open(Path({str(folder)!r})); f.matrix('final_norm'); f.index.to_pydict()\n"
        "print(sorted({'torch', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
