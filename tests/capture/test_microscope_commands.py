"""The microscope's commands as people type them: on a run, on NPZ files, on a model with a prompt."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from stratascope.capture.run import capture_run
from stratascope.cli import cli
from stratascope.errors import StratascopeError
from stratascope.measure.metrics import METRICS
from stratascope.measure.tensor_stats import tensor_stats
from stratascope.store.export import export_run
from stratascope.store.runs import RunFolder

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def sources(
    loaded_model: Any, make_run: Any, folders: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """SOURCE and what belongs to it, by kind; the first three hold the same numbers."""
    loaded = loaded_model("llama+chat")
    root: Path = tmp_path_factory.mktemp("sources")
    (root / "run").mkdir()
    capture_run(loaded, make_run(loaded), root / "run")
    for layout in ("steps", "one-file"):
        export_run(root / "run", "npz", layout, root / layout)
    return {
        "run": [str(root / "run")],
        "steps": [str(root / "steps")],
        "one-file": [str(root / "one-file")],
        "model": [str(folders("llama+chat")), "--prompt", "a small bear", "--new-tokens", "3"],
    }


def rows_of(command: str, *words: object) -> Rows:
    done = CliRunner().invoke(cli, [command, *map(str, words), "--format", "json"])
    assert done.exit_code == 0, done.output + str(done.exception)
    rows: Rows = json.loads(done.stdout)["rows"]
    return rows


def error_of(command: str, *words: object) -> str:
    done = CliRunner().invoke(cli, [command, *map(str, words)])
    assert done.exit_code != 0
    if isinstance(done.exception, StratascopeError):
        assert "\n" not in str(done.exception)
        return str(done.exception)
    return done.output


COMMANDS: dict[str, list[str]] = {
    "analyze": ["--sites", "hidden_out,mlp_act", "--layers", "0,-1"],
    "cross-layer": [],
    "trajectory": ["--neuron", "1:5", "--neuron", "0:2"],
    "attention": [],
    "inspect": [],
    "layers": [],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_sources_with_the_same_numbers_give_the_same_rows(
    command: str, sources: dict[str, list[str]]
) -> None:
    """A run, its steps as NPZ and its whole as NPZ are the same to each command, token texts aside."""
    found = {
        kind: rows_of(command, *sources[kind], *COMMANDS[command])
        for kind in ("run", "steps", "one-file")
    }
    for rows in found.values():
        for row in rows:
            for name in ("token", "generated", "logprob", "entropy"):
                if command in ("inspect", "trajectory"):
                    row.pop(name, None)
    assert found["run"] == found["steps"] == found["one-file"]
    assert rows_of(command, *sources["model"], *COMMANDS[command])


def test_layers_are_those_of_the_source(sources: dict[str, list[str]]) -> None:
    """Of a sequence `layers` names each recorded tensor and its shape; of a bare model its sites."""
    recorded = rows_of("layers", *sources["run"])
    states = [row for row in recorded if row["site"] == "hidden_out"]
    assert [row["layer"] for row in states] == [0, 1, 2]
    assert all(row["shape"][0] == states[0]["shape"][0] for row in states)
    bare = rows_of("layers", sources["model"][0])
    assert {"site", "module", "read", "switch"} == set(bare[0])


def test_statistics_are_those_of_the_tensor(sources: dict[str, list[str]]) -> None:
    """Each row of `analyze` is `tensor_stats` of that site and layer; bars are only in the table."""
    path = sources["run"][0]
    rows = rows_of("analyze", path, "--sites", "mlp_act", "--threshold", 0.01, "--steps", 0)
    assert [(row["layer"], row["site"]) for row in rows] == [(i, "mlp_act") for i in range(3)]
    run = RunFolder.open(Path(path))
    prompt = run.info["rows"]["prompt"]
    expected: dict[str, Any] = {
        **tensor_stats(run.activations.float32("layer_01/mlp_act")[:prompt], 0.01)
    }
    for name in ("mean", "std", "min", "max", "norm", "sparsity", "entropy", "kurtosis"):
        assert rows[1][name] == pytest.approx(expected[name], rel=1e-6), name
    assert (rows[1]["threshold"], rows[1]["tokens"]) == (0.01, prompt)
    table = CliRunner().invoke(cli, ["analyze", path, "--bar", "sparsity"]).stdout
    assert "█" not in table  # nothing is exactly 0
    table = CliRunner().invoke(cli, ["analyze", path]).stdout
    assert "█" * 24 in table
    assert "█" not in CliRunner().invoke(cli, ["analyze", path, "--format", "csv"]).stdout


def test_layers_are_compared_at_the_tokens_asked_for(sources: dict[str, list[str]]) -> None:
    """`cross-layer --position -1` of the prompt is the cosine of two state vectors, as in Activation Lab."""
    run = RunFolder.open(Path(sources["run"][0]))
    rows = rows_of("cross-layer", *sources["run"], "--steps", 0, "--position", -1)
    assert len(rows) == 9
    for row in rows:
        a, b = (run.state("initial", row[key], "hidden_out") for key in ("layer_a", "layer_b"))
        assert row["cosine"] == pytest.approx(float(METRICS["cosine"].rowwise(a, b)), rel=1e-5)
        assert (row["n"], row["cka"], row["centred"]) == (1, None, None)
    assert rows[0]["layer"] == 0
    assert rows[1]["layer"] is None


def test_a_neuron_is_followed_token_by_token(sources: dict[str, list[str]]) -> None:
    """A row for each token: its step, position, text and the neuron's value."""
    run = RunFolder.open(Path(sources["run"][0]))
    values = run.activations.float32("layer_01/mlp_act")[:, 5]
    rows = rows_of("trajectory", *sources["run"], "--neuron", "1:5")
    assert [row["position"] for row in rows] == list(range(len(values)))
    np.testing.assert_allclose([row["value"] for row in rows], values, rtol=1e-5)
    tokens = [token for step in run.steps for token in step["input_tokens"]]
    assert [row["token"] for row in rows] == tokens
    assert [row["step"] for row in rows[-4:]] == [0, 1, 2, 3]
    assert {(row["layer"], row["neuron"], row["site"]) for row in rows} == {(1, 5, "mlp_act")}


