"""Names that become paths: what they may hold, and the nearest known name for a typo."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# A scenario or label becomes part of a folder's name, so it may hold no separator, no white space
# and nothing that a shell, a file system or `<scenario>@<checkpoint>` gives a meaning to.
SAFE_NAME = re.compile(r"[^\s/\\@:*?\"'<>|$`{}\x00-\x1f.-][^\s/\\@:*?\"'<>|$`{}\x00-\x1f]{0,99}")
# A checkpoint's name also stands in Snakemake's file names, where less is safe.
CHECKPOINT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def check_name(value: str) -> str:
    """Return ``value`` if it may become a folder's name; raise ``ValueError`` otherwise."""
    if not SAFE_NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} cannot be a name: use 1 to 100 characters without spaces, slashes, quotes or "
            "any of @ : * ? < > | $ { }, not starting with a dot or a dash"
        )
    return value


def check_checkpoint_name(value: str) -> str:
    """Return ``value`` if it may name a checkpoint; raise ``ValueError`` otherwise."""
    if not CHECKPOINT_NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} cannot name a checkpoint: use up to 80 letters, digits, dots, dashes and "
            "underscores, starting with a letter or digit"
        )
    return value


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like ``word``, or ``None`` if none is near."""
    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return found[0] if found else None
