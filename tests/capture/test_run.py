from __future__ import annotations

import gc
import hashlib
import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stratascope.capture import run as run_module
from stratascope.capture.run import capture_references, capture_run, plan_bytes, reference_bytes
from stratascope.capture.writer import ActivationWriter, limits, not_finite
from stratascope.errors import StratascopeError
from stratascope.store.runs import RunFolder
from stratascope.study.schema import Message

FILES = {"run.json", "steps.json", "activations.safetensors", "snapshots.safetensors"}


def capture(loaded: Any, run: Any, folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir(exist_ok=True)
    capture_run(loaded, run, folder)
    return load_file(folder / "activations.safetensors")


def test_a_run_folder_holds_the_contract(loaded_model: Any, make_run: Any, tmp_path: Path) -> None:
    """run.json and steps.json have their keys and agree with each other and with the tensors."""
    loaded = loaded_model("qwen3+chat")
    run = make_run(loaded, generation={"max_new_tokens": 5}, top_k_probs=3)
    progress: list[tuple[int, int]] = []
    capture_run(loaded, run, tmp_path, lambda *done: progress.append(done))
    assert progress == [(i, 5) for i in range(1, 6)]
    assert {path.name for path in tmp_path.iterdir()} == FILES
    folder = RunFolder.open(tmp_path)
    info, steps = folder.info, folder.steps
    assert list(info) == [
        "format", "label", "digest", "stage", "parent", "scenario", "model", "tokenizer",
        "prompt_token_ids", "prompt_tokens", "generated_token_ids", "generated_text", "layers",
        "rows", "snapshots", "files", "env", "created_at",
    ]  # fmt: skip
    assert info["label"] == "test@qwen3+chat"
    assert info["digest"] == run.digest
    assert info["files"] == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in sorted(FILES - {"run.json"})
    }
    assert info["model"]["arch"] | {"modules": 0} == {
        "family": "qwen3",
        "num_layers": 3,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": loaded.config.vocab_size,
        "modules": 0,
    }
    assert info["model"]["arch"]["modules"]["down"] == "mlp.down_proj"
    prompt, total = info["rows"]["prompt"], info["rows"]["total"]
    assert (prompt, total) == (len(info["prompt_token_ids"]), prompt + 4)
    assert "".join(info["prompt_tokens"]) == loaded.tokenizer.decode(info["prompt_token_ids"])
    assert [step["generated_token_id"] for step in steps] == info["generated_token_ids"]
    assert [step["rows"] for step in steps] == [
        [0, prompt],
        *([i, i + 1] for i in range(prompt, total)),
    ]
    assert [step["seq_len"] for step in steps] == [step["rows"][1] for step in steps]
    shapes = {name: folder.activations.shape(name) for name in folder.activations.entries}
    for step in steps:
        rows = step["rows"][1] - step["rows"][0]
        assert len(step["top_k"]) == 3
        assert step["top_k"][0]["logprob"] == pytest.approx(step["logit_argmax_logprob"])
        assert set(step["tensor_index"]) == set(shapes)
        for name, entry in step["tensor_index"].items():
            square = "attn_weights" in name
            assert entry["shape"] == (
                [4, rows, step["seq_len"]] if square else [rows, shapes[name][1]]
            )
            assert entry["dtype"] == "float32"
    assert shapes["layer_02/attn_weights"] == (4, total, total)
    assert shapes["logits"] == (total, loaded.config.vocab_size)


def test_the_same_run_gives_the_same_bytes(
    loaded_model: Any, make_run: Any, tmp_path: Path
) -> None:
    """Everything but the time of day is byte for byte the same."""
    loaded = loaded_model("llama+chat")
    run = make_run(loaded, store_dtype="float16", generation={"do_sample": True})
    for name in "ab":
        capture(loaded, run, tmp_path / name)
    for file in FILES:
        first, second = ((tmp_path / name / file).read_bytes() for name in "ab")
        if file == "run.json":
            first, second = (
                json.dumps(json.loads(raw) | {"created_at": 0}).encode() for raw in (first, second)
            )
        assert first == second


