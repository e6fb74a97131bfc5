"""The commands that people type."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from stratascope.capture.hub import lock_models
from stratascope.errors import StratascopeError
from stratascope.rows import render
from stratascope.store.export import export_run
from stratascope.store.inspect import step_rows
from stratascope.store.runs import RunFolder

Command = Callable[..., subprocess.CompletedProcess[str]]

LAB = """\
name: lab
model:
  id: models/last
  dtype: float16
  device: auto
  gguf_file: null
  trust_remote_code: false
prompt:
  run_at_each_message: true
  messages:
    - role: system
      content: "You are a helpful assistant"
    - role: user
      content: "Hello, how are you?"
generation:
  max_new_tokens: 4
  do_sample: false
  temperature: 1.0
  top_k: null
  top_p: null
  seed: 42
capture:
  hidden_states: true
  attention_weights: true
  qkv: true
  mlp: true
  logits: true
  top_k_probs: 5
  layers: all
  store_dtype: bfloat16
output:
  dir: ./my_runs
  format: json+npz
reference_states:
  - label: love
    messages:
      - role: user
        content: "I adore you deeply."
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, demo: list[Path], stratascope: Command) -> Path:
    """Activation Lab's own scenario file, captured; only `model.id` is ours."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "models").mkdir()
    shutil.copytree(demo[-1], folder / "models" / "last")
    (folder / "lab.yaml").write_text(LAB)
    done = stratascope(folder, "run", "lab.yaml", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["run"] for row in rows] == ["lab_msg01@last", "lab_msg02@last"]
    return folder


@pytest.fixture
def captured(lab: Path) -> Path:
    return next(lab.glob("my_runs/lab_msg02@last-*"))


@pytest.mark.slow
def test_run_leaves_runs_below_output_dir(lab: Path, captured: Path) -> None:
    """`output.dir` is where runs lie; their references lie beside them, once for both runs."""
    assert len(list(lab.glob("my_runs/lab_msg0*"))) == 2
    assert len(list(lab.glob("my_runs/references/*/references.safetensors"))) == 1
    assert not (lab / "results").exists()


@pytest.mark.slow
def test_run_again_captures_nothing(lab: Path, stratascope: Command) -> None:
    """The same scenario a second time loads no model and changes no file."""
    before = {p: p.stat().st_mtime_ns for p in lab.glob("my_runs/**/*")}
    done = stratascope(lab, "run", "lab.yaml")
    assert done.returncode == 0
    assert "loaded" not in done.stderr
    assert {p: p.stat().st_mtime_ns for p in lab.glob("my_runs/**/*")} == before


@pytest.mark.slow
def test_inspect_shows_each_step(captured: Path) -> None:
    """`inspect` has one row a forward pass, and its tokens are the run's."""
    run = RunFolder.open(captured / "run.json")
    rows = step_rows(run)
    assert [row["step"] for row in rows] == list(range(len(run.info["generated_token_ids"])))
    assert rows[0]["kind"] == "prefill"
    assert rows[0]["tokens"] == run.info["rows"]["prompt"]


@pytest.mark.slow
def test_export_npz_is_activation_labs_layout(captured: Path, tmp_path: Path) -> None:
    """Per-step files hold that step's rows with a batch axis; bfloat16 widened exactly."""
    references = next(captured.parent.glob("references/*"))
    export_run(captured, "npz", "steps", tmp_path / "out", references)
    run = RunFolder.open(captured)
    steps = json.loads((tmp_path / "out" / "steps.json").read_text())["steps"]
    assert len(steps) == len(run.steps)
    hidden = run.activations.float32("layer_01/hidden_out")
    weights = run.activations.float32("layer_01/attn_weights")
    for step in steps:
        first, stop = step["rows"]
        with np.load(tmp_path / "out" / step["tensors_file"]) as npz:
            assert set(npz) == set(step["tensor_index"])
            np.testing.assert_array_equal(npz["layer_01/hidden_out"], hidden[None, first:stop])
            np.testing.assert_array_equal(
                npz["layer_01/attn_weights"], weights[None, :, first:stop, :stop]
            )
            for name, entry in step["tensor_index"].items():
                assert list(npz[name].shape) == entry["shape"]
    snapshots = tmp_path / "out" / "conversation_snapshots"
    with np.load(snapshots / "snapshot_01_user.npz") as npz:
        stored = load_file(captured / "snapshots.safetensors")[
            "generation_prompt/layer_00/attn_out"
        ]
        np.testing.assert_array_equal(npz["layer_00/attn_out"], stored[1])
    assert (tmp_path / "out" / "references" / "ref_love.npz").is_file()
    assert json.loads((tmp_path / "out" / "references" / "index.json").read_text()) == {
        "labels": ["love"]
    }


@pytest.mark.slow
def test_export_pt_keeps_bfloat16(captured: Path, tmp_path: Path) -> None:
    """One-file PyTorch export keeps the stored precision and the whole sequence."""
    export_run(captured, "pt", "one-file", tmp_path / "out")
    tensors = torch.load(tmp_path / "out" / "activations.pt", weights_only=True)
    run = RunFolder.open(captured)
    assert tensors["layer_00/q"].dtype == torch.bfloat16
    assert tensors["layer_00/q"].shape[:2] == (1, run.info["rows"]["total"])
    np.testing.assert_array_equal(
        tensors["logits"][0].float().numpy(), run.activations.float32("logits")
    )
    with pytest.raises(StratascopeError, match="exists already"):
        export_run(captured, "pt", "one-file", tmp_path / "out")


