"""Bring back what DVC remembers of a study, and prove that nothing needs to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.store.needed import missing
from stratascope.study.plan import Plan

QUIET = {"DVC_NO_ANALYTICS": "1"}
LOCK = "dvc.lock"


def restore(plan: Plan, root: Path) -> list[Path]:
    """Fetch the artifacts recorded in dvc.lock; return what the plan still lacks (best: nothing).

    Raises ``StratascopeError`` where nothing was recorded, or DVC cannot bring it, with DVC's words.
    """
    if not (root / LOCK).is_file():
        raise StratascopeError(
            f"{root / LOCK}: not there, so no results were recorded; `dvc repro` makes and records them"
        )
    _dvc(root, "pull")
    return missing(plan, root)


def _dvc(root: Path, *arguments: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own words, no shell
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        env=os.environ | QUIET,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StratascopeError(f"dvc {' '.join(arguments)}: {_error(done.stderr)}")


def _error(said: str) -> str:
    """DVC's error in one line; the warnings before it list hashes, which help nobody."""
    if "missing-files" in said:
        return "the remote lacks what dvc.lock names; whoever recorded it must `dvc push`"
    _, _, error = said.rpartition("ERROR: ")
    return " ".join(error.split()) or "failed"
