"""Recorded hashes: what every artifact says its files hold, so that a flipped bit is found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits; read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def recorded(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """The hash of each file by its path below ``root``, sorted."""
    return {path.relative_to(root).as_posix(): sha256(path) for path in sorted(paths)}
