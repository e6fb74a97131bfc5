"""A git revision's results, through DVC's cache or remote, without touching the working tree."""

from __future__ import annotations

import importlib.util
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stratascope.compare.tables import READ
from stratascope.errors import StratascopeError
from stratascope.store.layout import RESULTS, Layout
from stratascope.store.questions import QUESTIONS
from stratascope.study.config import CONFIG, SUFFIXES, read_study
from stratascope.study.questions import questions_file
from stratascope.study.yamlfile import read_mapping

LAYOUT = Layout.of_study()


@dataclass(frozen=True)
class Revision:
    """A commit: its full hash, the name it was asked for by, and the repository's root."""

    commit: str
    word: str
    root: Path


def has_dvc() -> bool:
    """Whether DVC is installed, which reads revisions."""
    return importlib.util.find_spec("dvc") is not None


def find_revision(word: str, directory: Path) -> Revision | None:
    """The commit that ``word`` names in the repository around ``directory``, or ``None``."""
    if not has_dvc() or word.startswith("-"):
        return None
    from dvc.scm import RevError, SCM, SCMError, resolve_rev  # isort: skip

    try:
        git = SCM(str(directory), search_parent_directories=True)
    except SCMError:
        return None
    try:
        return Revision(resolve_rev(git, word), word, Path(git.root_dir))
    except (RevError, SCMError):
        return None
    finally:
        git.close()


def copy_revision(revision: Revision, directory: Path, into: Path) -> Path:
    """Copy what is compared of a study at a revision below ``into``; return the study's folder.

    Tables, metrics, manifests, what each run and question set says of itself, the config and the
    scenario files with their questions: never activations. Raises ``StratascopeError`` if the
    revision has no results, or one of the files is in neither DVC's cache nor its remote.
    """
    below = directory.resolve().relative_to(revision.root.resolve()).as_posix()
    with _opened(revision, directory) as files:
        tree = _Tree(files, revision, "" if below == "." else below, into)
        tree.copy_all(_wanted(tree))
        if not (tree.study / RESULTS).is_dir():
            raise StratascopeError(
                f"{revision.word}: holds no results of the study: neither git nor DVC tracks "
                f"{tree.at(RESULTS.as_posix())} there ({revision.commit[:10]})"
            )
        # Which scenario files there are, the config says.
        if (tree.study / CONFIG).is_file():
            scenarios = _scenario_files(tree)
            tree.copy_all(scenarios)
            tree.copy_all(_questions_of(tree, scenarios))
    return tree.study


@dataclass(frozen=True)
class _Tree:
    """The study's files at a revision, and the folder that they are copied to."""

    files: Any
    revision: Revision
    below: str
    into: Path

    @property
    def study(self) -> Path:
        return self.into / self.below

    def at(self, path: str) -> str:
        return posixpath.normpath(posixpath.join(self.below, path))

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none if it is not there."""
        if not self.files.isdir(self.at(folder)):
            return []
        return sorted(posixpath.basename(p) for p in self.files.ls(self.at(folder), detail=False))

    def copy_all(self, paths: list[str]) -> None:
        for path in paths:
            source = self.at(path)
            # A config may name scenarios anywhere; only what lies in the repository is at a revision.
            if not source.startswith(("../", "/")) and self.files.isfile(source):
                self._copy(source)

    def _copy(self, source: str) -> None:
        target = self.into / source
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.files.get_file(source, str(target))
        except FileNotFoundError as error:
            raise _missing(self.revision, source) from error


def _wanted(tree: _Tree) -> list[str]:
    """What is read of results/ and config/, as paths in the study."""
    runs, captures = LAYOUT.runs.as_posix(), LAYOUT.captures.as_posix()
    questions = LAYOUT.questions.as_posix()
    return [
        CONFIG,
        LAYOUT.metrics.as_posix(),
        *((LAYOUT.tables / f"{name}.csv").as_posix() for name in READ),
        *(f"{captures}/{name}" for name in tree.names(captures) if name.endswith(".json")),
        *(f"{runs}/{name}/run.json" for name in tree.names(runs)),
        *(f"{questions}/{name}/{QUESTIONS}" for name in tree.names(questions)),
    ]


def _scenario_files(tree: _Tree) -> list[str]:
    try:
        entries = read_study(tree.study).scenarios
    except StratascopeError:
        # Written for another version of this package: whoever reads it says so.
        return []
    return [
        path
        for entry in entries
        for path in (entry, *(f"{entry}/{name}" for name in tree.names(entry)))
        if path.endswith(SUFFIXES)
    ]


def _questions_of(tree: _Tree, scenarios: list[str]) -> list[str]:
    """The files that scenarios keep their questions in."""
    found = []
    for path in scenarios:
        try:
            found.append(questions_file(read_mapping(tree.study / path)))
        except StratascopeError:
            continue  # not there, or no scenario: whoever reads it says so
    return [path for path in found if path is not None]


@contextmanager
def _opened(revision: Revision, directory: Path) -> Iterator[Any]:
    """DVC's view of a revision: what git has, and what DVC tracks there.

    What the cache lacks comes from the remote that is configured now: an old commit may know an
    older remote, or none.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc_data.index import DataIndexDirError

    config = _present_config(directory, revision.root)

    def repository(path: str, **options: Any) -> Repo:
        """A DVC repository in a sub-folder of git's, with the present cache and remote, too."""
        return Repo(path, **{**options, "config": config})

    files = DVCFileSystem(
        str(revision.root),
        rev=revision.commit,
        subrepos=True,
        repo_factory=repository,
        config=config,
    )
    try:
        yield files
    except DataIndexDirError as error:
        # The message ends in the folder's parts, as a tuple.
        folder = "/".join(re.findall(r"'([^']*)'", str(error)))
        raise _missing(revision, f"the list of files of {folder}") from error
    except DvcException as error:
        raise StratascopeError(
            f"{revision.word}: DVC cannot read this revision: {error}"
        ) from error
    finally:
        files.close()


def _present_config(directory: Path, top: Path) -> dict[str, Any]:
    """Cache and remotes as the nearest DVC repository around the study is configured now."""
    from dvc.config import Config

    folder = directory.resolve()
    parents = [p for p in (folder, *folder.parents) if p.is_relative_to(top.resolve())]
    root = next((p for p in parents if (p / ".dvc").is_dir()), None)
    if root is None:
        return {}
    config = Config(str(root / ".dvc"))
    cache = config["cache"].get("dir") or str(root / ".dvc" / "cache")
    chosen: dict[str, Any] = {"cache": {"dir": cache}}
    if config["core"].get("remote"):
        chosen |= {"core": {"remote": config["core"]["remote"]}, "remote": config["remote"]}
    return chosen


def _missing(revision: Revision, what: str) -> StratascopeError:
    return StratascopeError(
        f"{revision.word}: {what} is in neither DVC's cache nor its remote; bring it with "
        "`dvc fetch --all-commits` (or `dvc pull --all-commits`), or `dvc push` it where it was made"
    )
