"""Which GPUs a job of this machine takes, so that two jobs never share one while another is idle.

A job that needs fewer GPUs than it sees takes free ones by a lock on a file each, and hides the others
from the process by ``CUDA_VISIBLE_DEVICES``. The system gives a lock back when the process ends,
however it ends. Under Slurm a job sees what it was given, no more, and nothing is changed.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

VISIBLE = "CUDA_VISIBLE_DEVICES"
# How often a job that found no free GPU looks again, in seconds.
AGAIN = 2.0


def visible_gpus(devices: Path = Path("/dev")) -> list[str]:
    """The GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` names them; no torch needed."""
    told = os.environ.get(VISIBLE)
    if told is not None:
        return [name.strip() for name in told.split(",") if name.strip()]
    found = [p for p in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)]
    return [str(i) for i in range(len(found))]


def slot_folder() -> Path:
    """Where the locks lie: of this user on this machine, and of the allocation that he is in."""
    job = os.environ.get("SLURM_JOB_ID")
    name = f"stratascope-gpus-{os.getuid()}" + (f"-{job}" if job else "")
    return Path(tempfile.gettempdir()) / name


@contextmanager
def own_gpus(count: int, say: Callable[[str], None], slots: Path | None = None) -> Iterator[None]:
    """Run with ``count`` GPUs that no other job of this machine takes; waits until so many are free.

    Does nothing where no more than ``count`` are visible, or none is needed (0). Enter it before torch
    is imported: CUDA reads the variable once.
    """
    seen, before = visible_gpus(), os.environ.get(VISIBLE)
    if count < 1 or len(seen) <= count:
        yield
        return
    folder = slots or slot_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    held = _take(folder, seen, count)
    if not held:
        say(
            f"no {count} of {len(seen)} GPUs are free; waiting (`--resources gpu=N` starts fewer jobs)"
        )
    while not held:
        time.sleep(AGAIN)
        held = _take(folder, seen, count)
    os.environ[VISIBLE] = ",".join(held)
    say(f"runs on GPU {os.environ[VISIBLE]} of {', '.join(seen)}")
    try:
        yield
    finally:
        for lock in held.values():
            lock.close()
        os.environ.pop(VISIBLE)
        if before is not None:
            os.environ[VISIBLE] = before


def _take(folder: Path, seen: list[str], count: int) -> dict[str, IO[str]]:
    """Locks on the first ``count`` free GPUs, or none at all."""
    held: dict[str, IO[str]] = {}
    for name in seen:
        lock: IO[str] = (folder / re.sub(r"[^\w.-]", "_", name)).open("w", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        held[name] = lock
        if len(held) == count:
            return held
    for lock in held.values():
        lock.close()
    return {}
