"""Labels of messages: what they change, and which are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stratascope.errors import StratascopeError
from stratascope.study.plan import Plan

Planner = Callable[[], Plan]
GREETING = "content: Hello there.\n"


def label(study: Path, name: str, text: str = GREETING, file: str = "talk") -> None:
    path = study / "scenarios" / f"{file}.yaml"
    before = path.read_text()
    assert text in before
    path.write_text(before.replace(text, f"{text}      label: {name}\n", 1))


def test_a_label_makes_the_tables_again_and_nothing_else(study: Path, plan: Planner) -> None:
    """Runs, references, jobs and states keep their digests; those of tables and report change."""
    before = plan()
    label(study, "joy")
    after = plan()
    for kept in ("runs", "captures", "states"):
        names = [
            [getattr(item, "folder", None) or item.name for item in getattr(found, kept)]
            for found in (before, after)
        ]
        assert names[0] == names[1]
    assert after.tables_digest != before.tables_digest
    assert after.report_digest != before.report_digest
    assert before.told == {}
    assert after.told == {f"talk@{name}": ("joy", None, None) for name in ("early", "late")}


def test_a_label_is_in_no_record_of_a_message(study: Path, plan: Planner) -> None:
    """What is dumped for digests, prefixes and run.json is role and content alone."""
    label(study, "joy")
    run = next(run for run in plan().runs if run.parent == "talk")
    assert run.messages[0].label == "joy"
    assert run.messages[0].model_dump(mode="json") == {"role": "user", "content": "Hello there."}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("joi", r"talk\.yaml: prompt\.messages\[0\]\.label: 'joi' is no label .* did you mean 'joy'\?"),
        ("grief", r"'grief' is no label of reference_states; labels: joy$"),
    ],
)  # fmt: skip
def test_a_label_is_that_of_a_reference(
    study: Path, plan: Planner, name: str, message: str
) -> None:
    """Another one is an error that names the file, the place, and what would be right."""
    label(study, name)
    with pytest.raises(StratascopeError, match=message):
        plan()


def test_references_have_no_labelled_messages(study: Path, plan: Planner) -> None:
    """A reference's message has no such key: what it is stands above it."""
    config = study / "config" / "config.yaml"
    config.write_text(config.read_text().replace("content: I am glad.", "content: Hi, label: joy"))
    with pytest.raises(StratascopeError, match=r"label: unknown key"):
        plan()


def test_one_state_has_one_label(study: Path, plan: Planner) -> None:
    """Two conversations that begin alike cannot be labelled differently there; naming it once is fine."""
    config = study / "config" / "config.yaml"
    other = "    - {label: calm, messages: [{role: user, content: All is quiet.}]}\n"
    config.write_text(config.read_text() + other)
    talk = (study / "scenarios" / "talk.yaml").read_text()
    (study / "scenarios" / "again.yaml").write_text(talk.replace("name: talk", "name: again"))
    label(study, "joy")
    assert len(plan().told) == 2
    label(study, "calm", file="again")
    with pytest.raises(
        StratascopeError, match=r"message 0 is labelled 'joy', but 'calm' in .*again"
    ):
        plan()
