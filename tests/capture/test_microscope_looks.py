"""Stages attention, cross_layer, trajectory and heatmaps on a captured run, and their part of the report."""

from __future__ import annotations

import hashlib
import json
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from stratascope.analyses.microscope import draw_runs, look_at_runs
from stratascope.capture.run import capture_run
from stratascope.cli import cli
from stratascope.errors import StratascopeError
from stratascope.report.sections import heads
from stratascope.report.tables import TABLES
from stratascope.store.runs import RunFolder
from stratascope.store.verify import verify
from stratascope.study.looks import LookJob
from stratascope.study.microscope import Attention, CrossLayer, Heatmaps, Trajectory

PARTS: dict[str, tuple[Any, list[str]]] = {
    "attention": (Attention(layers=(0, 2)), ["attention", "--layers", "0,2"]),
    "cross_layer": (CrossLayer(site="attn_out"), ["cross-layer", "--site", "attn_out"]),
    "trajectory": (Trajectory(neurons=("1:5", "0:2")), ["trajectory", "--neuron", "1:5", "--neuron", "0:2"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def captured(loaded_model: Any, make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A captured run of 4 steps, and the folder that holds it."""
    loaded = loaded_model("llama+chat")
    run, folder = make_run(loaded), tmp_path_factory.mktemp("runs")
    (folder / run.folder).mkdir()
    capture_run(loaded, run, folder / run.folder)
    return run, folder


def job_of(captured: Any, part: str, spec: Any) -> LookJob:
    run, _ = captured
    return LookJob(part, spec, run.checkpoint, (run,), ())


def looked(captured: Any, part: str, spec: Any, target: Path) -> dict[str, Any]:
    job = job_of(captured, part, spec)
    look_at_runs(job, captured[1], target)
    content: dict[str, Any] = json.loads(target.read_text())
    assert content["digest"] == job.digest
    return content


@pytest.mark.parametrize("part", PARTS)
def test_a_stage_leaves_what_the_command_prints(part: str, captured: Any, tmp_path: Path) -> None:
    """The index has the command's rows, with run and checkpoint, and the same bytes twice."""
    run, folder = captured
    spec, words = PARTS[part]
    rows = looked(captured, part, spec, tmp_path / "a.json")["rows"]
    place = str(folder / run.folder)
    done = CliRunner().invoke(cli, [words[0], place, *words[1:], "--format", "json"])
    more = {"run": run.label, "checkpoint": run.checkpoint.name}
    assert rows == [more | row for row in json.loads(done.stdout)["rows"]]
    looked(captured, part, spec, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_patterns_are_the_weights(captured: Any, tmp_path: Path) -> None:
    """What the report draws of a head is its attention among the first tokens, to half a level."""
    run, folder = captured
    found = looked(captured, "attention", Attention(), tmp_path / "a.json")["patterns"]
    count = len(found["tokens"])
    assert count == 32
    assert (found["layers"], found["heads"], len(found["weights"])) == ([0, 1, 2], 4, 12)
    weights = RunFolder.open(folder / run.folder).activations.float32("layer_01/attn_weights")
    levels = np.frombuffer(bytes.fromhex(found["weights"][1 * 4 + 3]), np.uint8)
    expected = weights[3, :count, :count][np.tril_indices(count)]
    np.testing.assert_allclose(levels / 255, expected, atol=0.5 / 255 + 1e-6)


def test_pictures_are_recorded_and_checked(captured: Any, tmp_path: Path) -> None:
    """The index records every picture; a picture that changed or is gone is found by `verify`."""
    run, folder = captured
    spec = Heatmaps(
        sources=("hidden_out", "attn_weights"), layers=(0, 2), steps=(0, 9), per_head=True
    )
    job = job_of(captured, "heatmaps", spec)
    target = tmp_path / "results" / "heatmaps" / f"{job.name}.json"
    draw_runs(job, folder, target)
    content = json.loads(target.read_text())
    # The run has no step 9; attention has a picture a head, the stream one a layer.
    assert len(content["files"]) == len(content["rows"]) == 2 + 2 * 4
    pictures = target.with_suffix("")
    for name, digest in content["files"].items():
        assert name.startswith(f"{run.label}/")
        assert hashlib.sha256((pictures / name).read_bytes()).hexdigest() == digest
    assert {grid["site"] for grid in content["grids"]} == {"hidden_out", "attn_weights"}
    assert not [finding for finding in verify(tmp_path)[1] if finding.bad]
    first, second = sorted(content["files"])[:2]
    (pictures / first).write_bytes(b"other")
    (pictures / second).unlink()
    bad = {finding.path.name: finding.state for finding in verify(tmp_path)[1] if finding.bad}
    assert bad == {Path(first).name: "damaged", Path(second).name: "missing"}


def test_small_pictures_are_means_of_blocks(captured: Any, tmp_path: Path) -> None:
    """Each cell of a small picture is the mean of the numbers from its beginning to the next."""
    run, folder = captured
    job = job_of(captured, "heatmaps", Heatmaps(sources=("mlp_act",), layers=(1,), steps=(0,)))
    draw_runs(job, folder, tmp_path / "h.json")
    (grid,) = json.loads((tmp_path / "h.json").read_text())["grids"]
    stored = RunFolder.open(folder / run.folder)
    values = stored.activations.float32("layer_01/mlp_act")[: stored.info["rows"]["prompt"]]
    rows, columns = grid["tokens"], grid["columns"]
    assert (len(rows), len(columns)) == (min(32, len(values)), 48)
    for i, j in ((0, 0), (len(rows) - 1, 47), (7, 20)):
        below = [*rows, len(values)][i + 1]
        right = [*columns, values.shape[1]][j + 1]
        block = values[rows[i] : below, columns[j] : right]
        assert grid["values"][i][j] == pytest.approx(block.mean(), rel=1e-4, abs=1e-6)


def test_mistakes_of_a_study_are_named(captured: Any, tmp_path: Path) -> None:
    """A colour map, a layer and a neuron that are not there stop the job, and leave nothing."""
    _, folder = captured
    with pytest.raises(StratascopeError, match="did you mean magma"):
        draw_runs(job_of(captured, "heatmaps", Heatmaps(cmap="magna")), folder, tmp_path / "h.json")
    for part, spec, told in (
        ("attention", Attention(layers=(7,)), "layers: 0, 1, 2"),
        ("cross_layer", CrossLayer(site="hiddenout"), "did you mean hidden_out"),
        ("trajectory", Trajectory(neurons=("0:9999",)), "no neuron 0:9999"),
    ):
        with pytest.raises(StratascopeError, match=told):
            look_at_runs(job_of(captured, part, spec), folder, tmp_path / "x.json")
    assert not list(tmp_path.rglob("*.*"))


def test_the_report_draws_what_was_seen(captured: Any, tmp_path: Path) -> None:
    """Tables have every row; each figure has a view for each choice, with the table's numbers."""
    followed = PARTS["trajectory"][0]
    analyses = {
        "attention": looked(captured, "attention", Attention(), tmp_path / "attention.json"),
        "cross_layers": looked(
            captured, "cross_layer", CrossLayer(), tmp_path / "cross_layers.json"
        ),
        "trajectories": looked(captured, "trajectory", followed, tmp_path / "trajectories.json"),
    }
    draw_runs(job_of(captured, "heatmaps", Heatmaps(steps=(0,))), captured[1], tmp_path / "h.json")
    study: Any = SimpleNamespace(
        analyses=SimpleNamespace(**{name: (tmp_path / f"{name}.json",) for name in analyses})
    )
    tables = {
        name: pd.concat(part[name] for part in TABLES[name].build(study))
        for name in ("attention", "cross_layer", "trajectory")
    }
    for name, content in zip(tables, analyses.values(), strict=True):
        assert tuple(tables[name].columns) == TABLES[name].columns
        assert len(tables[name]) == len(content["rows"])
    data: Any = SimpleNamespace(
        table=lambda name: tables.get(name, pd.DataFrame()),
        patterns=(analyses["attention"]["patterns"],),
        grids=json.loads((tmp_path / "h.json").read_text())["grids"],
    )
    content = heads.build(data)
    assert content is not None
    assert list(content.figures) == ["heads", "patterns", "layers", "neurons", "pictures"]
    assert content.context["left_out"] == []
    for figure in content.figures.values():
        options = [[value for value, _ in axis.options] for axis in figure.axes]
        assert set(figure.views) == {"/".join(combined) for combined in product(*options)}
    label = captured[0].label
    drawn = content.figures["heads"].views[f"first/{label}"]["data"][0]["z"]
    expected = [row["first"] for row in analyses["attention"]["rows"]]
    np.testing.assert_allclose(drawn.ravel(), expected)
    drawn = content.figures["layers"].views[f"cka/{label}"]["data"][0]["z"]
    np.testing.assert_allclose(drawn.ravel(), [r["cka"] for r in analyses["cross_layers"]["rows"]])
    empty: Any = SimpleNamespace(table=lambda name: pd.DataFrame(), patterns=(), grids=())
    assert heads.build(empty) is None
