from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from stratascope.store import tensors
from stratascope.store.tensors import TensorFile, TensorSpec, bytes_of

HEADS, WIDTH = 3, 5
SPECS = {
    "layer_00/hidden_out": TensorSpec("F32", (9, WIDTH)),
    "layer_00/attn_weights": TensorSpec("F32", (HEADS, 9, 9), (1, 2)),
    "small": TensorSpec("F16", (9, 1)),
}


def rows_of(tokens: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "layer_00/hidden_out": random.normal(size=(tokens, WIDTH)).astype(np.float32),
        "layer_00/attn_weights": np.tril(random.uniform(0.1, 1, (HEADS, tokens, tokens))).astype(
            np.float32
        ),
        "small": random.normal(size=(tokens, 1)).astype(np.float16),
    }


def write(path: Path, data: dict[str, np.ndarray], steps: list[tuple[int, int]]) -> None:
    with TensorFile(path, SPECS) as file:
        for start, stop in steps:
            for name, array in data.items():
                square = array.ndim == 3
                file.append(name, array[:, start:stop, :stop] if square else array[start:stop])
        file.finish(steps[-1][1])


@pytest.mark.parametrize("tokens", [9, 6, 1])
def test_official_library_reads_back_what_was_appended(tmp_path: Path, tokens: int) -> None:
    """Rows written step by step are the whole tensors for the official library, ended early or not."""
    data = rows_of(tokens)
    prefill = max(1, tokens - 3)
    steps = [(0, prefill), *((i, i + 1) for i in range(prefill, tokens))]
    path = tmp_path / "a.safetensors"
    write(path, data, steps)
    read = load_file(path)
    assert sorted(read) == sorted(data)
    for name, array in data.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    with safe_open(path, "pt") as file:
        np.testing.assert_array_equal(file.get_slice("small")[-1:].numpy(), data["small"][-1:])


def test_size_is_known_before_and_alignment_is_eight(tmp_path: Path) -> None:
    """bytes_of is the size of the file, and the data begins at a multiple of eight bytes."""
    path = tmp_path / "a.safetensors"
    write(path, rows_of(9), [(0, 9)])
    assert path.stat().st_size == bytes_of(SPECS)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    assert (8 + length) % 8 == 0


def test_compacting_in_small_chunks_moves_nothing_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that ended early equals one that was laid out for its size, chunk by tiny chunk."""
    monkeypatch.setattr(tensors, "CHUNK_BYTES", 50)
    data = rows_of(7, seed=1)
    write(tmp_path / "a.safetensors", data, [(0, 4), (4, 7)])
    exact = {name: spec.with_tokens(7) for name, spec in SPECS.items()}
    with TensorFile(tmp_path / "b.safetensors", exact) as file:
        for name, array in data.items():
            file.append(name, array)
        file.finish(7)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_narrow_window_of_columns_lies_at_the_end_of_the_context(tmp_path: Path) -> None:
    """Attention rows over fewer keys than the context, as with a sliding window, are right-aligned."""
    spec = {"w": TensorSpec("F32", (1, 4, 4), (1, 2))}
    with TensorFile(tmp_path / "a.safetensors", spec) as file:
        file.append("w", np.tril(np.ones((1, 3, 3), np.float32)))
        file.append("w", np.full((1, 1, 2), 0.5, np.float32))
        file.finish(4)
    read = load_file(tmp_path / "a.safetensors")["w"]
    np.testing.assert_array_equal(read[0, 3], [0, 0, 0.5, 0.5])


def test_bfloat16_bits_stay_what_they_are(tmp_path: Path) -> None:
    """bfloat16 written as its bits is read by torch as the same numbers."""
    values = torch.randn(4, 3).to(torch.bfloat16)
    with TensorFile(tmp_path / "a.safetensors", {"x": TensorSpec("BF16", (6, 3))}) as file:
        file.append("x", values.view(torch.uint16).numpy())
        file.finish(4)
    with safe_open(tmp_path / "a.safetensors", "pt") as opened:
        read = opened.get_tensor("x")
    assert read.dtype == torch.bfloat16
    assert torch.equal(read, values)


def test_same_rows_same_bytes_as_the_official_order(tmp_path: Path) -> None:
    """The tensors lie in the file in the order in which the official library would write them."""
    data = rows_of(9)
    write(tmp_path / "a.safetensors", data, [(0, 9)])
    save_file(data, tmp_path / "b.safetensors")
    ends = []
    for name in "ab":
        raw = (tmp_path / f"{name}.safetensors").read_bytes()
        ends.append(raw[8 + int.from_bytes(raw[:8], "little") :])
    assert ends[0] == ends[1]


def test_a_file_without_tensors_is_valid(tmp_path: Path) -> None:
    """A run that captures nothing leaves an empty but readable file."""
    with TensorFile(tmp_path / "a.safetensors", {}) as file:
        file.finish(3)
    assert load_file(tmp_path / "a.safetensors") == {}


def test_missing_rows_and_wrong_rows_are_refused(tmp_path: Path) -> None:
    """A tensor with fewer rows than the run, with too many, or of another width is never finished."""
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match="0 of 4 rows"), TensorFile(path, SPECS) as file:
        file.finish(4)
    assert not path.exists()
    for bad in (np.zeros((10, WIDTH)), np.zeros((1, WIDTH + 1)), np.zeros((1, WIDTH), np.float16)):
        rows = bad if bad.dtype == np.float16 else bad.astype(np.float32)
        with pytest.raises(ValueError, match="hidden_out"), TensorFile(path, SPECS) as file:
            file.append("layer_00/hidden_out", rows)
    assert not path.exists()


def test_unwritten_parts_of_a_long_run_take_no_room(tmp_path: Path) -> None:
    """The file laid out for many tokens is sparse until they come."""
    spec = {"x": TensorSpec("F32", (100_000, 64))}
    with TensorFile(tmp_path / "a.safetensors", spec) as file:
        file.append("x", np.ones((1, 64), np.float32))
        assert (tmp_path / "a.safetensors").stat().st_blocks * 512 < 1_000_000
        file.finish(1)
    assert (tmp_path / "a.safetensors").stat().st_size < 1000
