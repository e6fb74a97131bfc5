"""What all tests share: the clone, its demo checkpoints, and a cache that is not the user's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]
Command = Callable[..., subprocess.CompletedProcess[str]]
# `make simulations` sets it: minutes of draws, for when a measure or a null changes.
SIMULATIONS = "STRATASCOPE_SIMULATIONS"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Simulations run on request."""
    for item in items:
        if item.get_closest_marker("simulation") and SIMULATIONS not in os.environ:
            item.add_marker(pytest.mark.skip(reason=f"{SIMULATIONS} is not set"))


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def demo() -> list[Path]:
    """The demo checkpoints, first to last."""
    found = (ROOT / "models" / "demo").glob("step-*")
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``made_once(name, make)``: a folder that ``make(folder)`` fills, and that tests only read.

    It is made by whichever of pytest's workers asks first; the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                done.touch()
        return folder

    return made


def _run(arguments: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", *arguments], capture_output=True, text=True, **options
    )


@pytest.fixture(scope="session")
def stratascope() -> Command:
    """Run the `stratascope` command in a folder: ``stratascope(folder, "plan")``."""
    return lambda folder, *arguments: _run(["stratascope", *map(str, arguments)], cwd=folder)


@pytest.fixture(scope="session")
def snakemake() -> Command:
    """Run the clone's workflow on a study folder: ``snakemake(folder, "-n")``."""
    fixed = ["snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "2", "--directory"]
    return lambda folder, *arguments: _run([*fixed, str(folder), *map(str, arguments)])
