"""A small real study on two demo checkpoints, run once; tests change copies of it."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]

CONFIG = """\
report: {title: A study of the tests}
checkpoints:
  first: {id: models/first}
  last: {id: models/last}
defaults:
  model: {dtype: float32, device: cpu}
  generation: {max_new_tokens: 6}
  reference_states:
    - {label: joy, messages: [{role: user, content: I am so happy today!}]}
    - {label: anger, messages: [{role: user, content: I am so angry at my brother.}]}
capture: {threads: 1}
"""
TALK = """\
name: talk
prompt:
  messages:
    - {role: system, content: You are a warm friend.}
    - {role: user, content: I passed the exam! I am so happy.}
    - {role: assistant, content: How wonderful that you passed the exam!}
    - {role: user, content: But my brother broke my guitar.}
"""
STEPS = """\
name: steps
prompt:
  run_at_each_message: true
  messages:
    - {role: user, content: The rain is falling and I am calm.}
    - {role: assistant, content: It is good to be calm.}
    - {role: user, content: Now I am afraid of the storm.}
"""


def write_study(folder: Path, demo: list[Path]) -> None:
    (folder / "config").mkdir(parents=True)
    (folder / "scenarios").mkdir()
    (folder / "config" / "config.yaml").write_text(CONFIG)
    (folder / "scenarios" / "talk.yaml").write_text(TALK)
    (folder / "scenarios" / "steps.yaml").write_text(STEPS)
    (folder / "models").mkdir()
    shutil.copytree(demo[0], folder / "models" / "first")
    shutil.copytree(demo[-1], folder / "models" / "last")


@pytest.fixture(scope="session")
def finished(made_once: Callable[..., Path], demo: list[Path], snakemake: Command) -> Path:
    def make(folder: Path) -> None:
        write_study(folder, demo)
        done = snakemake(folder)
        assert done.returncode == 0, done.stdout + done.stderr

    return made_once("finished", make)


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """The finished study as a fresh clone with copied results sees it: no records, shuffled times."""
    folder = tmp_path / "study"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns(".snakemake", "logs"))
    shuffle_times(folder)
    return folder


@pytest.fixture
def unstarted(demo: list[Path], tmp_path: Path) -> Path:
    folder = tmp_path / "unstarted"
    write_study(folder, demo)
    return folder


def shuffle_times(folder: Path) -> None:
    chosen = random.Random(0)
    for path in sorted(folder.rglob("*")):
        when = chosen.randrange(10**9, 17 * 10**8)
        os.utime(path, (when, when))


def hashes(folder: Path, *patterns: str) -> dict[str, str]:
    """Content hashes of the files that match, by path below ``folder``."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def hashed() -> Callable[..., dict[str, str]]:
    return hashes
