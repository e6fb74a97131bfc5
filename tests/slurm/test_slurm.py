"""The workflow on a real Slurm of one node: the same bytes, also after jobs and Slurm itself were killed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONF = Path("/etc/slurm/slurm.conf")
EMBEDDED = "STRATASCOPE_SLURM_EMBEDDED"
BYTES = ("results/tables/*.csv", "results/metrics.json", "results/report.html")
BYTES += (
    "results/features/*/*.safetensors",
    "results/states/*",
    "results/runs/*/hidden*.safetensors",
)


def _lacking() -> str | None:
    for command in ("slurmctld", "slurmd", "munged"):
        if shutil.which(command) is None:
            return f"no {command}: run tests/slurm/install.sh as root"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return "no snakemake-executor-plugin-slurm: pip install '.[slurm]'"
    if os.getuid() != 0:
        return "Slurm's daemons are started as root"
    return f"{CONF} is there: this machine has a Slurm of its own" if CONF.exists() else None


LACKING = _lacking()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(LACKING is not None, reason=str(LACKING)),
    pytest.mark.xdist_group("slurm"),
]

STARTED: list[subprocess.Popen[str]] = []
CONFIG = """\
checkpoints:
  first: {id: models/first}
  last: {id: models/last}
defaults:
  model: {dtype: float32, device: cpu}
  generation: {max_new_tokens: 4}
  reference_states:
    - {label: joy, messages: [{role: user, content: I am so happy today!}]}
    - {label: anger, messages: [{role: user, content: I am so angry at my brother.}]}
datasets:
  lines: {data: lines.jsonl, layers: [0, 5], shard_texts: 4, similarity: {bootstrap: 0, permutations: 2}}
capture: {threads: 1}
"""
SCENARIO = """\
name: %s
generation: {max_new_tokens: %d}
prompt:
  messages:
    - {role: user, content: The rain is falling and I am calm.}
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Path]:
    state = tmp_path / "slurm"
    # So many that new jobs start while Slurm still counts on those of the killed node.
    started = subprocess.run([HERE / "start.sh", state, "8"], capture_output=True, text=True)
    try:
        assert started.returncode == 0, started.stderr
        yield state
    finally:
        for process in STARTED:
            process.kill()
        subprocess.run([HERE / "stop.sh", state], check=True)


def write_study(folder: Path, demo: list[Path]) -> Path:
    (folder / "config").mkdir(parents=True)
    (folder / "scenarios").mkdir()
    (folder / "config" / "config.yaml").write_text(CONFIG)
    # The second is long enough to be killed in.
    for name, tokens in (("a_short", 4), ("b_long", 150)):
        (folder / "scenarios" / f"{name}.yaml").write_text(SCENARIO % (name, tokens))
    lines = [json.dumps({"text": f"I have {i} dogs and {i * i} cats."}) for i in range(12)]
    (folder / "lines.jsonl").write_text("\n".join(lines))
    shutil.copytree(demo[0], folder / "models" / "first")
    shutil.copytree(demo[-1], folder / "models" / "last")
    return folder


def snakemake(study: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "--directory", study]
    with (study / "said").open("a") as out:
        process = subprocess.Popen(
            [*command, *arguments], cwd=ROOT, stdout=out, stderr=out, text=True
        )
    STARTED.append(process)
    return process


def by_slurm(study: Path, *arguments: str) -> subprocess.Popen[str]:
    settings = ["--slurm-no-account", "--slurm-status-command", "squeue"]
    settings += ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"]
    settings += ["--seconds-between-status-checks", "2", *arguments]
    return snakemake(study, "--workflow-profile", "workflow/profiles/slurm", *settings)


def until(there: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def kill_node(state: Path) -> None:
    """Slurm's daemon, and all that it started, as when a node loses its power."""
    victims = [int((state / "slurmd.pid").read_text())]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name, environment = (process / "comm").read_text(), (process / "environ").read_bytes()
        except OSError:
            continue
        if name.startswith("slurmstepd") or b"SLURM_JOB_ID=" in environment:
            victims.append(int(process.name))
    for victim in victims:
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue


def jobs(name: str) -> list[str]:
    said = subprocess.run(["squeue", "-h", "-o", "%i|%k"], capture_output=True, text=True)
    return [line.split("|")[0] for line in said.stdout.splitlines() if name in line]


def runs(study: Path) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in study.glob("results/runs/*/run.json")}


def same(one: Path, other: Path, hashed: Callable[..., dict[str, str]]) -> None:
    made = hashed(one, *BYTES)
    assert made
    assert made == hashed(other, *BYTES)


def test_killed_jobs_a_killed_node_and_the_same_bytes(
    slurm: Path, tmp_path: Path, demo: list[Path], hashed: Callable[..., dict[str, str]]
) -> None:
    """A job cancelled, node and Snakemake killed: the same command ends in the local run's bytes."""
    local = write_study(tmp_path / "local", demo)
    study = shutil.copytree(local, tmp_path / "study")
    began = by_slurm(study)
    until(lambda: [name for name in runs(study) if "a_short@first" in name])
    cancelled = jobs("rule_capture_wildcards_first")
    subprocess.run(["scancel", *cancelled], check=True)
    until(lambda: [name for name in runs(study) if "a_short@last" in name])
    kill_node(slurm)
    began.kill()
    began.wait()
    kept = runs(study)
    assert cancelled
    assert kept
    assert not list(study.glob("results/captures/*.json")), "killed too late to prove anything"
    subprocess.run(["slurmd"], check=True)

    alone = snakemake(local, "--cores", "1")
    assert by_slurm(study).wait() == 0, (study / "said").read_text()
    assert alone.wait() == 0, (local / "said").read_text()
    same(study, local, hashed)
    now = runs(study)
    assert len(now) == 4
    assert {name: now[name] for name in kept} == kept


@pytest.mark.skipif(EMBEDDED not in os.environ, reason="minutes: make slurm-embedded")
def test_the_embedded_study(
    slurm: Path, tmp_path: Path, hashed: Callable[..., dict[str, str]]
) -> None:
    """The embedded study by Slurm leaves the tables and the report of a local run."""
    folders = [tmp_path / "local", tmp_path / "study"]
    for folder in folders:
        for name in ("config", "scenarios", "models"):
            shutil.copytree(ROOT / name, folder / name)
    for folder, start in zip(
        folders, (lambda f: snakemake(f, "--cores", "2"), by_slurm), strict=True
    ):
        assert start(folder).wait() == 0, (folder / "said").read_text()
    same(folders[1], folders[0], hashed)