def test_an_early_end_leaves_exactly_the_tokens_that_were_read(
    loaded_model: Any, make_run: Any, tmp_path: Path
) -> None:
    """EOS ends a run; its tensors equal the first rows of the run that went on."""
    loaded = loaded_model("llama")
    messages = (Message(role="user", content="The river sang"),)
    long = make_run(loaded, messages=messages, generation={"max_new_tokens": 12})
    whole = capture(loaded, long, tmp_path / "whole")
    tokens = RunFolder.open(tmp_path / "whole").info["generated_token_ids"]
    end = tokens[3]
    count = tokens.index(end) + 1
    settings = loaded.model.generation_config
    try:
        settings.eos_token_id = end
        short = capture(loaded, long, tmp_path / "short")
    finally:
        settings.eos_token_id = None
    info = RunFolder.open(tmp_path / "short").info
    assert info["generated_token_ids"] == tokens[:count]
    rows = info["rows"]["total"]
    assert rows == info["rows"]["prompt"] + count - 1
    for name, tensor in whole.items():
        cut = tensor[:, :rows, :rows] if "attn_weights" in name else tensor[:rows]
        assert torch.equal(short[name], cut)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_store_dtype_is_an_exact_cast(
    loaded_model: Any, make_run: Any, tmp_path: Path, dtype: str
) -> None:
    """What is stored in 16 bits is torch's cast of what float32 stores."""
    loaded = loaded_model("mistral_window")
    exact = capture(loaded, make_run(loaded), tmp_path / "exact")
    small = capture(loaded, make_run(loaded, store_dtype=dtype), tmp_path / "small")
    for name, tensor in exact.items():
        assert small[name].dtype == getattr(torch, dtype)
        assert torch.equal(small[name], tensor.to(getattr(torch, dtype)))


def test_an_overflow_names_the_site_and_the_layer(
    loaded_model: Any, make_run: Any, tmp_path: Path
) -> None:
    """Values too large for float16 are an error with their place, number and size; bfloat16 works."""
    loaded = loaded_model("llama")
    weight = loaded.model.model.layers[1].mlp.down_proj.weight
    kept = weight.data.clone()
    weight.data[:5] *= 1e7
    try:
        with pytest.raises(StratascopeError, match="not finite in float16") as caught:
            capture(loaded, make_run(loaded, store_dtype="float16"), tmp_path)
        assert not (tmp_path / "activations.safetensors").exists()
        capture(loaded, make_run(loaded, store_dtype="bfloat16"), tmp_path)
    finally:
        weight.data.copy_(kept)
    text = str(caught.value)
    assert text.startswith("layer_01/mlp_down_out at step 0: ")
    assert "(largest finite in the model's float32: " in text
    assert "use capture.store_dtype: bfloat16 or float32" in text
    assert "\n" not in text


def test_overflow_during_decoding_names_the_step(
    loaded_model: Any, make_run: Any, tmp_path: Path
) -> None:
    """An overflow that only a later token causes carries that step's number."""
    loaded = loaded_model("llama")
    run = make_run(loaded, store_dtype="float16")
    capture(loaded, run, tmp_path)
    tokens = RunFolder.open(tmp_path).info
    fed = [*tokens["prompt_token_ids"], *tokens["generated_token_ids"]]
    step, token = next(
        (i + 1, t)
        for i, t in enumerate(tokens["generated_token_ids"][:-1])
        if t not in fed[: len(tokens["prompt_token_ids"]) + i]
    )
    weight = loaded.model.model.embed_tokens.weight
    kept = weight.data.clone()
    weight.data[token] *= 1e7
    try:
        with pytest.raises(StratascopeError, match=f"embeddings at step {step}: "):
            capture(loaded, run, tmp_path)
    finally:
        weight.data.copy_(kept)


