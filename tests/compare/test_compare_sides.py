"""What A and B may name, and what is said of a name that means nothing or too much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stratascope.compare.diff import diff
from stratascope.compare.sides import resolve
from stratascope.errors import StratascopeError


def rows(a: str, b: str, directory: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(diff(a, b, directory, "json"))["rows"]
    return found


def of(kind: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in found if row["kind"] == kind]


def test_a_study_folder_and_its_results_folder_are_the_same_side(repository: Any) -> None:
    """A study's folder, its results folder and `.` with --directory give the same numbers."""
    study = repository.study
    for other in (str(study), str(study / "results"), "."):
        found = rows(str(study), other, study)
        assert not of("measure", found)
        assert len(of("unchanged", found)) == 4


def test_two_checkpoints_are_joined_by_scenario(repository: Any) -> None:
    """Two checkpoints of one study compare scenario by scenario, each with the other model named."""
    found = rows("checkpoint:early", "late", repository.study)
    assert {row["key"] for row in of("changed", found)} == {"news", "hope"}
    reasons = {row["measure"] for row in of("reason", found)}
    assert reasons == {"model.id", "model.identity"}
    in_both = {row["table"]: row["count"] for row in of("rows", found)}
    assert in_both["intra_run_report"] == 4  # two scenarios, two sources
    assert in_both["comparison_report"] == 4  # one pair within each checkpoint
    assert in_both["role_averages"] == 12  # two scenarios and the checkpoint itself
    assert not [row for row in of("measure", found) if "@" in row["key"]]
    assert not [row for row in found if str(row["measure"]).startswith(("drift_", "order"))]


def test_a_checkpoint_with_itself_has_not_moved(repository: Any) -> None:
    """Exact equality is said in words, with the number of numbers."""
    text = diff("early", "checkpoint:early", repository.study)
    assert "Nothing moved: all " in text
    assert "Largest first" not in text


def test_an_unknown_name_says_what_was_looked_for(repository: Any) -> None:
    """One line names the folder, the repository and the study's checkpoints."""
    with pytest.raises(StratascopeError) as error:
        resolve("earyl", repository.study)
    message = str(error.value)
    assert "\n" not in message
    for part in ("earyl: neither a folder", "git revision of", "did you mean checkpoint:early?"):
        assert part in message


def test_an_ambiguous_name_is_an_error(
    repository: Any, shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A branch named as a checkpoint, or as a folder, is refused, with a way to write each."""
    shell.git(repository.root, "branch", "early")
    monkeypatch.chdir(repository.study)
    with pytest.raises(StratascopeError, match=r"early: ambiguous: .*checkpoint:early"):
        resolve("early", repository.study)
    shell.git(repository.root, "branch", "results")
    with pytest.raises(StratascopeError, match=r"results: ambiguous: .*\./results"):
        resolve("results", repository.study)
    assert resolve("./results", repository.study).results.samefile(repository.study / "results")
    assert resolve("checkpoint:early", repository.study).checkpoint == "early"


def test_a_checkpoint_against_a_revision_is_refused(repository: Any) -> None:
    """A checkpoint and a whole study share no runs to join, and the message says what would do."""
    with pytest.raises(StratascopeError, match="compares with another checkpoint"):
        diff("checkpoint:early", "main", repository.study)


@pytest.mark.parametrize("word", ["./nowhere", "checkpoint:nowhere", "-x", "", "@{", "HEAD~99"])
def test_what_cannot_be_found_is_one_line(word: str, repository: Any) -> None:
    """No odd name gives a traceback."""
    with pytest.raises(StratascopeError) as error:
        diff(word, ".", repository.study)
    assert "\n" not in str(error.value)


def test_a_folder_outside_any_repository_still_compares(made: Any, tmp_path: Path) -> None:
    """Two plain folders need neither git nor DVC."""
    for name in ("one", "two"):
        made.write(tmp_path / name)
    text = diff(str(tmp_path / "one"), str(tmp_path / "two"), tmp_path)
    assert "Nothing moved" in text


def test_an_older_run_beside_the_present_one_does_not_count(made: Any, tmp_path: Path) -> None:
    """Of several folders with one label, the one that the scenario describes is compared."""
    first, second = tmp_path / "first", tmp_path / "second"
    made.write(first)
    # There and back again: the study is as before, but the folder of the way lies there, and is later.
    made.write(second)
    detour = made.but(texts={"news": "Later.", "loss": "Later."}, created="2027-01-01")
    detour.write(second)
    made.write(second)
    assert len(list((second / "results/runs").iterdir())) == 8
    found = rows(str(first), str(second), tmp_path)
    assert len(of("unchanged", found)) == 4
    assert not of("changed", found)


def test_an_export_beside_a_run_is_no_run(made: Any, tmp_path: Path) -> None:
    """A folder with a run's run.json under another name is not taken for the run."""
    study = made.write(tmp_path / "study")
    run = next(iter(sorted((study / "results/runs").iterdir())))
    export = run.with_name(f"{run.name}-npz")
    export.mkdir()
    (export / "run.json").write_text((run / "run.json").read_text().replace("exam", "test"))
    assert len(of("unchanged", rows(str(study), str(study), tmp_path))) == 4
