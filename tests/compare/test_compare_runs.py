"""Why a run changed, and what else is different about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stratascope.compare.changes import WIDTH, changes, plain
from stratascope.compare.diff import Difference, compare


@pytest.fixture
def against(made: Any, tmp_path: Path) -> Any:
    """Compare the usual study with one that was made differently."""

    def comparing(**how: Any) -> Difference:
        made.write(tmp_path / "a")
        made.but(**how).write(tmp_path / "b")
        return compare(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path)

    return comparing


@pytest.mark.parametrize(
    ("how", "reasons"),
    [
        ({"max_new_tokens": 50}, ["generation.max_new_tokens: 24 -> 50"]),
        ({"stage": 2}, ["stage.version: 1 -> 2"]),
        ({"stage": None}, ['stage: {"name": "capture", "version": 1} -> (absent)']),
        ({"threads": 2}, ["capture threads: 1 -> 2"]),
    ],
)
def test_what_all_changed_runs_share_is_said_once(
    how: dict[str, Any], reasons: list[str], against: Any
) -> None:
    """A setting of the whole study is one reason for all runs, not one for each."""
    runs = against(**how).runs
    assert [str(reason) for reason in runs.shared] == reasons
    assert len(runs.changed) == 4
    assert all(not run.reasons and not run.unexplained for run in runs.changed)


def test_other_weights_under_the_same_name(against: Any) -> None:
    """Retrained weights change the runs of that checkpoint alone, and the identity says why."""
    runs = against(identities={"late": "f" * 64}).runs
    assert [run.label for run in runs.changed] == ["loss@late", "news@late"]
    assert [reason.path for reason in runs.shared] == ["model.identity"]
    assert runs.shared[0].b == '"ffffffffffff"'
    assert runs.unchanged == ("loss@early", "news@early")


def test_one_changed_text_is_shown_where_it_differs(against: Any) -> None:
    """Of a long message, the part around the first difference is shown."""
    runs = against(texts={"news": "I passed the exam!", "loss": "My dog died this night."}).runs
    assert [str(reason) for reason in runs.shared] == [
        'prompt.messages[1].content: "My dog died last night." -> "My dog died this night."'
    ]


def test_another_environment_is_a_warning_also_for_equal_runs(against: Any) -> None:
    """Other library versions are listed with the number of runs, and are no reason."""
    runs = against(torch="2.14.0").runs
    assert len(runs.unchanged) == 4
    assert [(str(item.change), item.count) for item in runs.environments] == [
        ('torch: "2.13.0" -> "2.14.0"', 4)
    ]


def test_the_same_definition_with_another_answer(against: Any) -> None:
    """Equal digests with unequal generated texts are called out: the run is not reproducible."""
    runs = against(answers={"news": "Well done."}).runs
    assert [str(answer) for answer in runs.unsteady] == [
        'news@early: "An answer to news." -> "Well done."',
        'news@late: "An answer to news." -> "Well done."',
    ]


def test_reference_states_are_reported_beside_the_runs(against: Any) -> None:
    """References belong to no run's digest, but move what is measured: so they are named."""
    found = against(reference="I am sad.")
    assert len(found.runs.unchanged) == 4
    assert [(str(item.change), item.count) for item in found.references] == [
        ('reference_states[0].messages[0].content: "I am glad." -> "I am sad."', 2)
    ]


def test_another_checkpoint_is_seen_in_the_config(against: Any) -> None:
    """An added checkpoint brings its runs, and config.yaml names it."""
    found = against(checkpoints=("early", "late", "last"))
    assert found.runs.new == ("loss@last", "news@last")
    assert [change.path for change in found.config] == ["checkpoints.last"]
    assert found.config[0].a == "(absent)"


def test_a_run_without_its_record_is_known_by_the_manifest(made: Any, tmp_path: Path) -> None:
    """Where run.json was not kept, the manifests still tell changed runs from equal ones."""
    made.write(tmp_path / "a")
    made.but(texts={"news": "Other.", "loss": made.texts["loss"]}).write(tmp_path / "b")
    for name in ("a", "b"):
        for path in (tmp_path / name).glob("results/runs/*/run.json"):
            path.unlink()
    runs = compare(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path).runs
    assert [run.label for run in runs.changed] == ["news@early", "news@late"]
    assert all("run.json is not there" in str(run.unexplained) for run in runs.changed)
    assert runs.unchanged == ("loss@early", "loss@late")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({"x": 1}, {"x": 1}, []),
        ({"x": True}, {"x": 1}, ["x: true -> 1"]),
        ({"x": [1, 2]}, {"x": [1, 3, 4]}, ["x[1]: 2 -> 3", "x[2]: (absent) -> 4"]),
        ({"x": {"y": None}}, {"x": {"z": 0}}, ["x.y: null -> (absent)", "x.z: (absent) -> 0"]),
        ({"x": "all"}, {"x": [0, 1]}, ['x: "all" -> [0, 1]']),
    ],
)
def test_changes_name_the_deepest_key(a: Any, b: Any, expected: list[str]) -> None:
    """Lists by place, mappings by key, and a missing key is not a null."""
    assert [str(change) for change in changes(a, b)] == expected


def test_long_texts_are_cut_around_the_difference() -> None:
    """Both windows hold the differing character, however far in, and stay short."""
    (change,) = changes({"x": "a" * 500 + "b" + "c" * 500}, {"x": "a" * 500 + "d" + "c" * 500})
    assert "b" in change.a
    assert "d" in change.b
    assert len(change.a) <= WIDTH + 8


def test_what_a_terminal_would_obey_is_escaped() -> None:
    """Escape sequences, line ends, direction marks and half surrogates are shown, not sent."""
    shown = plain("\x1b[31m\n\u202e\x9b\ud800é日")
    assert shown == "\\x1b[31m\\n\\u202e\\x9b\\ud800é日"