def test_the_finite_check_is_that_of_the_stored_values() -> None:
    """Two extremes decide for all values, at the very edge of each precision, and for NaN."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        top = torch.finfo(dtype).max
        for value in (
            top,
            -top,
            top * 1.0001,
            top * 1.01,
            float("inf"),
            -float("inf"),
            float("nan"),
        ):
            x = torch.tensor([[1.0, value, -2.0]])
            fast = bool(torch.isfinite(limits(x).to(dtype)).all())
            assert fast == bool(torch.isfinite(x.to(dtype)).all())
    error = not_finite("here", torch.tensor([1.0, 7e4, 81234.5]), torch.float16, "float32")
    assert str(error).startswith(
        "here: 2 of 3 values are not finite in float16 (largest finite in the model's float32: 81234.5)"
    )


def test_the_plan_knows_the_bytes(
    loaded_model: Any, make_run: Any, make_references: Any, tmp_path: Path
) -> None:
    """The bytes foretold are enough, and not much more than what a full run takes."""
    loaded = loaded_model("llama+chat")
    run = make_run(loaded, generation={"max_new_tokens": 20})
    capture(loaded, run, tmp_path / "run")
    taken = sum(path.stat().st_size for path in (tmp_path / "run").iterdir())
    assert taken <= plan_bytes(loaded, run) <= 2 * taken
    references = make_references(loaded, {"a": "I adore you", "b": "The world is quiet"})
    (tmp_path / "references").mkdir()
    capture_references(loaded, references, tmp_path / "references")
    taken = sum(path.stat().st_size for path in (tmp_path / "references").iterdir())
    assert taken <= reference_bytes(loaded, references) <= 3 * taken


def test_the_context_is_checked_before_anything_is_written(
    loaded_model: Any, make_run: Any, tmp_path: Path
) -> None:
    """A prompt and generation beyond the context are refused with their numbers."""
    loaded = loaded_model("llama")
    run = make_run(loaded, generation={"max_new_tokens": 5000})
    for function in (lambda: plan_bytes(loaded, run), lambda: capture_run(loaded, run, tmp_path)):
        with pytest.raises(StratascopeError, match=r"is 5000: together .* context holds 512"):
            function()
    assert not list(tmp_path.iterdir())


def test_a_thread_writes_what_the_hook_would(
    loaded_model: Any, make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that serves GPUs writes the same file, and its errors reach the caller."""
    loaded = loaded_model("llama")
    run = make_run(loaded, store_dtype="float16")
    direct = capture(loaded, run, tmp_path / "direct")
    whole = run_module.ActivationWriter

    def threaded(file: Any, dtype: Any, device: Any) -> Any:
        return whole(file, dtype, torch.device("cuda"))

    monkeypatch.setattr(run_module, "ActivationWriter", threaded)
    queued = capture(loaded, run, tmp_path / "queued")
    assert all(torch.equal(queued[name], tensor) for name, tensor in direct.items())
    weight = loaded.model.model.layers[1].mlp.down_proj.weight
    kept = weight.data.clone()
    weight.data[:5] *= 1e7
    try:
        with pytest.raises(StratascopeError, match="layer_01/mlp_down_out at step 0"):
            capture(loaded, run, tmp_path / "failed")
    finally:
        weight.data.copy_(kept)
    import threading

    assert not [t for t in threading.enumerate() if t.name == "activation-writer"]


def test_states_of_a_run_are_where_the_store_looks(
    loaded_model: Any, make_run: Any, tmp_path: Path
) -> None:
    """The initial state is the snapshot at the generation prompt of the whole conversation."""
    loaded = loaded_model("llama+chat")
    capture(loaded, make_run(loaded), tmp_path)
    folder = RunFolder.open(tmp_path)
    for source in ("hidden_in", "hidden_out", "attn_out", "mlp_down_out"):
        initial = folder.state("initial", 2, source)
        snapshot = folder.snapshots.float32(f"generation_prompt/layer_02/{source}", -1)
        np.testing.assert_allclose(initial, snapshot, rtol=1e-4, atol=1e-5)


def test_no_captured_tensor_outlives_its_pass(
    loaded_model: Any, make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing streams: after each step nothing that was captured is held, so memory cannot grow."""
    loaded = loaded_model("llama")
    held: list[weakref.ref[torch.Tensor]] = []
    taken: list[int] = []
    write = ActivationWriter.__call__

    def watched(writer: ActivationWriter, names: tuple[str, ...], tensor: torch.Tensor) -> None:
        held.append(weakref.ref(tensor))
        write(writer, names, tensor)

    def progress(step: int, _: int) -> None:
        gc.collect()
        taken.append(len(held))
        assert [ref for ref in held if ref() is not None] == [], step

    monkeypatch.setattr(ActivationWriter, "__call__", watched)
    run = make_run(loaded, generation={"max_new_tokens": 6})
    capture_run(loaded, run, tmp_path, progress)
    assert len(taken) == 6
    assert taken[0] > 30
