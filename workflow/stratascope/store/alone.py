"""One process at a time makes a target.

A Snakemake that is killed leaves its jobs running in Slurm, and the same command starts them a second
time: the second waits for the first, and finds its work done.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(root: Path, target: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Make ``target`` of the study in ``root`` while no other process does, on whichever machine.

    Where the file system knows no locks between machines, only this machine's processes wait.
    """
    folder = root / ".snakemake" / "stratascope"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{target.parent.name}-{target.stem}.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{target}: another process is making it; waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            say(f"{folder}: a file system without locks; start no second snakemake on this study")
        yield
