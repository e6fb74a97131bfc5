"""Which runs of a large study its report shows one by one; sums and statistics are over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stratascope.errors import StratascopeError
from stratascope.study.names import nearest

# As many runs as a reader can scroll through, and a file that one can mail can hold.
MOST_RUNS = 300


def shown_scenarios(scenarios: Sequence[str]) -> frozenset[str]:
    """The scenarios whose runs are shown, given that of each run.

    All of up to `MOST_RUNS` runs. Of more, scenarios evenly spaced in the study's order, so many that
    their runs on all checkpoints are about `MOST_RUNS`.
    """
    names = list(dict.fromkeys(scenarios))
    if len(scenarios) <= MOST_RUNS:
        return frozenset(names)
    count = max(1, MOST_RUNS * len(names) // len(scenarios))
    return frozenset(names[i * len(names) // count] for i in range(count))


def chosen_scenarios(entries: Sequence[Mapping[str, Any]], chosen: Sequence[str]) -> frozenset[str]:
    """Those of the runs' scenarios that a reader names; ``parent`` names all that it was cut into.

    Raises:
        StratascopeError: a name that no run has.
    """
    found = set()
    for name in chosen:
        mine = {entry["scenario"] for entry in entries if name in _names(entry)}
        if not mine:
            near = nearest(name, sorted({each for entry in entries for each in _names(entry)}))
            raise StratascopeError(
                f"{name}: no scenario of the captured runs"
                + (f"; did you mean {near}?" if near else "")
            )
        found |= mine
    return frozenset(found)


def _names(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return (entry["scenario"], entry.get("parent") or entry["scenario"])
