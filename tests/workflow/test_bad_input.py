"""Bad input: one line with the place and the remedy, exit code 1, nothing left behind."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from stratascope.cli import main

# What came out: the exit code, standard output, standard error.
Outcome = tuple[int, str, str]
Typed = Callable[..., Outcome]

GOOD = """\
name: s
model: {id: models/last, dtype: float32, device: cpu}
prompt:
  messages:
    - {role: user, content: I am so happy!}
generation: {max_new_tokens: 3}
"""


@pytest.fixture
def place(tmp_path: Path, demo: list[Path]) -> Path:
    (tmp_path / "models").mkdir()
    shutil.copytree(demo[-1], tmp_path / "models" / "last")
    return tmp_path


@pytest.fixture
def typed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Typed:
    """Type a `stratascope` command in ``place``; in this process, so that torch is imported once."""

    def run(*arguments: str) -> Outcome:
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["stratascope", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert isinstance(left.value.code, int)
        return left.value.code, *capsys.readouterr()

    return run


def refused(place: Path, typed: Typed, text: str) -> str:
    """Run a scenario that must be refused; returns the error."""
    (place / "s.yaml").write_text(text)
    before = sorted(place.rglob("*"))
    code, out, err = typed("run", "s.yaml")
    assert code == 1, out + err
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert out == ""
    left = [p for p in sorted(place.rglob("*")) if p not in before and not p.is_dir()]
    assert left == [], "something was left behind"
    return errors[0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("dtype", "dtyp", "s.yaml: model.dtyp: unknown key; did you mean `dtype`?"),
        ("role: user", "role: usr", "prompt.messages[0].role"),
        ("name: s", "name: a/b", "cannot be a name"),
        ("models/last", "models/none", "no model folder models/none"),
        ("models/last", "../models/none", "no model folder"),
        ("name: s", "name: s\ncapture: {layers: [99]}", "capture.layers: 99"),
        ("name: s", "- name: s", "s.yaml: "),
        ("so happy", "so " * 3000 + "happy", "tokens"),
    ],
)
def test_a_bad_scenario_is_one_line(
    place: Path, typed: Typed, old: str, new: str, said: str
) -> None:
    """A slip in the file, a missing folder, an impossible layer, a prompt too long: one line each."""
    assert old in GOOD
    assert said in refused(place, typed, GOOD.replace(old, new))


def test_no_model_is_said(place: Path, typed: Typed) -> None:
    """A scenario without a model, run by itself, says how to name one."""
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith("model"))
    assert "--model" in refused(place, typed, text)


def test_two_scenarios_with_one_name(place: Path, typed: Typed) -> None:
    """Both files are named."""
    folder = place / "many"
    folder.mkdir()
    (folder / "a.yaml").write_text(GOOD)
    (folder / "b.yaml").write_text(GOOD)
    code, _, err = typed("run", "many")
    assert code == 1
    assert "b.yaml" in err
    assert "a.yaml" in err


def test_damaged_weights(place: Path, typed: Typed) -> None:
    """A truncated safetensors file is named as damaged."""
    weights = place / "models" / "last" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    assert "cannot load the weights" in refused(place, typed, GOOD)


def test_weights_that_lack_a_tensor(place: Path, typed: Typed) -> None:
    """A checkpoint whose file lacks a tensor is refused instead of filled with random numbers."""
    weights = place / "models" / "last" / "model.safetensors"
    tensors = load_file(weights)
    del tensors["model.norm.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    assert "model.norm.weight" in refused(place, typed, GOOD)


def test_overflow_names_site_and_layer(place: Path, typed: Typed) -> None:
    """Values beyond float16 are refused by the name of the tensor, with the remedy."""
    weights = place / "models" / "last" / "model.safetensors"
    tensors = load_file(weights)
    name = "model.layers.2.mlp.down_proj.weight"
    tensors[name] = (tensors[name].astype("float32") * 3e7).astype("float32")
    save_file(tensors, weights, metadata={"format": "pt"})
    said = refused(place, typed, GOOD + "capture: {store_dtype: float16}\n")
    assert "layer_02/mlp_down_out" in said
    assert "store_dtype" in said


def test_nan_names_site_and_layer(place: Path, typed: Typed) -> None:
    """A model that computes NaN is refused by the name of the first tensor that has one."""
    weights = place / "models" / "last" / "model.safetensors"
    tensors = load_file(weights)
    name = "model.layers.1.self_attn.q_proj.weight"
    tensors[name] = tensors[name] * float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    assert "layer_01/q" in refused(place, typed, GOOD)


def test_no_free_disk(place: Path, typed: Typed) -> None:
    """What cannot fit on the disk is refused before anything is captured, with the numbers."""
    wide = GOOD.replace("max_new_tokens: 3", "max_new_tokens: 600000")
    config = place / "models" / "last" / "config.json"
    data = json.loads(config.read_text()) | {"max_position_embeddings": 10**6}
    config.write_text(json.dumps(data))
    said = refused(place, typed, wide)
    assert "not enough disk" in said
    assert "capture.attention_weights: false" in said


def test_a_folder_that_cannot_be_written(place: Path, typed: Typed) -> None:
    """Results that cannot be made are an error in a line, for root as for anybody else."""
    (place / "results").write_text("a file where the folder should be")
    assert "results" in refused(place, typed, GOOD)
