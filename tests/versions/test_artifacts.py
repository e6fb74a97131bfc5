"""verify finds every flipped bit; prune takes what is ours and unused, and nothing else."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from stratascope.errors import StratascopeError
from stratascope.store.datasets import content_of
from stratascope.store.identity import identify
from stratascope.store.prune import leftovers, remove
from stratascope.store.verify import verify
from stratascope.study.plan import make_plan
from stratascope.versions import restore

pytestmark = pytest.mark.slow

Repository = Any


def flip(path: Path, chosen: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chosen.randrange(len(content))] ^= 1 << chosen.randrange(8)
    path.write_bytes(bytes(content))


def artifacts(root: Path) -> list[Path]:
    """Every file that snakemake left for the present plan or an earlier one."""
    folders = ("runs", "references", "captures", "states", "tables", "stamps")
    files = [p for name in folders for p in (root / "results" / name).rglob("*") if p.is_file()]
    return sorted([*files, root / "results" / "report.html", root / "results" / "metrics.json"])


def test_a_flipped_bit_is_found_and_named(work: Repository) -> None:
    """One bit in any file, run or stamp or table: verify says which file (or who disagrees with it)."""
    count, found = verify(work.path)
    assert not [finding for finding in found if finding.bad]
    unrecorded = {finding.path for finding in found}
    files = artifacts(work.path)
    assert count == len(files)
    chosen = random.Random(0)
    for path in files:
        name = path.relative_to(work.path)
        if name in unrecorded:
            continue
        kept = path.read_bytes()
        for _ in range(3):
            flip(path, chosen)
            bad = [finding for finding in verify(work.path)[1] if finding.bad]
            assert bad, f"{name}: a flipped bit was not found"
            assert any(name == f.path or str(name) in f.detail for f in bad), (name, bad)
            path.write_bytes(kept)
            if path.suffix != ".json":
                break


def test_only_old_indices_have_no_recorded_hash(work: Repository) -> None:
    """Everything of the present study is covered; of earlier ones, all but the index of states."""
    _, found = verify(work.path)
    plan = make_plan(work.path, identify, content_of)
    present = {job.name for job in plan.states}
    for finding in found:
        assert finding.path.parent.name == "states", finding
        assert finding.path.stem not in present, finding


def test_a_missing_file_is_named(work: Repository) -> None:
    """A tensor file, a whole run and a table that went away are each named; the exit code is 1."""
    runs = sorted((work.path / "results" / "runs").glob("calm@*"))
    (runs[0] / "activations.safetensors").unlink()
    shutil.rmtree(runs[1])
    (work.path / "results" / "tables" / "checkpoints.csv").unlink()
    said = work.stratascope("verify", "--format", "csv", fails=True)
    for name in (f"{runs[0].name}/activations.safetensors", f"{runs[1].name}/run.json"):
        assert f"missing,results/runs/{name}" in said
    assert "missing,results/tables/checkpoints.csv" in said
    assert "error:" in said


def test_nothing_to_verify(tmp_path: Path) -> None:
    """An empty folder is not called sound."""
    with pytest.raises(StratascopeError, match="nothing to verify"):
        verify(tmp_path)


def test_prune_lists_and_only_then_deletes(work: Repository) -> None:
    """The dry run deletes nothing; --yes deletes the earlier version's artifacts; the rest is quiet."""
    before = work.bytes_of("results/**/*")
    said = work.stratascope("prune")
    assert said.count("unused  ") >= 2
    assert work.bytes_of("results/**/*") == before
    work.stratascope("prune", "--yes")
    after = work.bytes_of("results/**/*")
    gone = {Path(name).parts[1] for name in set(before) - set(after)}
    assert gone == {"runs", "captures", "states"}
    assert {name: before[name] for name in after} == after
    assert "Nothing to be done" in work.snakemake("-n")
    assert "none is damaged" in work.stratascope("verify")
    assert "0 artifacts" in work.stratascope("prune")


def test_prune_leaves_what_it_did_not_make(work: Repository) -> None:
    """Foreign names, foreign content, notes in a run, links: all are left, and named."""
    results = work.path / "results"
    plan = make_plan(work.path, identify, content_of)
    used = {run.folder for run in plan.runs}
    old = sorted(path for path in (results / "runs").iterdir() if path.name not in used)
    digest = old[0].name.rsplit("-", 1)[1]
    (old[0] / "notes.txt").write_text("mine")
    (results / "runs" / f"empty@first-{digest}").mkdir()
    shutil.copytree(old[1], results / "runs" / f"renamed@last-{digest}")
    (results / "runs" / f"link@first-{digest}").symlink_to(work.path / "models")
    (results / "runs" / "my experiments").mkdir()
    (results / "captures" / f"notes-{digest}.json").write_text('["mine"]')
    (results / "stamps" / f"tables-{digest}.json").write_text(json.dumps({"a": "mine"}))
    (results / "states" / f"mine-{digest}.safetensors").write_text("mine")
    mine = {
        old[0].name, f"empty@first-{digest}", f"renamed@last-{digest}", f"link@first-{digest}",
        "my experiments", f"notes-{digest}.json", f"tables-{digest}.json", f"mine-{digest}.safetensors",
    }  # fmt: skip
    found = leftovers(plan, work.path)
    assert {item.path.name for item in found if not item.ours} == mine
    gone = {item.path for item in remove(found, work.path)}
    assert old[1].relative_to(work.path) in gone
    for item in found:
        assert (work.path / item.path).exists() != item.ours


def test_an_interrupted_prune_is_taken_up_again(work: Repository) -> None:
    """A folder that waited for its deletion when prune was killed goes the next time."""
    runs = work.path / "results" / "runs"
    plan = make_plan(work.path, identify, content_of)
    old = next(item for item in leftovers(plan, work.path) if item.path.parent.name == "runs")
    (work.path / old.path).rename(runs / f".pruned-{old.path.name}")
    remove(leftovers(plan, work.path), work.path)
    assert not list(runs.glob(".pruned-*"))


def test_restore_needs_a_record(work: Repository) -> None:
    """Without dvc.lock the library, too, says what to do."""
    (work.path / "dvc.lock").unlink()
    with pytest.raises(StratascopeError, match="dvc repro"):
        restore(make_plan(work.path, identify, content_of), work.path)
