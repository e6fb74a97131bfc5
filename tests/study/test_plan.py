"""The plan: what a study will make, and which digests change when what changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stratascope.errors import StratascopeError
from stratascope.study import stages
from stratascope.study.plan import Plan, make_plan

Planner = Callable[[], Plan]


def digests(plan: Plan) -> dict[str, str]:
    return {run.label: run.digest for run in plan.runs}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_every_run_of_a_study_is_planned(plan: Planner) -> None:
    """Scenarios times checkpoints, with one run for each message where that is asked for."""
    assert sorted(digests(plan())) == [
        f"{scenario}@{checkpoint}"
        for scenario in ("steps_msg01", "steps_msg02", "talk")
        for checkpoint in ("early", "late")
    ]
    assert [job.checkpoint.name for job in plan().states] == ["early", "late"]
    assert [len(job.references) for job in plan().captures] == [1, 1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: talk\n", "# a comment\nname: talk\n\n"),
        ("      content: Hello there.", '      content: "Hello there."'),
        ("name: talk\nprompt:", "generation: {max_new_tokens: 50}\nname: talk\nprompt:"),
        (
            "    - role: user\n      content: How are you?",
            "    - content: How are you?\n      role: user",
        ),
    ],
)
def test_how_a_scenario_is_written_changes_nothing(
    study: Path, plan: Planner, old: str, new: str
) -> None:
    """Comments, quotes, written-out defaults and key order are not part of any digest."""
    before = plan()
    edit(study / "scenarios" / "talk.yaml", old, new)
    os.utime(study / "scenarios" / "steps.yaml", (1, 1))
    after = plan()
    assert digests(after) == digests(before)
    assert after.report_digest == before.report_digest


def test_renaming_a_scenario_file_changes_nothing(study: Path, plan: Planner) -> None:
    """A scenario is known by its name, not by its file's."""
    before = plan()
    (study / "scenarios" / "talk.yaml").rename(study / "scenarios" / "other.yml")
    assert plan().report_digest == before.report_digest


def test_a_changed_message_changes_its_scenario_alone(study: Path, plan: Planner) -> None:
    """One message: that scenario's runs get new digests, no other run does; the report follows."""
    before = plan()
    edit(study / "scenarios" / "talk.yaml", "How are you?", "How is the dog?")
    after = plan()
    changed = {label for label, value in digests(after).items() if digests(before)[label] != value}
    assert changed == {"talk@early", "talk@late"}
    assert after.tables_digest != before.tables_digest
    assert after.report_digest != before.report_digest
    edit(study / "scenarios" / "talk.yaml", "How is the dog?", "How are you?")
    assert plan().report_digest == before.report_digest


def test_a_prefix_run_depends_on_its_prefix_alone(study: Path, plan: Planner) -> None:
    """With run_at_each_message, a changed last message leaves the runs before it as they are."""
    before = digests(plan())
    edit(study / "scenarios" / "steps.yaml", "I am sad.", "I am happy.")
    after = digests(plan())
    assert after["steps_msg01@early"] == before["steps_msg01@early"]
    assert after["steps_msg02@early"] != before["steps_msg02@early"]


def test_references_are_artifacts_of_their_own(study: Path, plan: Planner) -> None:
    """A changed reference is captured again, and no run is."""
    before = plan()
    edit(study / "config" / "config.yaml", "I am glad.", "I am so glad.")
    after = plan()
    assert digests(after) == digests(before)
    assert after.captures[0].references != before.captures[0].references
    assert after.report_digest != before.report_digest


def test_a_changed_checkpoint_changes_its_runs_alone(study: Path, plan: Planner) -> None:
    """New weights under an old name are a new checkpoint, and no other."""
    before = digests(plan())
    (study / "models" / "late" / "weights").write_text("later")
    after = digests(plan())
    assert {label for label in after if after[label] != before[label]} == {
        label for label in after if label.endswith("@late")
    }


def test_the_title_changes_the_report_alone(study: Path, plan: Planner) -> None:
    """A new title captures nothing and compares nothing again."""
    before = plan()
    edit(study / "config" / "config.yaml", "checkpoints:", "report: {title: New}\ncheckpoints:")
    after = plan()
    assert after.tables_digest == before.tables_digest
    assert after.report_digest != before.report_digest


