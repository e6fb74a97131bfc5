"""The microscope's rules in a finished study: nothing is captured again, and nothing is made twice."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stratascope.store.datasets import content_of
from stratascope.store.identity import identify
from stratascope.store.layout import Layout
from stratascope.study.plan import make_plan

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]
ASKED = """\
microscope:
  attention: {scenarios: [talk]}
  induction: {sequences: 2, length: 5, layers: [1]}
  cross_layer: {scenarios: [talk]}
  trajectory: {scenarios: [talk], neurons: ['1:3']}
  heatmaps: {scenarios: [talk], layers: [0], steps: [0]}
"""


def test_what_is_asked_for_is_made_from_stored_runs(study: Path, snakemake: Command) -> None:
    """Rules leave an index for each part and checkpoint, and pictures; a second call has nothing to do."""
    config = study / "config" / "config.yaml"
    config.write_text(config.read_text() + ASKED)
    looks = make_plan(study, identify, content_of).looks
    targets = [
        str(Layout.of_study().of_look(job)) for job in looks if job.checkpoint.name == "last"
    ]
    assert len(targets) == 5
    done = snakemake(study, *targets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all((study / target).is_file() for target in targets)
    (heads,) = [json.loads((study / name).read_text()) for name in targets if "/induction/" in name]
    assert [(row["layer"], row["head"], row["n"]) for row in heads["rows"]] == [
        (1, head, 2) for head in range(4)
    ]
    assert not (study / "logs" / "capture").exists()
    assert [path.name for path in study.glob("results/heatmaps/*/talk@last/hidden_out/*")] == [
        "layer_00_step_000.png"
    ]
    again = snakemake(study, "-n", *targets)
    assert "Nothing to be done" in again.stdout + again.stderr
