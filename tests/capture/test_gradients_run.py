"""Gradients of a run: what lies in its folder, what does not change, what is refused before it starts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stratascope.capture.gradients import logprob_gradients
from stratascope.capture.job import Item
from stratascope.capture.run import capture_run, plan_bytes
from stratascope.capture.sites import capture_taps
from stratascope.errors import StratascopeError
from stratascope.store.commit import new_folder
from stratascope.store.export import export_run
from stratascope.store.inspect import describe
from stratascope.store.prune import leftovers
from stratascope.store.runs import GRADIENTS, RUN_FILES, RunFolder, is_run
from stratascope.store.verify import verify
from stratascope.study import stages
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.plan import make_plan
from stratascope.study.runs import Run
from stratascope.study.schema import Capture, Generation, Message, Model, Scenario
from stratascope.study.validate import validate

GENERATED = {"of": "generated"}
TOKEN = {"of": "token", "token": " the"}


def capture(loaded: Any, run: Any, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    capture_run(loaded, run, folder)
    return dict(json.loads((folder / "run.json").read_text()))


@pytest.mark.parametrize("name", ["llama+chat", "gpt2", "gemma2+chat"])
def test_the_value_is_that_of_the_steps(
    loaded_model: Any, make_run: Any, tmp_path: Path, name: str
) -> None:
    """The gradient is that of the log-probability that the steps list for what they drew, summed."""
    loaded = loaded_model(name)
    run = make_run(
        loaded,
        generation={"max_new_tokens": 6, "do_sample": True, "temperature": 1.4, "top_k": 30},
        top_k_probs=loaded.config.vocab_size,
        gradients=GENERATED,
    )
    info = capture(loaded, run, tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    listed = [
        choice["logprob"]
        for step in folder.steps
        for choice in step["top_k"]
        if choice["id"] == step["generated_token_id"]
    ]
    likeliest = sum(step["logit_argmax_logprob"] for step in folder.steps)
    assert len(listed) == 6
    assert info["gradients"] == {
        "of": "generated",
        "token": None,
        "token_id": None,
        "value": pytest.approx(sum(listed), abs=1e-4),
        "rows": info["rows"]["total"],
        "left_out": [],
    }
    assert sum(listed) < likeliest - 1e-3
    found = load_file(tmp_path / "run" / GRADIENTS)
    seen = load_file(tmp_path / "run" / "activations.safetensors")
    assert {name: x.shape for name, x in found.items()} == {n: x.shape for n, x in seen.items()}
    taps = capture_taps(loaded.model, loaded.family, run.capture, range(3))
    _, expected = logprob_gradients(
        loaded.model, info["prompt_token_ids"], info["generated_token_ids"], taps
    )
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_token_has_the_rows_of_the_prompt(
    loaded_model: Any, make_run: Any, tmp_path: Path
) -> None:
    """`of: token` differentiates that token in the place of the first generated one."""
    loaded = loaded_model("llama+chat")
    info = capture(loaded, make_run(loaded, gradients=TOKEN), tmp_path / "run")
    token = loaded.tokenizer.convert_tokens_to_ids("Ġthe")
    prompt = info["rows"]["prompt"]
    logits = load_file(tmp_path / "run" / "activations.safetensors")["logits"][prompt - 1]
    assert info["gradients"] == {
        "of": "token",
        "token": " the",
        "token_id": token,
        "value": pytest.approx(float(logits.log_softmax(-1)[token]), abs=1e-4),
        "rows": prompt,
        "left_out": [],
    }
    found = load_file(tmp_path / "run" / GRADIENTS)
    assert {tensor.shape[-2] for tensor in found.values()} == {prompt}
    probabilities = logits.softmax(-1)
    expected = torch.nn.functional.one_hot(torch.tensor(token), len(logits)) - probabilities
    assert torch.allclose(found["logits"][-1], expected, atol=1e-5)
    assert not found["logits"][:-1].any()


def test_a_short_head_gives_the_same(loaded_model: Any, make_run: Any, tmp_path: Path) -> None:
    """Without logits among the sites the head runs for the last tokens alone; gradients stay the same."""
    loaded = loaded_model("qwen3+chat")
    capture(loaded, make_run(loaded, gradients=GENERATED), tmp_path / "all")
    capture(loaded, make_run(loaded, gradients=GENERATED, logits=False), tmp_path / "less")
    whole, less = (load_file(tmp_path / name / GRADIENTS) for name in ("all", "less"))
    assert whole.keys() - less.keys() == {"logits"}
    for name, tensor in less.items():
        assert torch.allclose(whole[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["llama+chat", "qwen2_moe"])
def test_nothing_else_changes(loaded_model: Any, make_run: Any, tmp_path: Path, name: str) -> None:
    """All other files of the run are byte for byte those without gradients, but for run.json's entry."""
    loaded = loaded_model(name)
    plain = capture(loaded, make_run(loaded), tmp_path / "plain")
    asked = capture(loaded, make_run(loaded, gradients=GENERATED), tmp_path / "asked")
    again = capture(loaded, make_run(loaded), tmp_path / "again")
    for file in RUN_FILES[1:]:
        first = (tmp_path / "plain" / file).read_bytes()
        assert first == (tmp_path / "asked" / file).read_bytes()
        assert first == (tmp_path / "again" / file).read_bytes()
    assert "gradients" not in (tmp_path / "plain" / "run.json").read_text()
    assert asked.pop("gradients")["rows"] == plain["rows"]["total"]
    assert asked["files"].pop(GRADIENTS) == (
        hashlib.sha256((tmp_path / "asked" / GRADIENTS).read_bytes()).hexdigest()
    )
    assert asked["scenario"]["capture"].pop("gradients") == GENERATED | {"token": None}
    assert asked.pop("digest") != plain["digest"]
    assert {**asked, "created_at": 0} == {
        **{key: value for key, value in plain.items() if key != "digest"},
        "created_at": 0,
    }
    assert again["digest"] == plain["digest"]


