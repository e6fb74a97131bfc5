"""One sequence read alike from a run folder, from NPZ files, and from a model that reads it again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stratascope as ss
from stratascope.api.traces import record_trace
from stratascope.capture.run import capture_run
from stratascope.cli.source import Source, numbers, picked_steps, rows_of
from stratascope.errors import StratascopeError
from stratascope.store.export import export_run
from stratascope.store.runs import RunFolder
from stratascope.store.traces import Trace, open_trace


@pytest.fixture(scope="module")
def run(loaded_model: Any, make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps in float32."""
    loaded = loaded_model("llama+chat")
    folder: Path = tmp_path_factory.mktemp("traces") / "run"
    folder.mkdir()
    capture_run(loaded, make_run(loaded), folder)
    return folder


def error(call: Any, *arguments: Any) -> str:
    with pytest.raises(StratascopeError) as caught:
        call(*arguments)
    return str(caught.value)


def same(a: Trace, b: Trace) -> None:
    """The same tokens, steps and numbers, whatever they are read from."""
    assert (a.token_ids, a.generated, a.steps) == (b.token_ids, b.generated, b.steps)
    assert (a.layers, sorted(a.sites)) == (b.layers, sorted(b.sites))
    for name in a.read:
        assert a.tensor(name).dtype == np.float32
        np.testing.assert_array_equal(a.tensor(name), b.tensor(name), err_msg=name)


def test_a_run_is_a_row_a_token(run: Path) -> None:
    """Tokens, steps and tensors are those that the run's own files say."""
    trace, folder = open_trace(run), RunFolder.open(run)
    total = folder.info["rows"]["total"]
    assert len(trace) == total == len(trace.token_ids)
    assert [len(step) for step in trace.steps] == [total - 3, 1, 1, 1]
    assert list(trace.token_ids[: total - 3]) == folder.info["prompt_token_ids"]
    assert trace.token_ids[total - 3 :] == trace.generated[:3]
    assert trace.layers == [0, 1, 2]
    assert {"hidden_out", "attn_weights", "embeddings"} <= set(trace.sites)
    assert trace.at(1, "attn_weights").shape == (4, total, total)
    np.testing.assert_array_equal(
        trace.at(2, "hidden_out"), folder.activations.float32("layer_02/hidden_out")
    )
    same(trace, open_trace(run / "run.json"))


@pytest.mark.parametrize("layout", ["steps", "one-file"])
def test_npz_files_say_the_same(run: Path, layout: str, tmp_path: Path) -> None:
    """Both layouts of `stratascope export` are read back to the run that they were made of."""
    out = tmp_path / "npz"
    export_run(run, "npz", layout, out)
    found, trace = open_trace(out), open_trace(run)
    same(found, trace)
    assert found.label == trace.label
    prompt = len(trace.steps[0])
    assert found.tokens[:prompt] == trace.tokens[:prompt]
    if layout == "steps":
        assert found.tokens == trace.tokens
    else:
        same(open_trace(out / "activations.npz"), trace)


def test_a_file_of_arrays_alone_is_a_trace(tmp_path: Path) -> None:
    """Without run.json beside it an NPZ file has rows, but no tokens that anybody knows."""
    states = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    np.savez(tmp_path / "mine.npz", **{"layer_05/hidden_out": states})
    trace = open_trace(tmp_path / "mine.npz")
    assert (trace.layers, trace.steps, trace.token_ids) == ([5], (range(4),), (-1,) * 4)
    assert trace.tokens == ("token 0", "token 1", "token 2", "token 3")
    np.testing.assert_array_equal(trace.at(5, "hidden_out"), states[0])


def test_a_model_reads_the_prompt_again(run: Path, loaded_model: Any) -> None:
    """A model and a prompt give the trace that was stored, up to rounding; without new tokens its prompt."""
    loaded, stored = loaded_model("llama+chat"), open_trace(run)
    model = ss.wrap(loaded.model, loaded.tokenizer)
    prompt = list(stored.token_ids[: len(stored.steps[0])])
    sites = ["hidden_out", "attn_weights", "mlp_act"]
    trace = record_trace(model, prompt, sites=sites, max_new_tokens=4)
    assert (trace.token_ids, trace.generated) == (stored.token_ids, stored.generated)
    assert (trace.steps, trace.tokens) == (stored.steps, stored.tokens)
    for layer in range(3):
        for site in sites:
            np.testing.assert_allclose(
                trace.at(layer, site), stored.at(layer, site), atol=1e-5, err_msg=site
            )
    only = record_trace(model, prompt, sites=["q"], layers=[-1])
    assert (only.layers, only.sites, only.steps) == ([2], ["q"], (range(len(prompt)),))


