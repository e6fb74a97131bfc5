"""The microscope's parts that read stored runs: what their jobs depend on, and what pruning takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from stratascope.errors import StratascopeError
from stratascope.store.prune import leftovers
from stratascope.study.microscope import Attention, Heatmaps, Trajectory, neuron_of
from stratascope.study.plan import Plan

Planner = Callable[[], Plan]
ASKED = """\
microscope:
  attention: {scenarios: [talk]}
  induction: {sequences: 8}
  cross_layer: {}
  trajectory: {neurons: ['0:1']}
  heatmaps: {}
"""


@pytest.fixture
def config(study: Path) -> Path:
    path = study / "config" / "config.yaml"
    path.write_text(path.read_text() + ASKED)
    return path


def test_each_part_has_jobs_of_its_own(config: Path, plan: Planner) -> None:
    """A part for each checkpoint; a key of one part renews that part and no other."""
    before = {(job.part, job.checkpoint.name): job.name for job in plan().looks}
    assert set(before) == {
        (part, name)
        for part in ("attention", "induction", "cross_layer", "trajectory", "heatmaps")
        for name in ("early", "late")
    }
    config.write_text(config.read_text().replace("heatmaps: {}", "heatmaps: {cmap: magma}"))
    after = {(job.part, job.checkpoint.name): job.name for job in plan().looks}
    assert {part for (part, _), name in after.items() if name not in before.values()} == {
        "heatmaps"
    }


def test_heads_are_tried_on_the_model_alone(config: Path, study: Path, plan: Planner) -> None:
    """The detectors' job needs no run: a scenario leaves it, the weights and its own keys renew it."""

    def names() -> list[str]:
        return [job.name for job in plan().looks if job.part == "induction"]

    before = names()
    assert all(job.runs == job.after == () for job in plan().looks if job.part == "induction")
    talk = study / "scenarios" / "talk.yaml"
    talk.write_text(talk.read_text().replace("Hello there.", "Good day."))
    assert names() == before
    (study / "models" / "late" / "weights").write_text("later")
    changed = names()
    assert [a == b for a, b in zip(before, changed, strict=True)] == [True, False]
    config.write_text(config.read_text().replace("sequences: 8", "sequences: 9"))
    assert not set(names()) & set(changed)


def test_pruning_takes_pictures_that_no_plan_uses(config: Path, study: Path, plan: Planner) -> None:
    """The index and folder of other settings go, those of the plan stay, and what is not ours is left."""
    used = next(job for job in plan().looks if job.part == "heatmaps")
    old = f"late-{'0' * 12}"
    place = study / "results" / "heatmaps"
    for name, digest in ((used.name, used.digest), (old, "0" * 12)):
        (place / name / "talk@late" / "q").mkdir(parents=True)
        (place / name / "talk@late" / "q" / "layer_00_step_000.png").write_bytes(b"")
        (place / f"{name}.json").write_text(json.dumps({"digest": digest}))
    foreign = place / f"late-{'1' * 12}"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    found = {item.path.name: item.ours for item in leftovers(plan(), study)}
    assert found == {old: True, f"{old}.json": True, foreign.name: False}


def test_mistakes_are_named(config: Path, plan: Planner) -> None:
    """Scenarios, neurons and empty lists that mean nothing are refused where they stand."""
    config.write_text(config.read_text().replace("[talk]", "[tlak]"))
    with pytest.raises(
        StratascopeError, match=r"microscope\.attention\.scenarios.*did you mean 'talk'"
    ):
        plan()
    for model, keys in (
        (Trajectory, {"neurons": ["2.17"]}),
        (Trajectory, {"neurons": []}),
        (Attention, {"layers": []}),
        (Heatmaps, {"normalize": "globally"}),
    ):
        with pytest.raises(ValidationError):
            model.model_validate(keys)
    with pytest.raises(StratascopeError, match="layer:index"):
        neuron_of("2-17")