def test_the_same_gradients_twice(loaded_model: Any, make_run: Any, tmp_path: Path) -> None:
    """Gradients are the same bytes every time."""
    loaded = loaded_model("qwen3_moe")
    for name in "ab":
        capture(loaded, make_run(loaded, gradients=GENERATED), tmp_path / name)
    first, second = ((tmp_path / name / GRADIENTS).read_bytes() for name in "ab")
    assert first == second


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("float32", "float32"), ("bfloat16", "bfloat16"), ("float16", "float32")],
)
def test_gradients_do_not_underflow_on_disk(
    loaded_model: Any, make_run: Any, tmp_path: Path, dtype: str, stored: str
) -> None:
    """They are stored as activations are, but never in float16."""
    loaded = loaded_model("llama")
    capture(loaded, make_run(loaded, gradients=GENERATED), tmp_path / "exact")
    run = make_run(loaded, gradients=GENERATED, store_dtype=dtype)
    foretold = plan_bytes(loaded, run)
    capture(loaded, run, tmp_path / "run")
    exact = load_file(tmp_path / "exact" / GRADIENTS)
    for name, tensor in load_file(tmp_path / "run" / GRADIENTS).items():
        assert tensor.dtype == getattr(torch, stored)
        assert torch.equal(tensor, exact[name].to(tensor.dtype))
    taken = sum(path.stat().st_size for path in (tmp_path / "run").iterdir())
    assert taken <= foretold <= 2 * taken


def test_an_error_leaves_no_gradients(loaded_model: Any, make_run: Any, tmp_path: Path) -> None:
    """What cannot be differentiated costs that run, with its reason, and leaves no file of gradients."""
    loaded = loaded_model("llama")
    act = loaded.model.model.layers[1].mlp.act_fn
    handle = act.register_forward_hook(lambda _, __, output: output.exp().exp_())
    try:
        with pytest.raises(StratascopeError, match="no gradients: PyTorch cannot run this model"):
            capture(loaded, make_run(loaded, gradients=GENERATED), tmp_path / "run")
    finally:
        handle.remove()
    assert not (tmp_path / "run" / GRADIENTS).exists()


