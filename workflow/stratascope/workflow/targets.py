"""Where targets lie, whose job each is, and whether what it is made from is still there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from stratascope.errors import StratascopeError
from stratascope.store.features import is_whole
from stratascope.store.layout import Layout
from stratascope.study.features import FeatureSet

LAYOUT = Layout.of_study()


class _Named(Protocol):
    @property
    def name(self) -> str: ...


J = TypeVar("J", bound=_Named)
T = TypeVar("T")


def job_of(jobs: tuple[J, ...], target: Path) -> J:
    """The job that makes ``target``. Raises StratascopeError if the plan has none."""
    for job in jobs:
        if job.name == target.stem:
            return job
    raise StratascopeError(
        f"{target}: not a target of the plan; the study may have changed since: run snakemake again"
    )


def captured(folder: Path, opened: Callable[[Path], T]) -> T:
    """What ``opened`` reads in ``folder``. Raises StratascopeError if that is gone."""
    if not folder.is_dir():
        raise StratascopeError(
            f"{folder}: captured once, and gone since; delete the manifests in {LAYOUT.captures} and "
            "run snakemake again"
        )
    return opened(folder)


def extracted(root: Path, *sets: FeatureSet) -> Path:
    """The folder of all features, if those of ``sets`` lie in it with all their files."""
    place = root / LAYOUT.features
    for item in sets:
        if not is_whole(place / item.folder):
            raise StratascopeError(
                f"{place / item.folder}: extracted once, and gone since, or part of it; delete the "
                f"manifests in {LAYOUT.extractions} and run snakemake again"
            )
    return place
