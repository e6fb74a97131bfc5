"""A study in a git and DVC repository of its own, with two recorded versions; tests work on copies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a clone of this repository holds, beside its study: dvc.yaml and the workflow are used as they are.
CLONED = (".dvc/.gitignore", ".dvc/config", ".dvc/plots", ".dvcignore", ".gitignore", "Snakefile",
          "dvc.yaml", "results/.gitignore", "results/README.md", "workflow")  # fmt: skip

CONFIG = """\
report: {title: A study with a history}
checkpoints:
  first: {id: models/first}
  last: {id: models/last}
defaults:
  model: {dtype: float32, device: cpu}
  generation: {max_new_tokens: 3}
  capture: {attention_weights: false, top_k_probs: 3}
  reference_states:
    - {label: joy, messages: [{role: user, content: I am so happy today!}]}
    - {label: anger, messages: [{role: user, content: I am so angry at my brother.}]}
capture: {threads: 1}
"""
SCENARIO = """\
name: {name}
prompt:
  messages:
    - {{role: user, content: {first}}}
    - {{role: assistant, content: That is how it is.}}
    - {{role: user, content: {second}}}
"""
SCENARIOS = {
    "talk": ("I passed the exam!", "But my brother broke my guitar."),
    "calm": ("The rain is falling.", "I am calm and at peace."),
}
OTHER_WORDS = ("broke my guitar", "found my guitar")

PRODUCTS = ("results/tables/*.csv", "results/metrics.json", "results/report.html")


@dataclass(frozen=True)
class Repository:
    """A working tree, and the commands that a person runs in it."""

    path: Path

    def run(self, *words: str | Path, fails: bool = False) -> str:
        """What a command says; it must end well, or with ``fails`` badly."""
        done = subprocess.run(
            [str(word) for word in words],
            cwd=self.path,
            env=environment(),
            capture_output=True,
            text=True,
        )
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, f"{words}: {done.returncode}\n{said[-6000:]}"
        return said

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command that runs on, all its processes in a group of their own."""
        return subprocess.Popen(
            words,
            cwd=self.path,
            env=environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A shell that starts pytest in the background has all its processes ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def git(self, *words: str | Path) -> str:
        return self.run("git", *words)

    def dvc(self, *words: str | Path, fails: bool = False) -> str:
        return self.run("dvc", *words, fails=fails)

    def stratascope(self, *words: str | Path, fails: bool = False) -> str:
        return self.run(sys.executable, "-m", "stratascope", *words, fails=fails)

    def snakemake(self, *words: str | Path, fails: bool = False) -> str:
        return self.run("snakemake", "--cores", "2", *words, fails=fails)

    def commit(self, message: str, tag: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        self.git("tag", tag)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.path / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def runs(self) -> set[str]:
        """The names of the run folders."""
        return {path.name for path in (self.path / "results" / "runs").iterdir()}

    def bytes_of(self, *patterns: str) -> dict[str, bytes]:
        return {
            path.relative_to(self.path).as_posix(): path.read_bytes()
            for pattern in patterns
            for path in sorted(self.path.glob(pattern))
            if path.is_file()
        }

    def is_quiet(self) -> None:
        """Neither Snakemake nor DVC sees anything to do."""
        assert "Nothing to be done" in self.snakemake("-n")
        assert "up to date" in self.dvc("status")


def environment() -> dict[str, str]:
    """The caller's, with this clone's package and tools first, and a git that knows its author."""
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER")
           for key, value in (("NAME", "Test"), ("EMAIL", "test@example.org"))}  # fmt: skip
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    first = os.pathsep.join(filter(None, [str(ROOT / "workflow"), os.environ.get("PYTHONPATH")]))
    return os.environ | who | {"PATH": path, "PYTHONPATH": first, "DVC_NO_ANALYTICS": "1"}


def write_repository(folder: Path, demo: list[Path]) -> Repository:
    """A clone of this repository whose study is a small one."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in CLONED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / "config").mkdir()
    (folder / "config" / "config.yaml").write_text(CONFIG)
    (folder / "scenarios").mkdir()
    for name, (first, second) in SCENARIOS.items():
        text = SCENARIO.format(name=name, first=first, second=second)
        (folder / "scenarios" / f"{name}.yaml").write_text(text)
    shutil.copytree(demo[0], folder / "models" / "first")
    shutil.copytree(demo[-1], folder / "models" / "last")
    repository = Repository(folder)
    repository.git("init", "--quiet", "--initial-branch", "main")
    return repository


def build_history(folder: Path, demo: list[Path]) -> None:
    """work/ with two versions, `a` and `b` (one scenario changed), both pushed to storage/."""
    work = write_repository(folder / "work", demo)
    work.dvc("remote", "add", "--default", "storage", folder / "storage")
    work.commit("A study", "unstarted")
    work.dvc("repro")
    work.commit("Its results", "a")
    work.edit("scenarios/talk.yaml", *OTHER_WORDS)
    (folder / "second.log").write_text(work.dvc("repro"))
    work.commit("One message changed", "b")
    work.dvc("push", "--all-commits")
    work.git("checkout", "--quiet", "main")


@pytest.fixture(scope="session", autouse=True)
def _own_dvc(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither the user's settings for DVC, nor what it remembers outside of repositories."""
    folder = tmp_path_factory.mktemp("dvc")
    for name in ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        os.environ[name] = str(folder / name.lower())


@pytest.fixture(scope="session")
def history(made_once: Callable[..., Path], demo: list[Path]) -> Path:
    """The folder of the recorded study."""
    return made_once("history", lambda folder: build_history(folder, demo))


@pytest.fixture
def work(history: Path, tmp_path: Path) -> Repository:
    """A copy of the working tree at version `b`, with its cache and everything else."""
    folder = tmp_path / "work"
    shutil.copytree(history / "work", folder, symlinks=True)
    return Repository(folder)


@pytest.fixture
def clone(history: Path, tmp_path: Path) -> Repository:
    """What `git clone` gives: version `b` without any result."""
    Repository(tmp_path).git("clone", "--quiet", history / "work", "clone")
    return Repository(tmp_path / "clone")


@pytest.fixture
def small_disk(work: Repository) -> Iterator[Callable[..., None]]:
    """Put ``results`` of ``work`` on a disk of its own: ``small_disk("size=80m")``."""
    results = work.path / "results"
    mounted = []

    def mount(options: str) -> None:
        aside = work.path / "aside"
        results.rename(aside)
        results.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", options, "stratascope-test", str(results)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no disk of its own could be mounted: {done.stderr.strip()}")
        mounted.append(results)
        shutil.copytree(aside, results, dirs_exist_ok=True, symlinks=True)
        shutil.rmtree(aside)

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
