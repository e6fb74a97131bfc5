"""One thing that was found, in words that are never stronger than the numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One finding in words; ``clear`` is False where numbers do not tell it from noise."""

    title: str
    words: str
    sure: str
    clear: bool = True
