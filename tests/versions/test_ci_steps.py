"""The steps of .github/workflows/report.yml that do not need GitHub, run here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "report.yml"
Repository = Any


def commands() -> list[str]:
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["report"]["steps"]
    return [step["run"] for step in steps if "run" in step]


def test_the_workflow_leaves_the_work_to_the_script() -> None:
    """Every step is a plain command; only the comment needs GitHub; the targets of make exist."""
    install, work, comment = commands()
    makefile = (ROOT / "Makefile").read_text()
    assert f"\n{install.split()[1]}:" in makefile
    assert "workflow/ci/report.sh" in work
    assert comment.startswith("gh ")


@pytest.mark.slow
def test_the_steps_run_anywhere(clone: Repository) -> None:
    """On a branch with one changed scenario: restored, that one captured, report and diff there."""
    clone.git("checkout", "--quiet", "-b", "feature")
    clone.edit("scenarios/calm.yaml", "rain", "snow")
    # What activation does here, the tests' environment has done.
    work = commands()[1].replace(". .venv/bin/activate\n", "")
    said = clone.run("bash", "-euo", "pipefail", "-c", work)
    assert "What is missing is made now" in said
    assert "calm@first: done" in said
    assert "talk@first: done" not in said
    out = clone.path / "out"
    assert (out / "report.html").stat().st_size > 100_000
    diff = (out / "diff.md").read_text()
    assert "calm@first" in diff
    assert "talk@first" not in diff.split("moved")[0]


@pytest.mark.slow
def test_the_first_report_has_nothing_to_compare_with(clone: Repository) -> None:
    """Where the base recorded nothing, the comment says that, and the report is still made."""
    said = clone.run("bash", "workflow/ci/report.sh", "unstarted", "out")
    assert "nothing needs to run" in said
    assert "nothing to compare" in (clone.path / "out" / "diff.md").read_text()
