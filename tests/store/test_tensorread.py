"""Reading tensor files: every type exactly, only the rows asked for, damage noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stratascope.errors import StratascopeError
from stratascope.store.tensorread import TensorReader


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(7, 5)
    return {
        "f32": x,
        "f16": x.half(),
        "bf16": x.bfloat16(),
        "f64": x.double(),
        "empty": torch.zeros(0, 3),
    }


def test_values_equal_torchs_own_reader(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Each type, bfloat16 included, is read as torch reads it; any rows alone, too."""
    save_file(tensors, tmp_path / "t.safetensors")
    reader = TensorReader.open(tmp_path / "t.safetensors")
    for name, tensor in tensors.items():
        expected = tensor.float().numpy()
        np.testing.assert_array_equal(reader.float32(name), expected)
        if len(expected):
            np.testing.assert_array_equal(reader.float32(name, -1), expected[-1])
            np.testing.assert_array_equal(reader.float32(name, slice(2, 4)), expected[2:4])
            np.testing.assert_array_equal(reader.float32(name, [3, 1]), expected[[3, 1]])
    assert "f32" in reader
    assert "other" not in reader


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_a_cut_file_is_named(tmp_path: Path, tensors: dict[str, torch.Tensor], keep: int) -> None:
    """A file cut anywhere is an error that names it, never wrong numbers."""
    path = tmp_path / "t.safetensors"
    save_file(tensors, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StratascopeError, match=r"t\.safetensors"):
        TensorReader.open(path)


def test_something_else_is_no_tensor_file(tmp_path: Path) -> None:
    """Any other file is refused by name."""
    path = tmp_path / "t.safetensors"
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(StratascopeError, match="not a safetensors file"):
        TensorReader.open(path)
