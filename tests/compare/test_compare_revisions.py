"""Revisions, read through git and DVC in real repositories."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from stratascope.compare.diff import compare, diff
from stratascope.errors import StratascopeError


def test_two_revisions_are_read_through_the_cache(repository: Any) -> None:
    """What the two commits held is compared, whatever lies in the working tree; and why it changed."""
    shutil.rmtree(repository.study / "results")
    found = compare("main~1", repository.second[:8], repository.study)
    assert found.runs.new == ("hope@early", "hope@late")
    assert found.runs.gone == ("loss@early", "loss@late")
    assert [run.label for run in found.runs.changed] == ["news@early", "news@late"]
    assert [str(reason) for reason in found.runs.shared] == [
        'prompt.messages[1].content: "I passed the exam!" -> "I failed the exam!"'
    ]
    moved = {table.table: table.moved for table in found.tables}
    report = moved["intra_run_report"]
    assert set(report["key"]) == {
        "run=news@early source=hidden_in",
        "run=news@early source=hidden_out",
    }
    assert report["change"].to_numpy() == pytest.approx(0.25, abs=1e-6)


def test_nothing_on_disk_changes(repository: Any, shell: Any) -> None:
    """Every file of the working tree, the index, git's objects and DVC's cache are as before."""
    (repository.study / "results/metrics.json").write_text("{}")
    before = shell.hashes(repository.root)
    diff("main~1", "main", repository.study)
    diff("main~1", ".", repository.study)
    assert shell.hashes(repository.root) == before


def test_the_working_tree_is_compared_as_it_lies(repository: Any) -> None:
    """`.` is what is on disk now, committed or not."""
    path = repository.study / "results/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["checkpoints"]["early"]["intra_run"]["hidden_in"]["cosine"] += 0.5
    path.write_text(json.dumps(metrics))
    moved = compare("HEAD", ".", repository.study).metrics.moved
    assert moved["key"].to_list() == ["checkpoints.early.intra_run.hidden_in.cosine"]
    assert moved["change"].to_list() == pytest.approx([0.5])


def test_activations_are_never_asked_for(repository: Any) -> None:
    """A cache that has lost every tensor file still gives the whole comparison."""
    files = [p for p in (repository.root / ".dvc/cache").rglob("*") if p.is_file()]
    tensors = [p for p in files if p.read_bytes()[:5] in (b"news@", b"loss@", b"hope@")]
    assert len(tensors) == 6  # three scenarios on two checkpoints
    for path in tensors:
        path.unlink()
    assert compare("main~1", "main", repository.study).numbers > 0


@pytest.mark.parametrize("lost", ["everything", "one table"])
def test_a_file_that_is_nowhere_is_named_with_the_remedy(lost: str, repository: Any) -> None:
    """Neither cache nor remote: one line says which file and that `dvc fetch` brings it."""
    cache = repository.root / ".dvc/cache"
    if lost == "everything":
        shutil.rmtree(cache)
    else:
        wanted = (repository.study / "results/tables/discrimination.csv").read_bytes()
        for path in [p for p in cache.rglob("*") if p.is_file()]:
            if path.read_bytes() == wanted:
                path.unlink()
    with pytest.raises(StratascopeError, match="dvc fetch --all-commits") as error:
        diff("main", "main~1", repository.study)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("main: ")
    assert "lab/study/results" in str(error.value)
    assert ("discrimination.csv" in str(error.value)) == (lost == "one table")


def test_an_old_commit_comes_from_the_remote_of_today(repository: Any, tmp_path: Path) -> None:
    """With an empty cache, commits from before the remote was set are read from it, too."""
    remote = tmp_path / "remote"
    (repository.root / ".dvc/config").write_text(
        f"[core]\n    remote = store\n['remote \"store\"']\n    url = {remote}\n"
    )
    # A local remote has the cache's layout.
    (repository.root / ".dvc/cache").rename(remote)
    assert len(compare(repository.first, "main", repository.study).runs.changed) == 2
    assert not (repository.root / ".dvc/cache").exists()


@pytest.mark.parametrize("subdir", [False, True])
def test_dvc_may_begin_at_the_root_or_in_the_study(
    subdir: bool, shell: Any, tmp_path: Path
) -> None:
    """`dvc init` and `dvc init --subdir` both work for a study below git's root."""
    made = shell.make_repository(tmp_path / "clone", "deep/study", subdir=subdir)
    assert compare(made.first, made.second, made.study).runs.new == ("hope@early", "hope@late")


def test_results_in_git_itself(made: Any, shell: Any, tmp_path: Path) -> None:
    """Without DVC, results and scenarios that git holds are read at each commit."""
    shell.git(tmp_path, "init", "-q", "-b", "main")
    made.write(tmp_path)
    shell.commit(tmp_path, "one")
    made.but(max_new_tokens=50).write(tmp_path)
    shell.commit(tmp_path, "two")
    found = compare("HEAD~1", "HEAD", tmp_path)
    assert [str(reason) for reason in found.runs.shared] == ["generation.max_new_tokens: 24 -> 50"]


def test_a_revision_without_results_says_so(made: Any, shell: Any, tmp_path: Path) -> None:
    """A commit from before the study is an error that names the folder looked for."""
    shell.git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "README").write_text("soon")
    shell.commit(tmp_path, "none")
    made.write(tmp_path / "study")
    with pytest.raises(StratascopeError, match=r"holds no results of the study.*study/results"):
        diff("HEAD", ".", tmp_path / "study")


def test_a_config_of_another_version_costs_only_itself(repository: Any) -> None:
    """A config that does not parse today is noted; runs and measures are compared all the same."""
    (repository.study / "config/config.yaml").write_text("long_gone: 1\n")
    found = compare("main", ".", repository.study)
    assert len(found.runs.unchanged) == 4
    assert "long_gone" in found.notes[0]


def test_scenarios_outside_the_repository_are_not_written_anywhere(
    made: Any, shell: Any, tmp_path: Path
) -> None:
    """A config that names scenarios by an absolute path or far above is read, never followed out."""
    root = tmp_path / "clone"
    shell.git(made.write(root), "init", "-q", "-b", "main")
    (tmp_path / "outside").mkdir()
    config = root / "config/config.yaml"
    config.write_text(f"scenarios: [{tmp_path}/outside/x.yaml, ../../../outside/y.yaml]\n")
    shell.commit(root, "one")
    compare("HEAD", "HEAD", root)
    assert not list((tmp_path / "outside").iterdir())


def test_without_dvc_folders_compare_and_revisions_say_what_is_missing(
    repository: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC is needed for revisions alone, and its absence is said in one line."""
    for name in [n for n in sys.modules if n == "dvc" or n.startswith("dvc.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dvc", None)
    assert "Nothing moved" in diff(".", str(repository.study), repository.study)
    with pytest.raises(StratascopeError, match="pip install dvc"):
        diff("main", ".", repository.study)
