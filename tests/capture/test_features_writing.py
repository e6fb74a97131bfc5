"""What is kept of each text, and that exactly this is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stratascope.capture.features import making
from stratascope.capture.features.writing import FeatureWriter, find_places
from stratascope.capture.loading import load
from stratascope.capture.writer import HostCopies
from stratascope.errors import StratascopeError
from stratascope.store.datasets import Row
from stratascope.store.tensors import TensorFile, TensorSpec

TEXTS = [
    "The bear was happy, and the river sang all day long.",
    "The end.",
    "How are you today? I am well, thank you. I adore you deeply.",
    "bear",
    "Everything is hopeless and hollow.\nThe world is quiet and serene.",
    "Tell me a story about a small bear and a big river.",
    "river sang",
]
ROWS = [
    Row(
        2 * i + 1, text=text, fields={"mood": ["good", "bad"][i % 2], "pair": i // 2, "long": i > 3}
    )
    for i, text in enumerate(TEXTS)
]


def test_positions_are_rows_of_all_tokens(loaded_model: Any, extract: Any, tmp_path: Path) -> None:
    """Each position is the rows, or the mean of the rows, of the tokens that it means."""
    loaded = loaded_model("gpt2")
    rows = [Row(i, text=text, span=(2, 4)) for i, text in enumerate(TEXTS)]
    every = extract(loaded, tmp_path / "all", rows, position="all")
    offsets = [loaded.tokenizer(text, return_offsets_mapping=True).offset_mapping for text in TEXTS]
    span = [[i for i, (a, b) in enumerate(one) if a < 4 and b > 2] for one in offsets]
    assert all(span)
    for position, kept in {
        "last": [[-1]] * 7,
        -2: [[-2]] * 7,
        1: [[1]] * 7,
        "mean": [range(len(one)) for one in offsets],
        "span": span,
        "span_mean": span,
    }.items():
        found = extract(loaded, tmp_path / str(position), rows, position=position, span="s")
        mean = position in ("mean", "span_mean")
        for name in every.names:
            texts = [every.matrix(name, every.text_rows(i))[list(kept[i])] for i in range(7)]
            expected = [rows.mean(0, keepdims=True) if mean else rows for rows in texts]
            np.testing.assert_allclose(
                found.matrix(name), np.concatenate(expected), rtol=1e-5, atol=1e-6
            )
        assert found.index.column("rows").to_pylist() == [1 if mean else len(k) for k in kept]


def test_bfloat16_is_stored_bit_for_bit(
    folders: Any, checkpoint: Any, extract: Any, tmp_path: Path
) -> None:
    """A model in bfloat16 leaves bfloat16: exactly the numbers that the module gave."""
    loaded = load(checkpoint(folders("llama"), dtype="bfloat16"))
    found = extract(loaded, tmp_path, TEXTS[:1], layers=(2,))
    assert found.info["dtype"] == "bfloat16"
    ids = loaded.tokenizer(TEXTS[0], return_tensors="pt").input_ids
    kept: list[torch.Tensor] = []
    hook = loaded.model.model.layers[2].register_forward_hook(
        lambda module, args, output: kept.append(output if torch.is_tensor(output) else output[0])
    )
    with torch.inference_mode():
        loaded.model.model(ids, use_cache=False)
    hook.remove()
    stored = load_file(tmp_path / "features-00000.safetensors")["layer_02/hidden_out"]
    assert stored.dtype == torch.bfloat16
    assert torch.equal(stored[0], kept[0][0, -1])
    np.testing.assert_array_equal(found.matrix("layer_02/hidden_out"), stored.float().numpy())


def test_an_overflow_names_site_layer_and_line(
    loaded_model: Any, extract: Any, tmp_path: Path
) -> None:
    """Values that float16 cannot hold are an error, not infinities on the disk."""
    loaded = loaded_model("llama")
    (*_, end) = loaded.tokenizer(TEXTS[3]).input_ids
    embedding = loaded.model.get_input_embeddings().weight
    row = embedding[end].clone()
    told = (
        r"layer_01/hidden_out of the text in line 7: \d+ of 32 values are not finite in float16 "
        r"\(largest finite in the model's float32: \d.*\); use store_dtype: bfloat16 or float32"
    )
    try:
        embedding[end].mul_(1e6)
        with pytest.raises(StratascopeError, match=told):
            extract(loaded, tmp_path, ROWS, store_dtype="float16", layers=(1,))
        embedding[end].fill_(float("nan"))
        with pytest.raises(
            StratascopeError, match=r"line 7: 32 of 32 .* the model itself computes"
        ):
            extract(loaded, tmp_path, ROWS, layers=(1,))
    finally:
        embedding[end].copy_(row)
    assert {path.name for path in tmp_path.iterdir()} == {".extraction.json"}
    assert extract(loaded, tmp_path, ROWS, store_dtype="float16").info["dtype"] == "float16"


def test_the_noise_floor_is_measured(
    loaded_model: Any, extract: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """It is the difference between a text alone and in its batch, and grows with what causes one."""
    loaded = loaded_model("llama")
    quiet = extract(loaded, tmp_path / "a", TEXTS, position="all").info["noise_floor"]
    assert quiet["texts"] == 3
    assert 0 <= quiet["largest_relative_difference"] < 1e-5
    coarse = extract(loaded, tmp_path / "b", TEXTS, store_dtype="bfloat16").info["noise_floor"]
    assert coarse["largest_relative_difference"] < 0.01
    original = making.make_inputs

    def disturbed(loaded: Any, texts: Any) -> Any:
        inputs = original(loaded, texts)
        if len(texts) > 1:
            inputs.ids[:, 0] = 5
        return inputs

    monkeypatch.setattr(making, "make_inputs", disturbed)
    loud = extract(loaded, tmp_path / "c", TEXTS, position="all").info["noise_floor"]
    assert loud["largest_relative_difference"] > 0.01


class _Event:
    """Stands for the event that ends a copy from a GPU."""

    def synchronize(self) -> None:
        pass


@pytest.mark.parametrize(
    ("stored", "remedy"), [("float16", "use store_dtype"), ("float32", "itself")]
)
def test_a_copy_from_a_gpu_is_checked_when_it_is_there(
    tmp_path: Path, monkeypatch: Any, stored: str, remedy: str
) -> None:
    """What turns out not to be finite only in the writer's thread is told at the next mark, by line."""
    original = HostCopies.__call__
    monkeypatch.setattr(
        HostCopies, "__call__", lambda self, t: original(self, t)._replace(ready=_Event())
    )
    dtype = getattr(torch, stored)
    values = torch.ones(6, 2)
    values[4, 1] = 1e6 if stored == "float16" else float("inf")
    specs = {"a": TensorSpec("F16" if stored == "float16" else "F32", (9, 2))}
    with (
        TensorFile(tmp_path / "a", specs) as file,
        FeatureWriter(dtype, torch.device("cpu")) as writer,
    ):
        writer.begin(file, find_places([3, 0, 5], [2, 1, 3], [10, 20, 30]))
        writer(("a",), values[:6])
        with pytest.raises(StratascopeError, match=rf"a of the text in line 30: 1 of 2 .*{remedy}"):
            writer.mark().result()
        with pytest.raises(StratascopeError, match="line 30"):
            writer(("a",), values)
        assert file.rows == {"a": 0}


def test_rows_go_to_their_places(tmp_path: Path) -> None:
    """Texts of a batch land where they begin in the file, however they are ordered in the batch."""
    values = torch.arange(12.0).reshape(6, 2)
    with (
        TensorFile(tmp_path / "a", {n: TensorSpec("F32", (8, 2)) for n in "ab"}) as file,
        FeatureWriter(torch.float32, torch.device("cpu")) as writer,
    ):
        writer.begin(file, find_places([5, 0, 1], [3, 1, 2], [1, 2, 3]))
        writer(("a", "b"), values)
        writer.begin(file, find_places([3], [2], [4]))
        writer(("a", "b"), -values[:2])
        writer.mark().result()
        file.finish(8)
    found = load_file(tmp_path / "a")
    expected = torch.cat([values[3:], -values[:2], values[:3]])
    assert torch.equal(found["a"], expected)
    assert torch.equal(found["b"], expected)