@pytest.mark.slow
def test_layers_loads_no_weights(lab: Path, stratascope: Command) -> None:
    """`layers` shows the tree and the sites' modules of a folder that holds only a config."""
    folder = lab / "models" / "bare"
    folder.mkdir(exist_ok=True)
    shutil.copy(lab / "models" / "last" / "config.json", folder)
    done = stratascope(lab, "layers", "models/bare", "--format", "json")
    rows = {row["site"]: row["module"] for row in json.loads(done.stdout)["rows"]}
    assert rows["q"] == "model.layers.N.self_attn.q_proj"
    assert rows["hidden_in"] == "model.layers.N"


def test_rows_print_as_table_csv_and_json() -> None:
    """The three formats hold the same values; CSV and JSON read back."""
    rows = [
        {"a": 'x, "y"', "b": 1.5, "c": None, "d": True},
        {"a": "é", "b": 2.0, "c": 3, "d": False},
    ]
    assert json.loads(render(rows, "json")) == {"rows": rows}
    back = list(csv.DictReader(io.StringIO(render(rows, "csv"))))
    assert [row["a"] for row in back] == ['x, "y"', "é"]
    assert render(rows, "table").splitlines()[2].split() == ["x,", '"y"', "1.5", "yes"]
    assert render([], "table") == ""


def test_schema_is_json(root: Path, stratascope: Command) -> None:
    """`schema` prints what an editor can use."""
    done = stratascope(root, "schema", "scenario")
    assert json.loads(done.stdout)["properties"]["reference_states"]


@pytest.mark.slow
def test_a_page_of_one_scenario(study: Path, stratascope: Command) -> None:
    """`page` shows what it is asked for, and writes nothing where the report is not the study's."""
    done = stratascope(study, "page", "talk")
    assert done.returncode == 0, done.stderr
    page = study / done.stdout.strip()
    assert page == study / "results" / "pages" / "talk.html"
    assert "Of 8 runs this file shows 2 one by one" in page.read_text(encoding="utf-8")
    page.unlink()
    wrong = stratascope(study, "page", "../talk")
    assert wrong.returncode == 1
    assert "../talk: no scenario" in wrong.stderr
    config = study / "config" / "config.yaml"
    config.write_text(config.read_text().replace("A study of the tests", "Another title"))
    late = stratascope(study, "page", "talk")
    assert late.returncode == 1
    assert "run snakemake first" in late.stderr
    assert not page.exists()


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's API as resolving a revision takes, spoken over real HTTP."""

    def do_GET(self) -> None:
        known = {
            "/api/models/some/model/revision/step1": "1" * 40,
            "/api/models/some/model/revision/main": "2" * 40,
            "/api/models/some/model": "2" * 40,
        }
        sha = known.get(self.path.split("?")[0])
        body = json.dumps({"id": "some/model", "sha": sha} if sha else {"error": "x"}).encode()
        self.send_response(200 if sha else 404)
        if not sha:
            kind = "RevisionNotFound" if "some/model" in self.path else "RepoNotFound"
            self.send_header("X-Error-Code", kind)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def hub() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def floating(tmp_path: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", hub)
    (tmp_path / "config").mkdir()
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(
        "checkpoints:\n  a: {id: some/model, revision: step1}\n  b: {id: some/model}\n"
    )
    (tmp_path / "scenarios" / "s.yaml").write_text(
        "name: s\nprompt: {messages: [{role: user, content: x}]}\n"
    )
    return tmp_path


def test_lock_pins_what_floats(floating: Path, stratascope: Command) -> None:
    """Every floating revision becomes a commit in config/lock.json; then the plan needs no hub."""
    assert lock_models(floating) == {"some/model@main": "2" * 40, "some/model@step1": "1" * 40}
    done = stratascope(floating, "plan", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["rows"]) == 2


def test_lock_names_a_revision_that_is_not_there(floating: Path) -> None:
    """An unknown revision or model is named, and an older lock file stays as it was."""
    lock_models(floating)
    kept = (floating / "config" / "lock.json").read_bytes()
    config = floating / "config" / "config.yaml"
    config.write_text(config.read_text().replace("step1", "step9"))
    with pytest.raises(StratascopeError, match="step9"):
        lock_models(floating)
    config.write_text("checkpoints:\n  a: {id: nobody/nothing}\n")
    with pytest.raises(StratascopeError, match="nobody/nothing"):
        lock_models(floating)
    assert (floating / "config" / "lock.json").read_bytes() == kept


def test_lock_adds_the_models_of_scenario_files(floating: Path, tmp_path: Path) -> None:
    """Without a study, the models of scenario files are pinned beside what is pinned already."""
    lock_models(floating)
    scenario = tmp_path / "own.yaml"
    scenario.write_text(
        "name: own\nmodel: {id: some/model, revision: main}\n"
        "prompt: {messages: [{role: user, content: x}]}\n"
    )
    assert lock_models(floating, [scenario]) == {"some/model@main": "2" * 40}
    assert len(json.loads((floating / "config" / "lock.json").read_text())) == 2
