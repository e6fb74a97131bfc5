"""Which files a dataset names, how they are read, and the hash of what they hold."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.store.datasets.csvfile import open_csv
from stratascope.store.datasets.hub import open_hub, pinned
from stratascope.store.datasets.jsonfile import open_json
from stratascope.store.datasets.parquetfile import open_parquet
from stratascope.store.datasets.rows import Source
from stratascope.store.datasets.tokens import open_tokens
from stratascope.store.identity import hashes_of
from stratascope.study.checkpoints import HUB_ID
from stratascope.study.dataset import Dataset


@dataclass(frozen=True)
class Format:
    """A way to write texts down: its files' suffixes, and what opens them.

    ``several`` says whether more than one file can make a dataset. It cannot where a line number
    must say which row is meant.
    """

    suffixes: tuple[str, ...]
    open: Callable[[Dataset, list[Path]], Source]
    several: bool


FORMATS = {
    "jsonl": Format((".jsonl", ".ndjson", ".json"), open_json, several=False),
    "csv": Format((".csv", ".tsv", ".txt"), open_csv, several=False),
    "parquet": Format((".parquet",), open_parquet, several=True),
    "tokens": Format((".npy", ".bin"), open_tokens, several=True),
    "hub": Format((), open_hub, several=False),
}
# Keys that mean something in one format alone.
ONLY_FOR = {"subset": "hub", "revision": "hub", "sequence": "tokens"}


def open_dataset(dataset: Dataset, root: Path) -> Source:
    """The rows of a dataset. Paths are relative to ``root``, the study folder.

    Raises:
        StratascopeError: no such file, an unknown format, an empty or damaged file, or a field that
            is not there (the message lists those that are). A single row that cannot be read is a
            ``BadRow`` of the source.
    """
    name, paths = _find(dataset, root)
    for key, only in ONLY_FOR.items():
        if name != only and getattr(dataset, key) is not None:
            raise StratascopeError(
                f"{dataset.data}: {key}: is for {only} datasets, and this one is {name}; leave it out"
            )
    return FORMATS[name].open(dataset, paths)


def content_of(dataset: Dataset, root: Path) -> str:
    """What identifies a dataset's content: ``<format>:<SHA-256>``, or ``hub:<name>@<commit>/...``.

    One file gives the hash of its bytes, several one of their names and hashes; a file is hashed
    again only when its size or times have changed. Nothing is asked of the network.

    Raises:
        StratascopeError: no such file, or a hub dataset without a commit as its revision.
    """
    name, paths = _find(dataset, root)
    part = f"{dataset.subset or 'default'}/{dataset.split}"
    if name != "hub":
        return f"{name}:{_hash(paths)}"
    if not paths:
        return f"hub:{dataset.data}@{pinned(dataset)}/{part}"
    return f"hub:{_hash(_below(paths[0]))}/{part}"


def size_of(dataset: Dataset, root: Path) -> int | None:
    """Bytes of the dataset's files; ``None`` for one of the hub that is not in a folder here.

    Raises:
        StratascopeError: no such file.
    """
    name, paths = _find(dataset, root)
    if name == "hub":
        paths = _below(paths[0]) if paths else []
    return sum(path.stat().st_size for path in paths) if paths else None


def _below(folder: Path) -> list[Path]:
    """All files of a folder and its sub-folders, but hidden ones such as git's."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [p for p in found if not any(q.startswith(".") for q in p.relative_to(folder).parts)]


def _hash(paths: list[Path]) -> str:
    hashes = hashes_of(paths)
    if len(paths) == 1:
        return hashes[0]
    above = Path(os.path.commonpath(paths))
    total = hashlib.sha256()
    for path, value in zip(paths, hashes, strict=True):
        total.update(f"{path.relative_to(above).as_posix()}\0{value}\n".encode())
    return total.hexdigest()


def _find(dataset: Dataset, root: Path) -> tuple[str, list[Path]]:
    """The format's name and the files; for hub datasets a folder, or nothing."""
    pattern = str(Path(dataset.data).expanduser())
    path = root / pattern
    if dataset.format == "hub" or (dataset.format == "auto" and _is_hub(path, dataset.data)):
        return "hub", [path.absolute()] if path.is_dir() else []
    files = _files(pattern, dataset, root)
    if not files:
        raise StratascopeError(f"{dataset.data}: no such file (looked in {root.resolve()})")
    name = dataset.format if dataset.format != "auto" else _format_of(files, dataset.data)
    if len(files) > 1 and not FORMATS[name].several:
        raise StratascopeError(
            f"{dataset.data}: {len(files)} files; {name} is read from one: name it, or join them"
        )
    return name, files


def _is_hub(path: Path, data: str) -> bool:
    if path.is_dir():
        return not _inside(path, FORMATS["tokens"].suffixes)
    known = {suffix for form in FORMATS.values() for suffix in form.suffixes}
    return (
        not path.exists()
        and HUB_ID.fullmatch(data) is not None
        and path.suffix.lower() not in known
    )


def _inside(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.is_file())


def _files(pattern: str, dataset: Dataset, root: Path) -> list[Path]:
    """The files that a file, a folder or a pattern stands for, by name.

    Links keep their own names: what they lead to, say in DVC's cache, need not have a suffix.
    """
    path = root.absolute() / pattern
    if path.is_file():
        return [path]
    if path.is_dir():
        form = FORMATS["tokens" if dataset.format == "auto" else dataset.format]
        return _inside(path, form.suffixes)
    # Path.glob takes no absolute patterns.
    names = glob.glob(pattern, root_dir=root, recursive=True)  # noqa: PTH207
    return [p for name in sorted(names) if (p := root.absolute() / name).is_file()]


def _format_of(files: list[Path], data: str) -> str:
    suffixes = sorted({p.suffix.lower() for p in files})
    names = {name for name, form in FORMATS.items() for s in suffixes if s in form.suffixes}
    if len(names) != 1 or not all(any(s in f.suffixes for f in FORMATS.values()) for s in suffixes):
        known = ", ".join(suffix for form in FORMATS.values() for suffix in form.suffixes)
        raise StratascopeError(
            f"{data}: the suffix {' and '.join(suffixes) or '(none)'} says no one format; known are "
            f"{known}; or say `format`"
        )
    return names.pop()
