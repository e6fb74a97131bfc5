"""Which runs of a study are compared with each other: all of a small study, a bounded part of a large.

Pairs grow with the square of the runs: 5,000 runs have 12.5 million, each with a row for every state,
source and layer. Above `MOST_PAIRS` a study's pairs grow with its runs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from hashlib import sha256

# All pairs of 200 runs.
MOST_PAIRS = 20_000
# However many runs there are, each is compared with so many others of its checkpoint at least.
FEWEST_STEPS = 2

Pair = tuple[int, int]


def pair_count(runs: int) -> int:
    """How many pairs there are of ``runs`` runs."""
    return runs * (runs - 1) // 2


def all_compared(runs: int) -> bool:
    """Whether every pair of ``runs`` runs is compared."""
    return pair_count(runs) <= MOST_PAIRS


def chosen_pairs(owners: Sequence[int], scenarios: Sequence[str]) -> list[Pair]:
    """The pairs to compare where there are too many, as places of runs, sorted; the smaller first.

    ``owners[i]`` is the place of run i's checkpoint, ``scenarios[i]`` its scenario. A scenario's runs
    are compared across checkpoints: each with that on the first, the previous and the last. On one
    checkpoint, scenarios stand in a circle, in the order of the hashes of their names, and each is
    compared with the next ones. So on all checkpoints the same scenarios are compared, whatever their
    names have in common, and a new scenario parts few that were. At most the larger of `MOST_PAIRS`
    and 5 pairs for each run.
    """
    steps = max(FEWEST_STEPS, MOST_PAIRS // len(owners) - 3)
    found = set(_across(owners, scenarios)) | set(_within(owners, scenarios, steps))
    return sorted(found)


def _across(owners: Sequence[int], scenarios: Sequence[str]) -> Iterator[Pair]:
    for runs in _grouped(scenarios):
        there = sorted(runs, key=lambda run: owners[run])
        for place, run in enumerate(there[1:], start=1):
            for other in (there[0], there[place - 1]):
                yield _ordered(run, other)
        for run in there[:-1]:
            yield _ordered(run, there[-1])


def _within(owners: Sequence[int], scenarios: Sequence[str], steps: int) -> Iterator[Pair]:
    for runs in _grouped(owners):
        circle = sorted(runs, key=lambda run: sha256(scenarios[run].encode()).digest())
        for place, run in enumerate(circle):
            for step in range(1, min(steps, len(circle) - 1) + 1):
                yield _ordered(run, circle[(place + step) % len(circle)])


def _grouped(keys: Sequence[Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def _ordered(a: int, b: int) -> Pair:
    return min(a, b), max(a, b)
