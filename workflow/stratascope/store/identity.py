"""The identity of a local model folder: a hash of the files that determine what it computes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.store.commit import new_file
from stratascope.store.hashes import sha256

# Config, tokenizer, chat template, weights, and code that trust_remote_code would run.
SUFFIXES = {
    ".json", ".jinja", ".model", ".txt", ".tiktoken", ".spm", ".bpe",
    ".safetensors", ".bin", ".pt", ".pth", ".gguf", ".py", ".distcp",
}  # fmt: skip
# What torch.distributed.checkpoint calls its table of contents.
DCP_METADATA = ".metadata"
# Left beside the weights by training; a model computes the same without them.
IGNORED = {
    "trainer_state.json", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth",
    "all_results.json", "train_results.json", "eval_results.json",
}  # fmt: skip


def cache_file() -> Path:
    """Where hashes of unchanged files are remembered (``XDG_CACHE_HOME`` or ``~/.cache``)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "stratascope" / "hashes.json"


def identify(folder: Path) -> str:
    """SHA-256 over names and contents of the model's files, sub-folders included.

    A file's hash is remembered, so that only the first plan reads the weights. Raises
    ``StratascopeError`` if a file cannot be read or none is there.
    """
    files = sorted(p for p in folder.rglob("*") if _counts(p, folder))
    if not files:
        raise StratascopeError(
            f"{folder}: holds no model files; expected config.json, a tokenizer and weights"
        )
    total = hashlib.sha256()
    for path, value in zip(files, hashes_of(files), strict=True):
        total.update(f"{path.relative_to(folder).as_posix()}\0{value}\n".encode())
    return total.hexdigest()


def hashes_of(paths: Iterable[Path]) -> list[str]:
    """The SHA-256 of each file, remembered by its path, size, times and inode.

    Raises ``StratascopeError`` if a file cannot be read.
    """
    cache = _read_cache()
    found = []
    learnt = False
    for path in paths:
        try:
            stat = path.stat()
            key = f"{path}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}|{stat.st_ino}"
            if key not in cache:
                cache[key] = sha256(path)
                learnt = True
        except OSError as error:
            raise StratascopeError(f"{path}: cannot be read: {error.strerror}") from error
        found.append(cache[key])
    if learnt:
        _write_cache(cache)
    return found


def _counts(path: Path, folder: Path) -> bool:
    *above, name = path.relative_to(folder).parts
    if any(part.startswith(".") for part in above) or not path.is_file():
        return False
    if name.startswith("."):
        return name == DCP_METADATA
    return path.suffix in SUFFIXES and name not in IGNORED


def _read_cache() -> dict[str, str]:
    try:
        data = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a cache that cannot be read only costs time
    return data if isinstance(data, dict) else {}


def _write_cache(cache: dict[str, str]) -> None:
    # Hashes of files that changed since have served; keep the newest few thousand.
    kept = dict(list(cache.items())[-4000:])
    try:
        with new_file(cache_file()) as partial:
            partial.write_text(json.dumps(kept), encoding="utf-8")
    except (OSError, StratascopeError):
        return  # no writable home: every plan reads the weights again
