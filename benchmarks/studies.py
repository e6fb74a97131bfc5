"""Studies to run whole: a copy of the embedded one, or a tiny one; and the commands that run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from race import SkippedError

CLONE = Path(__file__).resolve().parents[1]
CORES = 2

SMALL_CONFIG = {
    "checkpoints": {"only": {"id": "models/only"}},
    "defaults": {"model": {"dtype": "float32", "device": "cpu"}},
    "capture": {"threads": 1},
}
SMALL_SCENARIO = {
    "name": "small",
    "prompt": {"messages": [{"role": "user", "content": "bababa bababe"}]},
    "generation": {"max_new_tokens": 3},
    "reference_states": [
        {"label": "one", "messages": [{"role": "user", "content": "dadada"}]},
        {"label": "two", "messages": [{"role": "user", "content": "dedede"}]},
    ],
}


def copy_embedded(folder: Path) -> None:
    """The embedded study in a folder of its own, so that the clone's results are left alone."""
    folder.mkdir()
    for name in ("config", "scenarios"):
        shutil.copytree(CLONE / name, folder / name)
    (folder / "models").symlink_to(CLONE / "models")
    planned = _run("-m", "stratascope", "plan", "--directory", str(folder))
    if planned.returncode:
        reason = planned.stderr.strip().splitlines()[-1:] or ["stratascope plan failed"]
        raise SkippedError(f"the embedded study is not complete: {reason[0]}")


def write_small(folder: Path, model: Path) -> None:
    """A study of one scenario on one checkpoint."""
    for name in ("config", "scenarios", "models"):
        (folder / name).mkdir(parents=True)
    (folder / "models" / "only").symlink_to(model)
    write_yaml(folder / "config" / "config.yaml", SMALL_CONFIG)
    write_yaml(folder / "scenarios" / "small.yaml", SMALL_SCENARIO)


def write_yaml(path: Path, content: object) -> None:
    """A YAML file with its keys in their order."""
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def snakemake(folder: Path, snakefile: Path = CLONE / "Snakefile", *more: str) -> str:
    """What ``snakemake --cores 2`` says of the study in ``folder``; ``more`` are further options."""
    arguments = ("--cores", str(CORES), "--snakefile", str(snakefile), "--directory", str(folder))
    done = command("-m", "snakemake", *arguments, *more)
    return done.stdout + done.stderr


def plan(folder: Path) -> list[dict[str, Any]]:
    """The rows of ``stratascope plan``."""
    said = command("-m", "stratascope", "plan", "--directory", str(folder), "--format", "json")
    rows: list[dict[str, Any]] = json.loads(said.stdout)["rows"]
    return rows


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python with ``arguments``; RuntimeError with its last words if it fails."""
    done = _run(*arguments)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(arguments[:3])} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
        )
    return done


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(CLONE / "workflow")}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )
