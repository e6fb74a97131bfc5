"""Nothing half-written ever lies under a final name: write aside, then rename."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from stratascope.errors import StratascopeError

PARTIAL = ".partial-"


@contextlib.contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A folder to fill, renamed to ``final`` when the block ends well and removed otherwise.

    If another process has made ``final`` meanwhile, its folder stays: equal names mean equal content.
    What killed processes left of the same folder is removed.
    """
    with disk_errors(final):
        partial = _partial(final)
        partial.mkdir()
    try:
        with disk_errors(final):
            yield partial
            _sync(partial)
            if not final.exists():
                os.rename(partial, final)
                _sync(final.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def new_file(final: Path) -> Iterator[Path]:
    """A file to write, moved over ``final`` when the block ends well and removed otherwise."""
    with disk_errors(final):
        partial = _partial(final)
    try:
        with disk_errors(final):
            yield partial
            _sync(partial)
            os.replace(partial, final)
    finally:
        partial.unlink(missing_ok=True)


def _partial(final: Path) -> Path:
    """A name of this process alone beside ``final``; those of processes that died are cleared away.

    Two processes may be at work on one folder: kill Snakemake alone, and its job lives on.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    mine = f"{PARTIAL}{final.name}.{platform.node()}."
    for left in final.parent.glob(f"{glob.escape(mine)}*"):
        process = left.name.removeprefix(mine)
        if process.isdigit() and not _lives(int(process)):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(
                missing_ok=True
            )
    return final.parent / f"{mine}{os.getpid()}"


def _lives(process: int) -> bool:
    if process == os.getpid():
        return False  # only one block of a process writes to a name, and this one begins now
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as JSON, whole or not at all; the same content gives the same bytes."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Say in one line what the disk refused."""
    try:
        yield
    except OSError as error:
        remedy = {
            errno.ENOSPC: "the disk is full; make room or choose another output folder",
            errno.EDQUOT: "your disk quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "permission denied; check who owns the folder",
            errno.EPERM: "not permitted; check who owns the folder",
            errno.ENOTDIR: "a file lies where a folder should be",
            errno.EEXIST: "a file lies where a folder should be",
            errno.ENAMETOOLONG: "the name is too long; shorten the scenario's name",
        }.get(error.errno or 0)
        if remedy is None:
            raise
        raise StratascopeError(f"{place}: cannot be written: {remedy}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
