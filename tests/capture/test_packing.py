from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratascope.capture.packing import alone, pack, suffix_tokens

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=8)


@given(SEQUENCES, st.integers(1, 40))
def test_every_token_sees_exactly_its_own_sequence(sequences: list[list[int]], budget: int) -> None:
    """Through the mask, token t of a sequence sees that sequence's tokens 0..t in order, no other."""
    packs = pack(sequences, budget)
    found = sorted(member.sequence for row in packs for member in row.members)
    assert found == list(range(len(sequences)))
    for row in packs:
        mask = row.mask()
        for member in row.members:
            sequence = sequences[member.sequence]
            places = [member.at(t) for t in range(len(sequence))]
            assert [row.ids[p] for p in places] == sequence
            assert [row.positions[p] for p in places] == list(range(len(sequence)))
            for t, place in enumerate(places):
                assert mask[place].nonzero()[0].tolist() == places[: t + 1]


def test_shared_prefixes_are_held_once() -> None:
    """Prefixes of the longest sequence cost nothing, others only what they do not share."""
    whole = list(range(20))
    (row,) = pack([whole[:5], [*whole[:9], 99, 98], whole])
    assert len(row.ids) == 22
    assert suffix_tokens([whole[:5], [*whole[:9], 99, 98], whole]) == (20, 2)
    (plain,) = pack([whole[:5], whole])
    assert not plain.has_suffixes


def test_rows_keep_to_the_budget() -> None:
    """A row holds no more than the budget, or a quarter of it beyond a longer first sequence."""
    sequences = [[i] * 30 for i in range(10)]
    assert [len(row.ids) for row in pack(sequences, 100)] == [90, 90, 90, 30]
    long = [[9] * 200, *([i] * 20 for i in range(3))]
    assert [len(row.ids) for row in pack(long, 100)] == [220, 40]


def test_alone_is_one_sequence_a_row() -> None:
    """The fallback gives every sequence a row that needs no mask."""
    rows = alone([[1, 2], [1]])
    assert [row.ids for row in rows] == [[1, 2], [1]]
    assert not any(row.has_suffixes for row in rows)
    assert [row.members[0].at(0) for row in rows] == [0, 0]


def test_empty_sequence_is_refused() -> None:
    """A sequence without tokens has no state."""
    with pytest.raises(ValueError, match="empty"):
        pack([[1], []])