def test_what_was_not_recorded_is_named(run: Path) -> None:
    """A wrong site or layer is answered with what is there, and the nearest name."""
    trace = open_trace(run)
    assert "hiden_out of layer 1 was not recorded; did you mean hidden_out?" in error(
        trace.at, 1, "hiden_out"
    )
    assert "layers: 0, 1, 2" in error(trace.at, 7, "hidden_out")
    assert trace.chosen_layers([-1, 0], "hidden_out") == [2, 0]
    assert "of layer 9" in error(trace.chosen_layers, [9], "hidden_out")
    assert "did you mean mlp_act?" in error(trace.chosen_layers, "all", "mlp_acts")


def test_what_is_no_trace_is_said(run: Path, tmp_path: Path) -> None:
    """Other folders, damaged files, and files out of the folder are refused in a line."""
    assert "no such file or folder" in error(open_trace, tmp_path / "nothing")
    assert "neither a run" in error(open_trace, tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    assert "not an array file, or damaged" in error(open_trace, tmp_path / "bad.npz")
    out = tmp_path / "npz"
    export_run(run, "npz", "steps", out)
    index = out / "steps.json"
    whole = index.read_text()
    index.write_text(whole.replace("tensors/step_001", "../step_001"))
    assert "leaves the folder" in error(open_trace, out)
    index.write_text(whole)
    shutil.copyfile(out / "tensors/step_000.npz", out / "tensors/step_002.npz")
    np.savez(out / "tensors/step_001.npz", other=np.zeros((1, 1, 2)))
    trace = open_trace(out)
    assert "step 1 has no layer_00/hidden_out" in error(trace.at, 0, "hidden_out")


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("steps.json", "{}", "not that of a run: KeyError"),
        ("steps.json", '{"steps": [3]}', "not that of a run: AttributeError"),
        ("run.json", '{"model": "gpt2"}', "not that of a run: AttributeError"),
        ("run.json", "{", "damaged: not valid JSON"),
    ],
)
def test_damaged_records_are_said(
    run: Path, tmp_path: Path, file: str, content: str, told: str
) -> None:
    """Records that are not a run's are one line, not a traceback; so are tensors of another length."""
    out = tmp_path / "npz"
    export_run(run, "npz", "steps", out)
    (out / file).write_text(content)
    assert told in error(open_trace, out)


def test_a_tensor_of_another_length_is_said(run: Path, tmp_path: Path) -> None:
    """A step's tensor has a row for each token that the step read."""
    out = tmp_path / "npz"
    export_run(run, "npz", "steps", out)
    np.savez(out / "tensors/step_001.npz", **{"layer_00/hidden_out": np.zeros((1, 2, 32))})
    assert "is (2, 32), and the step read 1 tokens" in error(open_trace(out).at, 0, "hidden_out")


def test_a_source_is_a_path_or_a_model(run: Path, folders: Any, tmp_path: Path) -> None:
    """A path is opened, a model needs a prompt, and with one it is read."""
    assert Source(str(run), None, 0, None, None).trace(["hidden_out"]).layers == [0, 1, 2]
    folder = str(folders("llama+chat"))
    made = Source(folder, "a bear", 2, None, "float32").trace(["q"], [1])
    assert (made.layers, made.sites, len(made.steps)) == ([1], ["q"], 2)
    for name in (folder, str(tmp_path / "nowhere")):
        assert "--prompt" in error(Source(name, None, 0, None, None).trace, ["q"])


def test_layers_steps_and_positions_are_parsed(run: Path) -> None:
    """Numbers, ranges and ``all``; negative ones count from the last; others are named."""
    assert numbers("all", "layers") == "all"
    assert numbers("0,2-4,-1", "layers") == [0, 2, 3, 4, -1]
    for wrong in ("", "x", "3-1", "1-", "-2--1"):
        assert "write all, 0,6,-1 or 0-5" in error(numbers, wrong, "steps")
    trace = open_trace(run)
    total = len(trace)
    assert rows_of(trace, "all") == list(range(total))
    assert rows_of(trace, [1, -1]) == [total - 3, total - 1]
    assert rows_of(trace, "all", [-1, 0]) == [0, *range(total - 4, total)]
    assert picked_steps(trace, [-1, 0]) == [0, 3]
    for chosen in (rows_of, picked_steps):
        assert "no step 4; there are 4: 0 to 3" in error(chosen, trace, [4])
    assert "none of the positions 0 " in error(rows_of, trace, [1], [0])