def test_what_cannot_be_is_refused_before_it_runs(loaded_model: Any, make_run: Any) -> None:
    """A text of two tokens, and a run without sites, are found when the disk is measured."""
    loaded = loaded_model("llama")
    with pytest.raises(StratascopeError, match=r"^capture\.gradients\.token: ' the bear' must be"):
        plan_bytes(loaded, make_run(loaded, gradients={"of": "token", "token": " the bear"}))
    off = dict.fromkeys(("hidden_states", "attention_weights", "qkv", "mlp", "logits"), False)
    with pytest.raises(StratascopeError, match="nothing is captured, so there is no place for a"):
        plan_bytes(loaded, make_run(loaded, gradients=GENERATED, **off))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "capture.gradients.of: missing; it is required"),
        ({"of": "tokens"}, "capture.gradients.of: input should be 'generated' or 'token'"),
        ({"of": "token"}, "capture.gradients: `of: token` needs the token's text"),
        ({"of": "token", "token": ""}, "capture.gradients: `of: token` needs the token's text"),
        ({"of": "generated", "token": "x"}, "capture.gradients: a token goes with `of: token`"),
        ({"of": "token", "token": True}, "capture.gradients.token: input should be a valid string"),
        ({"of": "token", "tokn": " a"}, "tokn: unknown key; did you mean `token`?"),
    ],
)
def test_a_slip_in_the_section_is_named(section: dict[str, Any], said: str) -> None:
    """Each mistake is one line with its key."""
    data = {"name": "x", "prompt": {"messages": [{"role": "user", "content": "x"}]}}
    with pytest.raises(StratascopeError) as caught:
        validate(Scenario, data | {"capture": {"gradients": section}}, "x.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_runs_without_gradients_keep_their_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A digest recorded before there were gradients is still that of the same run; with, it differs."""
    monkeypatch.setitem(stages.STAGES, "capture", stages.Stage(2, ()))

    def digest(**capture: Any) -> str:
        return Run(
            scenario="talk",
            parent="talk",
            shown="talk.yaml",
            checkpoint=Checkpoint("late", Model(id="models/late"), "models/late", None, "0" * 64),
            messages=(Message(role="user", content="Hello there."),),
            generation=Generation(),
            capture=Capture(**capture),
            references=None,
            threads=2,
        ).digest

    assert digest() == "4ad7d0ac9be9"
    assert digest(gradients=None) == "4ad7d0ac9be9"
    assert len({digest(), digest(gradients=GENERATED), digest(gradients=TOKEN)}) == 3


@pytest.fixture
def study(loaded_model: Any, make_run: Any, tmp_path: Path) -> tuple[Path, Item]:
    """A study's folder with one run that has gradients, in its place."""
    loaded = loaded_model("llama+chat")
    run = make_run(loaded, gradients=TOKEN)
    item = Item(run, tmp_path / "results" / "runs" / run.folder)
    assert not item.done
    with new_folder(item.folder) as folder:
        capture_run(loaded, run, folder)
    return tmp_path, item


def test_the_store_knows_gradients(study: tuple[Path, Item]) -> None:
    """A run is not done without them; verify hashes them; inspect shows them; prune takes them."""
    root, item = study
    assert item.done
    assert is_run(item.folder)
    shown = describe(RunFolder.open(item.folder))
    value = RunFolder.open(item.folder).info["gradients"]["value"]
    line = next(line for line in shown.splitlines() if line.startswith("gradients"))
    assert f"of the log-probability of ' the' next, {value:.4f}: 39 tensors, " in line
    for name in ("config", "scenarios", "models/late"):
        (root / name).mkdir(parents=True)
    (root / "config" / "config.yaml").write_text("checkpoints: {late: {id: models/late}}\n")
    text = "name: other\nprompt: {messages: [{role: user, content: x}]}\n"
    (root / "scenarios" / "other.yaml").write_text(text)
    found = leftovers(make_plan(root, lambda _: "x", lambda *_: "x"), root)
    assert [(entry.path.name, entry.ours) for entry in found] == [(item.folder.name, True)]
    assert not [finding for finding in verify(root)[1] if finding.bad]
    path = item.folder / GRADIENTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    bad = [finding for finding in verify(root)[1] if finding.bad]
    assert [(finding.path.name, finding.state) for finding in bad] == [(GRADIENTS, "damaged")]
    path.unlink()
    bad = [finding for finding in verify(root)[1] if finding.bad]
    assert [(finding.path.name, finding.state) for finding in bad] == [(GRADIENTS, "missing")]
    assert not item.done


@pytest.mark.parametrize("layout", ["steps", "one-file"])
def test_gradients_are_exported(study: tuple[Path, Item], layout: str) -> None:
    """An export has them in one file, with the numbers of the run."""
    root, item = study
    export_run(item.folder, "npz", layout, root / "out")
    reader = RunFolder.open(item.folder).gradients
    assert reader is not None
    with np.load(root / "out" / "gradients.npz") as arrays:
        assert set(arrays) == set(reader.entries)
        for name in reader.entries:
            np.testing.assert_array_equal(arrays[name][0], reader.float32(name))
