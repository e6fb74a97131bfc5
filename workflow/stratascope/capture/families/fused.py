"""Projections that hold several sites in one output, and how their rows are cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stratascope.capture.families.family import Heads, Part, heads_of

if TYPE_CHECKING:
    import torch

Split = Callable[["torch.Tensor", Heads], "tuple[torch.Tensor, ...]"]


def in_blocks(rows: torch.Tensor, heads: Heads) -> tuple[torch.Tensor, ...]:
    """``(tokens, fused)`` laid out as all queries, all keys, all values."""
    keys = heads.query * heads.width  # the first of them
    values = keys + heads.shared * heads.width
    return rows[:, :keys], rows[:, keys:values], rows[:, values:]


def in_groups(rows: torch.Tensor, heads: Heads) -> tuple[torch.Tensor, ...]:
    """``(tokens, fused)`` laid out as, for each key-value head: its queries, its key, its value.

    With as many key-value heads as query heads this is query, key, value of each head in turn; with
    one, it is all queries, the key, the value.
    """
    size = heads.query // heads.shared + 2
    groups = rows.reshape(len(rows), heads.shared, size, heads.width)
    return groups[:, :, :-2].flatten(1), groups[:, :, -2].flatten(1), groups[:, :, -1].flatten(1)


def in_halves(rows: torch.Tensor, heads: Heads) -> tuple[torch.Tensor, ...]:
    """``(tokens, fused)`` laid out as gate, then up."""
    return rows.chunk(2, dim=-1)


@dataclass(frozen=True)
class Piece:
    """A cut: piece ``number`` of what ``split`` makes of a row."""

    split: Split
    number: int

    def __call__(self, rows: torch.Tensor, config: Any) -> torch.Tensor:
        """The piece, ``(tokens, width)``."""
        return self.split(rows, heads_of(config))[self.number]


def piece(path: str, split: Split, number: int) -> Part:
    """Piece ``number`` of the fused projection at ``path``, for an entry of the table."""
    return Part(path, cut=Piece(split, number))


def copied(rows: torch.Tensor, config: Any) -> torch.Tensor:
    """All of the row, in memory of its own: the model may go on to write into this tensor."""
    return rows.clone()
