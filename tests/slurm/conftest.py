"""What the tests by Slurm share with those of the workflow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def hashed() -> Callable[..., dict[str, str]]:
    """Content hashes of the files below a folder that match patterns."""

    def hashes(folder: Path, *patterns: str) -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for pattern in patterns
            for path in sorted(folder.glob(pattern))
        }

    return hashes