def test_a_stage_version_is_part_of_what_it_makes(
    plan: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raising a stage's version renews its artifacts and what follows, not what comes before."""
    before = plan()
    runs, tables, report = digests(before), before.tables_digest, before.report_digest
    monkeypatch.setitem(stages.STAGES, "tables", stages.Stage(99, ()))
    after = plan()
    assert digests(after) == runs
    assert after.tables_digest != tables
    assert after.report_digest != report


def test_shards_deal_out_every_run_and_reference_once(study: Path, plan: Planner) -> None:
    """K jobs share a checkpoint's runs; no two jobs write one folder; runs keep their digests."""
    before = plan()
    edit(study / "config" / "config.yaml", "checkpoints:", "capture: {jobs: 2}\ncheckpoints:")
    after = plan()
    assert digests(after) == digests(before)
    jobs = [job for job in after.captures if job.checkpoint.name == "early"]
    assert [len(job.runs) for job in jobs] == [2, 1]
    assert [len(job.references) for job in jobs] == [1, 0]
    assert len({job.name for job in after.captures}) == 4


def test_a_scenario_with_its_own_model_runs_there(study: Path, plan: Planner) -> None:
    """`model.id` in a scenario names the one checkpoint that it runs on."""
    edit(study / "scenarios" / "talk.yaml", "name: talk", "name: talk\nmodel: {id: models/late}")
    labels = sorted(run.label for run in plan().runs if run.parent == "talk")
    assert labels == ["talk@late"]


def test_threads_are_part_of_a_run(study: Path, plan: Planner) -> None:
    """The thread count can change results, so it is part of the digest."""
    before = digests(plan())
    edit(study / "config" / "config.yaml", "checkpoints:", "capture: {threads: 3}\ncheckpoints:")
    assert not set(before.values()) & set(digests(plan()).values())


def test_planning_is_fast(study: Path, plan: Planner) -> None:
    """A plan of 600 runs is made in well under a second on any machine that runs models."""
    text = (study / "scenarios" / "talk.yaml").read_text()
    for i in range(300):
        (study / "scenarios" / f"t{i}.yaml").write_text(text.replace("talk", f"t{i}"))
    started = time.process_time()
    assert len(plan().runs) == 606
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("where", "old", "new", "said"),
    [
        ("scenarios/talk.yaml", "prompt:", "prompt:\n  mesages: []", "did you mean `messages`?"),
        ("scenarios/talk.yaml", "role: assistant", "role: robot", "prompt.messages[1].role"),
        ("scenarios/talk.yaml", "name: talk", "name: a/b", "cannot be a name"),
        ("scenarios/talk.yaml", "name: talk", "name: ..", "cannot be a name"),
        ("scenarios/talk.yaml", "name: talk", "name: steps", "already used by"),
        ("scenarios/talk.yaml", "name: talk", "name: Steps", "already used by"),
        ("scenarios/talk.yaml", "name: talk", "name: steps_msg01", "rename one scenario"),
        (
            "scenarios/talk.yaml",
            "name: talk",
            "name: talk\nmodel: {id: models/none}",
            "models/none",
        ),
        ("scenarios/talk.yaml", "name: talk", "name: talk\nmodel: {id: a/b/c}", "no model folder"),
        (
            "scenarios/talk.yaml",
            "name: talk",
            "name: talk\nmodel: {id: m, dtyp: float16}",
            "talk.yaml: model.dtyp: unknown key; did you mean `dtype`?",
        ),
        (
            "scenarios/talk.yaml",
            "name: talk",
            "name: talk\ncapture: {layers: []}",
            "an empty list captures nothing",
        ),
        (
            "scenarios/talk.yaml",
            "name: talk",
            "name: talk\nreference_states: [{label: a b, messages: [{role: user, content: x}]}]",
            "reference_states[0].label",
        ),
        (
            "config/config.yaml",
            "label: joy",
            "label: j/oy",
            "config.yaml: defaults.reference_states",
        ),
        ("config/config.yaml", "defaults:", "defauts: {}\ndefaults:", "did you mean `defaults`?"),
        ("config/config.yaml", "  model:", "  modle:", "defaults.modle: unknown key"),
        ("config/config.yaml", "early: {", "ea/rly: {", "cannot name a checkpoint"),
        (
            "config/config.yaml",
            "models/early}",
            "models/gone}",
            "checkpoints.early.id: no model folder",
        ),
        ("config/config.yaml", "models/early}", "models/early, revision: x}", "has no revision"),
        ("config/config.yaml", "defaults:", "scenarios: [nowhere]\ndefaults:", "nowhere: no such"),
    ],
)
def test_a_slip_is_named_with_its_place_and_remedy(
    study: Path, plan: Planner, where: str, old: str, new: str, said: str
) -> None:
    """Every mistake in a study's files is one line that names the file and what would be right."""
    edit(study / where, old, new)
    with pytest.raises(StratascopeError) as caught:
        plan()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_messages_are_refused(study: Path, plan: Planner) -> None:
    """A scenario without any message is an error that names the key."""
    (study / "scenarios" / "talk.yaml").write_text("name: talk\nprompt: {messages: []}\n")
    with pytest.raises(StratascopeError, match=r"prompt\.messages"):
        plan()


def test_a_hub_model_must_be_pinned(study: Path, plan: Planner) -> None:
    """A floating hub revision is refused until the lock file pins it; the pin is its identity."""
    edit(study / "config" / "config.yaml", "models/early}", "some/model, revision: step1}")
    with pytest.raises(StratascopeError, match="stratascope lock"):
        plan()
    lock = study / "config" / "lock.json"
    lock.write_text('{"some/model@step1": "' + "a" * 40 + '"}')
    first = plan()
    checkpoint = first.states[0].checkpoint
    assert (checkpoint.source, checkpoint.revision) == ("some/model", "a" * 40)
    lock.write_text('{"some/model@step1": "' + "b" * 40 + '"}')
    assert digests(plan())["talk@early"] != digests(first)["talk@early"]
    lock.write_text('{"some/model@step1": "main"}')
    with pytest.raises(StratascopeError, match="40 hex digits"):
        plan()


def test_a_commit_needs_no_lock(study: Path, plan: Planner) -> None:
    """A full commit as revision pins itself."""
    edit(study / "config" / "config.yaml", "models/early}", f"some/model, revision: {'c' * 40}}}")
    assert plan().states[0].checkpoint.revision == "c" * 40


def test_a_folder_without_a_config_says_what_a_study_is(tmp_path: Path) -> None:
    """Pointing at a folder that is no study explains what one holds."""
    with pytest.raises(StratascopeError, match=r"config/config\.yaml"):
        make_plan(tmp_path, lambda _: "x", lambda *_: "x")
