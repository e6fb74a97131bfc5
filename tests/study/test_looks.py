"""The microscope in the plan: only what is asked for, and again only what changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stratascope.errors import StratascopeError
from stratascope.study.plan import Plan

Planner = Callable[[], Plan]
ASKED = "microscope: {lens: {scenarios: [talk]}, residual: {scenarios: [talk]}}\n"


@pytest.fixture
def config(study: Path) -> Path:
    path = study / "config" / "config.yaml"
    path.write_text(path.read_text() + ASKED)
    return path


def looks(plan: Plan) -> dict[tuple[str, str], str]:
    return {(job.part, job.checkpoint.name): job.name for job in plan.looks}


def test_a_study_that_asks_for_nothing_plans_nothing(study: Path, plan: Planner) -> None:
    """Without `microscope` there is no job, and an empty one leaves every digest as it was."""
    before = plan()
    assert before.looks == ()
    path = study / "config" / "config.yaml"
    path.write_text(path.read_text() + "microscope: {}\n")
    assert (plan().tables_digest, plan().report_digest) == (
        before.tables_digest,
        before.report_digest,
    )


def test_one_job_a_part_and_checkpoint(config: Path, plan: Planner) -> None:
    """Each part that is named has a job for each checkpoint, over the runs of the scenarios named."""
    found = plan().looks
    assert [(job.part, job.checkpoint.name) for job in found] == [
        ("lens", "early"), ("lens", "late"), ("residual", "early"), ("residual", "late"),
    ]  # fmt: skip
    for job in found:
        assert [run.label for run in job.runs] == [f"talk@{job.checkpoint.name}"]
        assert all(set(job.runs) & set(after.runs) for after in job.after)
    config.write_text(config.read_text().replace("{scenarios: [talk]}", "{}", 1))
    assert len(plan().looks[0].runs) == 3  # both prefixes of the other scenario, too


def test_only_what_changed_is_looked_at_again(config: Path, study: Path, plan: Planner) -> None:
    """A setting renews its own part; another scenario's text nothing; the weights their checkpoint."""
    before = looks(plan())
    config.write_text(config.read_text().replace("lens: {", "lens: {top_k: 3, "))
    after = looks(plan())
    assert {key for key in after if after[key] != before[key]} == {
        ("lens", "early"),
        ("lens", "late"),
    }
    other = study / "scenarios" / "steps.yaml"
    other.write_text(other.read_text().replace("I am sad.", "I am glad."))
    assert looks(plan()) == after
    (study / "models" / "late" / "weights").write_text("later")
    assert {key for key, name in looks(plan()).items() if after[key] != name} == {
        ("lens", "late"),
        ("residual", "late"),
    }


def test_tables_and_report_follow(config: Path, plan: Planner) -> None:
    """What the microscope sees is in the tables' digest, and so in the report's."""
    before = plan()
    config.write_text(config.read_text().replace("lens: {", "lens: {positions: all, "))
    assert plan().tables_digest != before.tables_digest
    assert plan().report_digest != before.report_digest


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "[talk]",
            "[tlak]",
            r"microscope\.lens\.scenarios: no scenario 'tlak'; did you mean 'talk'",
        ),
        ("lens: {", "lens: {top: 3, ", "top_k"),
        ("lens: {", "lens: {sites: [mlp_act], ", "hidden_in"),
    ],
)
def test_mistakes_are_named(config: Path, plan: Planner, old: str, new: str, words: str) -> None:
    """A scenario, key or site that does not exist, with what would be right."""
    config.write_text(config.read_text().replace(old, new, 1))
    with pytest.raises(StratascopeError, match=words):
        plan()


def test_a_scenario_must_record_what_is_read(config: Path, study: Path, plan: Planner) -> None:
    """A part whose sites a scenario does not record is refused, with the switch."""
    talk = study / "scenarios" / "talk.yaml"
    talk.write_text(talk.read_text() + "capture: {mlp: false}\n")
    with pytest.raises(
        StratascopeError, match=r"residual\.scenarios: talk records no mlp.*capture\.mlp"
    ):
        plan()
