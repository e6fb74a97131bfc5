"""Before the rules: Snakemake's commands find this package, and a killed Snakemake is forgotten."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO


def use_this_package() -> None:
    """Let shell commands that follow use this package and the Python that runs now.

    Also where the environment is not activated, or another copy of the package is installed in it.
    """
    here = Path(__file__).resolve().parents[2]
    for name, first in (("PYTHONPATH", here), ("PATH", Path(sys.executable).parent)):
        parts = [part for part in os.environ.get(name, "").split(os.pathsep) if part]
        os.environ[name] = os.pathsep.join(dict.fromkeys([str(first), *parts]))


# Held open as long as this process lives: that is what the lock below means.
_ALIVE: list[IO[str]] = []


def forget_killed_process(records: Path) -> None:
    """Let the same command go on after a ``kill -9``: drop what the killed Snakemake left locked.

    ``records`` is the study's ``.snakemake``. Snakemake cannot tell a lock of a dead process from
    one of a living one, and asks for ``--unlock`` and ``--rerun-incomplete``. We can: each Snakemake
    holds a lock of the system's, which ends with its process. And what lies under a final name is
    whole (store/commit.py), so a file marked incomplete that is there is complete.
    """
    import fcntl

    records.mkdir(exist_ok=True)
    alive = (records / "stratascope.lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        alive.close()  # somebody lives (or the file system knows no locks): Snakemake will say so
        return
    _ALIVE.append(alive)
    for name in ("locks", "incomplete"):
        for left in (records / name).rglob("*"):
            if left.is_file():
                left.unlink()
