"""What A and B mean: a folder, a git revision, or a checkpoint of the present study.

A name is looked up in this order, and one that means two things is an error, never a guess:

1. ``checkpoint:NAME`` is a checkpoint of the study in ``--directory``;
2. ``.`` is the working tree: the results that lie in ``--directory`` now;
3. a path (beginning with ``/``, ``./``, ``../`` or ``~``) is a folder: a study's or its ``results``;
4. anything else is whatever it names among: a folder that holds results, a git revision of the
   study's repository (branch, tag, commit, ``HEAD~1``, a DVC experiment), a checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from stratascope.compare.revision import Revision, copy_revision, find_revision, has_dvc
from stratascope.errors import StratascopeError
from stratascope.store.layout import RESULTS, Layout
from stratascope.study.config import CONFIG
from stratascope.study.digest import LENGTH
from stratascope.study.names import nearest

LAYOUT = Layout.of_study()
CHECKPOINT = "checkpoint:"
_RUN = re.compile(rf"[^@]+@(.+)-[0-9a-f]{{{LENGTH}}}")
_PATH = re.compile(r"(/|~|\.\.?(/|$))")


@dataclass(frozen=True)
class Side:
    """One of the two things compared.

    ``results`` is a folder on disk: for a revision, a temporary copy of what is compared. ``study``
    holds config/ and scenarios/, if they are known. With a ``checkpoint``, only its runs count.
    """

    shown: str
    results: Path
    study: Path | None = None
    checkpoint: str | None = None
    revision: Revision | None = None

    def path(self, place: Path) -> Path:
        """Where a path of the layout (which begins with ``results``) lies on this side."""
        return self.results / place.relative_to(RESULTS)


@contextmanager
def open_sides(a: str, b: str, directory: Path) -> Iterator[tuple[Side, Side]]:
    """Find both sides; those of revisions are read into a temporary folder, gone afterwards.

    Raises ``StratascopeError`` for a name that means nothing, or two things, or if only one of
    the two is a checkpoint.
    """
    found = resolve(a, directory), resolve(b, directory)
    lone = [side for side in found if side.checkpoint is not None]
    if len(lone) == 1:
        raise StratascopeError(
            f"{lone[0].shown}: a checkpoint compares with another checkpoint of the same study only; "
            "give two checkpoints, or two revisions or folders"
        )
    with TemporaryDirectory(prefix="stratascope-diff-") as scratch:
        yield (
            _materialised(found[0], Path(scratch) / "a", directory),
            _materialised(found[1], Path(scratch) / "b", directory),
        )


def resolve(word: str, directory: Path) -> Side:
    """The side that a name on the command line means; see the module's docstring for the order."""
    if not word:
        raise StratascopeError("an empty name: name a revision, a folder, or a checkpoint")
    if word.startswith(CHECKPOINT):
        return _checkpoint(word.removeprefix(CHECKPOINT), directory)
    if word == ".":
        return _folder(directory, "the working tree")
    if _PATH.match(word):
        return _folder(Path(word).expanduser(), word)
    return _named(word, directory)


def checkpoint_names(directory: Path) -> list[str]:
    """The checkpoints that the study's present results hold, from the names of its run folders."""
    runs = directory / LAYOUT.runs
    found = (_RUN.fullmatch(p.name) for p in runs.iterdir()) if runs.is_dir() else ()
    return sorted({match[1] for match in found if match})


def _named(word: str, directory: Path) -> Side:
    names = checkpoint_names(directory)
    revision = find_revision(word, directory)
    meanings: list[tuple[str, Side]] = []
    if _results_in(Path(word)) is not None:
        meanings.append((f"a folder (write ./{word})", _folder(Path(word), word)))
    if revision is not None:
        shown = f"{word} ({revision.commit[:10]})" if word not in revision.commit else word[:10]
        side = Side(shown, Path(), revision=revision)
        meanings.append((f"a git revision (write {revision.commit[:10]})", side))
    if word in names:
        meanings.append((f"a checkpoint (write {CHECKPOINT}{word})", _checkpoint(word, directory)))
    if len(meanings) > 1:
        what = " and ".join(text for text, _ in meanings)
        raise StratascopeError(f"{word}: ambiguous: it is {what}")
    if not meanings:
        raise StratascopeError(_unknown(word, directory, names))
    return meanings[0][1]


def _unknown(word: str, directory: Path, names: list[str]) -> str:
    near = nearest(word, names)
    known = f"did you mean {CHECKPOINT}{near}?" if near else f"it has {', '.join(names) or 'none'}"
    if Path(word).is_dir():
        folder = f"a folder with results ({word}/ holds none)"
    else:
        folder = f"a folder with results in {Path.cwd()}"
    git = f"a git revision of {directory.resolve()}"
    if not has_dvc():
        git += " (not looked for: reading one needs `pip install dvc`)"
    return f"{word}: neither {folder}, nor {git}, nor a checkpoint of the study's results ({known})"


def _folder(path: Path, shown: str) -> Side:
    results = _results_in(path)
    if results is None:
        wrong = "holds no results" if path.is_dir() else "no such folder"
        raise StratascopeError(
            f"{shown}: {wrong} ({path.resolve()}); a study folder has them in results/ once "
            "`snakemake` or `dvc pull` has run there"
        )
    study = path if results != path else path.resolve().parent
    return Side(shown, results, study if (study / CONFIG).is_file() else None)


def _results_in(path: Path) -> Path | None:
    """``path`` if it is a folder of results, or its sub-folder ``results``."""
    marks = [p.relative_to(RESULTS) for p in (LAYOUT.tables, LAYOUT.runs, LAYOUT.metrics)]
    for folder in (path / RESULTS, path):
        if any((folder / mark).exists() for mark in marks):
            return folder
    return None


def _checkpoint(name: str, directory: Path) -> Side:
    names = checkpoint_names(directory)
    if name not in names:
        near = nearest(name, names)
        known = f"did you mean {near}?" if near else f"they hold {', '.join(names) or 'none'}"
        raise StratascopeError(
            f"{CHECKPOINT}{name}: no such checkpoint in the results of {directory.resolve()}; {known}"
        )
    return replace(_folder(directory, f"checkpoint {name}"), checkpoint=name)


def _materialised(side: Side, into: Path, directory: Path) -> Side:
    if side.revision is None:
        return side
    study = copy_revision(side.revision, directory, into)
    return replace(
        side, results=study / RESULTS, study=study if (study / CONFIG).is_file() else None
    )
