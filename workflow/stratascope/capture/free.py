"""What is free on this machine: memory that this process may still take, and disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
# Where a control group says how much memory it may take, how much it takes, and what of that is only
# cached files, in both versions of control groups. A scheduler or a container sets such limits.
V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_ram(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Bytes of memory that this process can have in all, what it has already included."""
    free = min([_available(proc), *_allowed(proc, cgroups)])
    return free + _own(proc)


def free_disk(folder: Path) -> int:
    """Bytes that can be written below ``folder``, which need not be there yet."""
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(place).free


def _available(proc: Path) -> int:
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    # Not Linux: no more than there is at all.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _own(proc: Path) -> int:
    """What this process has. Files that it maps are not counted: they are free to everybody."""
    for line in _lines(proc / "self" / "status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def _allowed(proc: Path, cgroups: Path) -> Iterator[int]:
    """What the control groups of this process still allow it, from its own up to the outermost."""
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            top, files = cgroups, V2
        elif "memory" in controllers.split(","):
            top, files = cgroups / "memory", V1
        else:
            continue
        folder = top / name.lstrip("/")
        for place in (folder, *folder.parents):
            yield from _left(place, *files)
            if place == top:
                break


def _left(group: Path, limit: str, usage: str, cached: str) -> Iterator[int]:
    most, now = "".join(_lines(group / limit)), "".join(_lines(group / usage))
    if most.isdigit() and now.isdigit():
        stat = dict(line.split() for line in _lines(group / "memory.stat"))
        yield max(0, int(most) - int(now) + int(stat.get(cached, 0)))


def _lines(path: Path) -> list[str]:
    """The lines of a file of the kernel's; none where there is no such file."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
