"""Which pairs of runs are compared: all of a small study, few of a large one, and the same each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations

import pytest

from stratascope.study import pairs as pairs_module
from stratascope.study.pairs import MOST_PAIRS, all_compared, chosen_pairs, pair_count
from stratascope.study.plan import Plan


def large(scenarios: int, checkpoints: int) -> tuple[list[int], list[str]]:
    """The owners and scenarios of every scenario on every checkpoint, checkpoint by checkpoint."""
    names = [f"talk-{number}" for number in range(scenarios)]
    return [c for c in range(checkpoints) for _ in names], names * checkpoints


def test_small_studies_compare_every_pair() -> None:
    """Up to 200 runs all pairs are compared, with 201 not any more."""
    assert pair_count(200) == len(list(combinations(range(200), 2)))
    assert all_compared(200)
    assert not all_compared(201)


@pytest.mark.parametrize(("scenarios", "checkpoints"), [(201, 1), (70, 3), (1000, 5), (30, 40)])
def test_pairs_are_bounded_and_every_run_has_some(scenarios: int, checkpoints: int) -> None:
    """Each pair once, of two runs; no run is left out; never more than the bound that the docs give."""
    owners, names = large(scenarios, checkpoints)
    pairs = chosen_pairs(owners, names)
    assert pairs == sorted(set(pairs))
    assert all(a < b for a, b in pairs)
    assert len(pairs) <= max(MOST_PAIRS, 5 * len(owners))
    assert set(Counter(run for pair in pairs for run in pair)) == set(range(len(owners)))


def test_pairs_of_a_large_study() -> None:
    """1,000 scenarios on 5 checkpoints: first, previous and last across; the same scenarios within."""
    owners, names = large(1000, 5)
    pairs = chosen_pairs(owners, names)
    across = [(a, b) for a, b in pairs if owners[a] != owners[b]]
    assert all(names[a] == names[b] for a, b in across)
    links = {(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (1, 4), (2, 4)}
    assert Counter((owners[a], owners[b]) for a, b in across) == dict.fromkeys(links, 1000)
    within = [
        {frozenset((names[a], names[b])) for a, b in pairs if owners[a] == owners[b] == place}
        for place in range(5)
    ]
    assert all(some == within[0] for some in within)
    assert Counter(name for pair in within[0] for name in pair) == dict.fromkeys(names[:1000], 4)


def test_a_new_scenario_parts_few_pairs() -> None:
    """With one scenario more, all but a few of the pairs are still compared."""
    before, after = large(990, 1), large(991, 1)
    named = [
        {frozenset(x[1][run] for run in pair) for pair in chosen_pairs(*x)} for x in (before, after)
    ]
    steps = MOST_PAIRS // 990 - 3
    assert len(named[0] - named[1]) <= steps * (steps + 1)


def test_the_bound_is_part_of_a_large_study_alone(
    plan: Callable[[], Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables of a study whose pairs are not all compared have another digest; its runs do not."""
    small = plan()
    tables, states = small.tables_digest, [job.digest for job in small.states]
    monkeypatch.setattr(pairs_module, "MOST_PAIRS", len(small.runs))
    large = plan()
    assert large.tables_digest != tables
    assert [job.digest for job in large.states] == states
