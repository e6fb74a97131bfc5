"""DVC on the run folders of a large study (many runs of four small files each): `dvc status` of what
is recorded, against hashing every file; `dvc push` into an empty folder and `dvc pull` out of it into
a fresh clone, against copying the same files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from bench import Bench
from race import Row, Side, race
from stratascope.store.runs import RUN_FILES

# Bytes of run.json, steps.json, activations and snapshots of a demo run without attention weights.
FILE_BYTES = (4_000, 36_000, 450_000, 60_000)


def measure(bench: Bench) -> list[Row]:
    """Status, push and pull of twice as many runs as the table of pairs has."""
    study = bench.folder / "recorded"
    count = 2 * bench.sizes.runs
    _record(study, count)
    dvc = {
        "status": ("dvc status", lambda _: _dvc(study, "status"), "hash every file", _hash_all),
        "push": ("dvc push", lambda folder: _push(study, folder), "copy", _copy),
        "pull": ("dvc pull", lambda folder: _pull(study, folder), "copy", _copy),
    }
    rows = []
    for what, (ours, side, other, against) in dvc.items():
        sides: dict[str, Side] = {ours: side, other: lambda folder, do=against: do(study, folder)}
        done = race(sides, lambda *_: "", bench.sizes.rounds)
        size = count * sum(FILE_BYTES) / 1e6
        note = f"{count * len(RUN_FILES)} files, {size:.0f} MB"
        rows.append(done.row(f"{what} of {count} runs", ours, other, reads="cost", note=note))
    return rows


def _record(study: Path, count: int) -> None:
    chosen = np.random.default_rng(0)
    for i in range(count):
        folder = study / "runs" / f"scenario{i:03d}@checkpoint-{i:012x}"
        folder.mkdir(parents=True)
        for name, size in zip(RUN_FILES, FILE_BYTES, strict=True):
            (folder / name).write_bytes(chosen.bytes(size))
    _dvc(study, "init", "--no-scm")
    _dvc(study, "add", "runs")
    _dvc(study, "remote", "add", "--default", "storage", str(study.with_name("storage")))
    _dvc(study, "push")


def _push(study: Path, folder: Path) -> None:
    local = f"['remote \"storage\"']\n    url = {folder}\n"
    (study / ".dvc" / "config.local").write_text(local)
    # DVC remembers what a remote has; this one is another, though it has the same name.
    shutil.rmtree(study / ".dvc" / "tmp", ignore_errors=True)
    _dvc(study, "push")
    (study / ".dvc" / "config.local").unlink()
    pushed = sum(1 for path in (folder / "files").rglob("*") if path.is_file())
    assert pushed > len(list((study / "runs").iterdir())), "not everything was pushed"


def _pull(study: Path, folder: Path) -> None:
    (folder / ".dvc").mkdir()
    shutil.copy(study / ".dvc" / "config", folder / ".dvc")
    shutil.copy(study / "runs.dvc", folder)
    _dvc(folder, "pull")
    assert len(list((folder / "runs").iterdir())) == len(list((study / "runs").iterdir()))


def _hash_all(study: Path, _: Path) -> None:
    for path in sorted((study / "runs").rglob("*.*")):
        if path.is_file():
            with path.open("rb") as stream:
                hashlib.file_digest(stream, "md5")


def _copy(study: Path, folder: Path) -> None:
    shutil.copytree(study / "runs", folder / "runs")


def _dvc(folder: Path, *words: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    quiet = os.environ | {"DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *words, "--quiet"]
    done = subprocess.run(
        command, cwd=folder, env=quiet, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"dvc {' '.join(words)} failed:\n{done.stderr[-2000:]}")
