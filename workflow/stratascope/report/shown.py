"""Which runs of a large study its report shows one by one; sums and statistics are over all of them."""

from __future__ import annotations

from collections.abc import Sequence

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
