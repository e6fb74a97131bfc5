"""Several token sequences in one row, so that what they share is computed once.

The longest sequence stands first. Of every other sequence only what follows its common prefix with
the longest one is appended, with the positions it has in its own sequence, and a mask that lets it
see its own prefix and itself, nothing else. In a causal model each token's state is then what it
would be in a forward pass of its sequence alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

# A row longer than this is split, for the mask grows with its square.
ROW_BUDGET = 4096


@dataclass(frozen=True)
class Member:
    """A sequence's place in a pack: its number, its length, what it shares, where its rest lies."""

    sequence: int
    length: int
    shared: int
    offset: int

    def at(self, token: int) -> int:
        """The packed index of the sequence's token number ``token``."""
        return token if token < self.shared else self.offset + token - self.shared


@dataclass(frozen=True)
class Pack:
    """One row: token ids, their positions, and its members."""

    ids: list[int]
    positions: list[int]
    members: tuple[Member, ...]
    first: int  # length of the sequence that stands first

    @property
    def has_suffixes(self) -> bool:
        """Without suffixes the row is an ordinary causal sequence and needs no mask."""
        return len(self.ids) > self.first

    def mask(self) -> NDArray[np.bool_]:
        """(tokens, tokens): row i may see column j."""
        size = len(self.ids)
        seen = np.zeros((size, size), bool)
        seen[: self.first, : self.first] = np.tri(self.first, dtype=bool)
        for member in self.members:
            rest = member.length - member.shared
            rows = slice(member.offset, member.offset + rest)
            seen[rows, : member.shared] = True
            seen[rows, rows] = np.tri(rest, dtype=bool)
        return seen

    def renumbered(self, numbers: Sequence[int]) -> Pack:
        """The same row, with sequence ``i`` called ``numbers[i]``."""
        members = tuple(replace(m, sequence=numbers[m.sequence]) for m in self.members)
        return replace(self, members=members)


def shared_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two sequences begin with together."""
    for i, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return i
    return min(len(left), len(right))


def pack(sequences: Sequence[Sequence[int]], budget: int = ROW_BUDGET) -> list[Pack]:
    """Pack sequences into as few rows as ``budget`` tokens a row allows.

    A row whose first sequence is itself longer than the budget may hold a quarter of it besides.
    Every sequence is a member of exactly one pack; ``Member.sequence`` is its index.

    Raises:
        ValueError: an empty sequence.
    """
    if any(not sequence for sequence in sequences):
        raise ValueError("an empty sequence has no state")
    left = list(range(len(sequences)))
    packs = []
    while left:
        made, left = _pack_one(sequences, left, budget)
        packs.append(made)
    return packs


def alone(sequences: Sequence[Sequence[int]]) -> list[Pack]:
    """Every sequence in a row of its own."""
    return [
        Pack(list(s), list(range(len(s))), (Member(i, len(s), len(s), len(s)),), len(s))
        for i, s in enumerate(sequences)
    ]


def _pack_one(
    sequences: Sequence[Sequence[int]], candidates: Sequence[int], budget: int
) -> tuple[Pack, list[int]]:
    """One row out of ``candidates``, and those that found no room in it."""
    longest = max(candidates, key=lambda i: (len(sequences[i]), i))
    whole = sequences[longest]
    ids, positions = list(whole), list(range(len(whole)))
    room = max(budget, len(whole) + budget // 4)
    members, left = [], []
    for i in candidates:
        sequence = sequences[i]
        shared = shared_prefix(sequence, whole)
        if len(ids) + len(sequence) - shared > room:
            left.append(i)
            continue
        members.append(Member(i, len(sequence), shared, len(ids)))
        ids += sequence[shared:]
        positions += range(shared, len(sequence))
    return Pack(ids, positions, tuple(members), len(whole)), left


def suffix_tokens(sequences: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Tokens of the longest sequence, and of what the others do not share with it."""
    longest = max(range(len(sequences)), key=lambda i: (len(sequences[i]), i))
    whole = sequences[longest]
    return len(whole), sum(len(s) - shared_prefix(s, whole) for s in sequences)