def test_two_sources_are_compared(sources: dict[str, list[str]]) -> None:
    """A run and itself are the same; two prompts share their beginning; a run and its NPZ are the same."""
    for other in ("run", "steps"):
        for row in rows_of("compare", *sources["run"], *sources[other]):
            assert (row["cosine"], row["MAE"], row["overlap"]) == (pytest.approx(1), 0, 1)
    model = sources["model"][0]
    rows = rows_of("compare", model, model, "--prompt", "a bear", "--sites", "hidden_out")
    assert [row["state"] for row in rows[:3]] == ["initial", "final", "tokens"]
    crossed = rows_of("compare", *sources["run"], *sources["steps"], "--sites", "hidden_out,x")
    assert {row["site"] for row in crossed} == {"hidden_out"}


@pytest.mark.parametrize("kind", ["run", "steps", "model"])
def test_heatmaps_are_pictures_of_the_numbers(
    kind: str, sources: dict[str, list[str]], tmp_path: Path
) -> None:
    """Files are named as in Activation Lab, hold the colours of the numbers, and are the same twice."""
    from matplotlib import colormaps

    words = [*sources[kind], "--steps", "0,1", "--layers", "0,2", "--cmap", "magma"]
    rows = rows_of("heatmap", *words, "--out", tmp_path / "a")
    files = [Path(row["file"]).relative_to(tmp_path / "a").as_posix() for row in rows]
    assert files == [
        f"heatmaps/hidden_out/layer_{layer:02d}_step_{step:03d}.png"
        for layer in (0, 2)
        for step in (0, 1)
    ]
    rows_of("heatmap", *words, "--out", tmp_path / "b")
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    if kind == "run":
        run = RunFolder.open(Path(sources["run"][0]))
        values = run.activations.float32("layer_00/hidden_out")[: run.info["rows"]["prompt"]]
        shades = (values - values.min()) / (values.max() - values.min()).astype(float)
        expected = colormaps["magma"](shades, bytes=True)[..., :3]
        picture = np.asarray(Image.open(rows[0]["file"]))
        blocks = picture.shape[0] // len(values), picture.shape[1] // values.shape[1]
        np.testing.assert_array_equal(picture[:: blocks[0], :: blocks[1]], expected)
        assert Image.open(rows[0]["file"]).info == {}


def test_a_picture_a_head(sources: dict[str, list[str]], tmp_path: Path) -> None:
    """Attention is drawn as the mean of heads or head by head, step by step with the keys so far."""
    words = [*sources["run"], "--source", "attn_weights", "--layers", 1, "--out", tmp_path]
    mean = rows_of("heatmap", *words, "--steps", 1, "--normalize", "none")
    heads = rows_of("heatmap", *words, "--steps", "1", "--per-head", "--normalize", "global")
    assert [Path(row["file"]).name for row in heads] == [
        f"layer_01_step_001_head_{head:02d}.png" for head in range(4)
    ]
    run = RunFolder.open(Path(sources["run"][0]))
    prompt = run.info["rows"]["prompt"]
    assert (mean[0]["tokens"], mean[0]["columns"]) == (1, prompt + 1)
    weights = run.activations.float32("layer_01/attn_weights")[:, prompt, : prompt + 1]
    np.testing.assert_allclose([row["max"] for row in heads], weights.max(axis=1), rtol=1e-6)
    assert mean[0]["max"] == pytest.approx(weights.mean(axis=0).max())
    assert rows_of("heatmap", *words[:1], "--source", "logits", "--steps", 0, "--out", tmp_path)
    assert (tmp_path / "heatmaps" / "logits" / "step_000.png").is_file()


def test_induction_of_a_model_that_knows_nothing(sources: dict[str, list[str]]) -> None:
    """`attention --induction` lists every head with its null, and finds none in random weights."""
    rows = rows_of("attention", sources["model"][0], "--induction", "--sequences", 4, "--length", 8)
    assert [(row["layer"], row["head"]) for row in rows] == [
        (i, j) for i in range(3) for j in range(4)
    ]
    assert not any(row["induction_head"] or row["previous_head"] for row in rows)
    assert all(row["induction_lower"] <= row["induction"] <= row["induction_upper"] for row in rows)
    assert {row["n"] for row in rows} == {4}


@pytest.mark.parametrize("architecture", ["bert", "gemma2_window", "mixtral", "bloom"])
def test_other_architectures_are_read(architecture: str, folders: Any) -> None:
    """Encoders, capped scores, experts and eager attention go through the same commands."""
    words = [str(folders(architecture)), "--prompt", "the bear was happy and the river sang"]
    for command in ("analyze", "cross-layer", "attention"):
        rows = rows_of(command, *words)
        assert {row.get("layer") for row in rows} >= {0, 1, 2}
    heads = rows_of("attention", *words)
    tokens = len(
        {
            row["position"]
            for row in rows_of("trajectory", *words, "--neuron", "0:0", "--site", "hidden_out")
        }
    )
    assert {row["n"] for row in heads} == {tokens if architecture == "bert" else tokens - 1}
    found = rows_of("attention", words[0], "--induction", "--sequences", 2, "--length", 6)
    assert len(found) == len(heads)


WRONG: list[tuple[str, list[str], str]] = [
    ("analyze", ["--sites", "hiden_out"], "did you mean hidden_out?"),
    ("analyze", ["--layers", "9"], "layers: 0, 1, 2"),
    ("analyze", ["--layers", "a-b"], "write all, 0,6,-1 or 0-5"),
    ("cross-layer", ["--site", "attn_weights"], "compare another site"),
    ("cross-layer", ["--steps", "8"], "no step 8; there are 4"),
    ("trajectory", ["--neuron", "2"], "write layer:index, such as 2:17"),
    ("trajectory", ["--neuron", "1:99999"], "no neuron 1:99999; mlp_act of layer 1 has"),
    ("trajectory", [], "Missing option '--neuron'"),
    ("attention", ["--layers", "5"], "layers: 0, 1, 2"),
    ("heatmap", ["--cmap", "viridos"], "did you mean viridis?"),
    ("heatmap", ["--source", "hiddenout"], "did you mean hidden_out?"),
    ("heatmap", ["--per-head"], "only attn_weights has a picture a head"),
    ("compare", ["nowhere"], "no captured run and no NPZ files"),
    ("inspect", ["--steps", "1"], "No such option"),
]


@pytest.mark.parametrize(("command", "words", "told"), WRONG)
def test_wrong_input_is_answered_in_a_line(
    command: str, words: list[str], told: str, sources: dict[str, list[str]], tmp_path: Path
) -> None:
    """Each mistake is said with what would be right, and the exit code is not 0."""
    out = ["--out", str(tmp_path)] if command == "heatmap" else []
    assert told in error_of(command, *sources["run"], *words, *out)


def test_a_model_needs_a_prompt_and_induction_none(sources: dict[str, list[str]]) -> None:
    """What belongs to a model is asked for, or refused."""
    assert "--prompt" in error_of("analyze", sources["model"][0])
    assert "no tokens" in error_of("analyze", sources["model"][0], "--prompt", "")
    assert "no model folder" in error_of("analyze", "./nowhere", "--prompt", "a")
    assert "leave --prompt out" in error_of("attention", *sources["model"], "--induction")


def test_the_pages_commands_run(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of docs/microscope.md prints something, as it stands there."""
    (tmp_path / "models").symlink_to(root / "models")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"^```sh\n(.*?)^```",
        (root / "docs" / "microscope.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    commands = [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]
    assert len(commands) > 9
    for words in commands:
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, (words, done.output, done.exception)
        assert done.stdout.count("\n") > 3
    assert len(list(tmp_path.glob("pictures/heatmaps/attn_weights/*_head_*.png"))) == 24
