from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratascope.measure.centre import background, centre_of, centred, cross_background
from stratascope.measure.metrics import cosine


def brute(a: np.ndarray, ga: list, b: np.ndarray, gb: list, ordered: bool) -> np.ndarray:
    """Cosines of all pairs of different conversations, one by one."""
    values = [
        cosine(a[i], b[j])
        for i, j in product(range(len(a)), range(len(b)))
        if ga[i] != gb[j] and (ordered or i < j)
    ]
    return np.array([value for value in values if not np.isnan(value)])


@pytest.mark.parametrize("width", [3, 200])
@given(groups=st.lists(st.sampled_from("abcd"), min_size=1, max_size=20), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_background_is_the_spread_of_all_unrelated_pairs(
    width: int, groups: list[str], seed: int
) -> None:
    """The closed form equals the loop over pairs, with few and with many dimensions."""
    states = np.random.default_rng(seed).normal(size=(len(groups), width)) + 0.5
    states[3:4], states[5:6] = np.nan, 0.0
    result = background(states, groups)
    expected = brute(states, groups, states, groups, ordered=False)
    assert result.pairs == len(expected)
    if len(expected):
        assert result.mean == pytest.approx(expected.mean(), abs=1e-9)
        assert result.std == pytest.approx(expected.std(), abs=1e-6)
    else:
        assert np.isnan([result.mean, result.std]).all()


@pytest.mark.parametrize("width", [3, 200])
def test_cross_background_leaves_out_shared_conversations(width: int) -> None:
    """Between two checkpoints only pairs of different conversations count."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, width)) + 0.3, rng.normal(size=(20, width)) + 0.3
    ga, gb = list(rng.integers(0, 5, 30)), list(rng.integers(3, 9, 20))
    result = cross_background(a, ga, b, gb)
    expected = brute(a, ga, b, gb, ordered=True)
    assert (result.pairs, result.states) == (len(expected), 50)
    assert result.conversations == len(set(ga) | set(gb))
    assert (result.mean, result.std) == pytest.approx((expected.mean(), expected.std()), abs=1e-9)


def test_one_conversation_has_no_background() -> None:
    """Without two conversations there is nothing unrelated: NaN, zero pairs."""
    result = background(np.ones((4, 3)), ["only"] * 4)
    assert (result.pairs, result.states, result.conversations) == (0, 4, 1)
    assert np.isnan([result.mean, result.std]).all()


def test_equal_states_have_no_spread() -> None:
    """Identical directions give exactly 0, not what rounding leaves of it."""
    states = np.tile(np.random.default_rng(1).normal(size=77), (9, 1))
    assert background(states, range(9)).std == 0.0


def test_centre_needs_three_states() -> None:
    """With two states centred cosines are -1 whatever they are, so there is no centre."""
    states = np.array([[1.0, 2.0], [3.0, 5.0], [np.nan, 1.0], [8.0, -1.0]])
    assert np.isnan(centre_of(states[:3])).all()
    np.testing.assert_allclose(centre_of(states), [4.0, 2.0])


def test_what_equals_the_centre_has_no_direction() -> None:
    """States that differ from the mean by rounding only are zero, so that no noise is compared."""
    rng = np.random.default_rng(2)
    states = np.tile(rng.normal(size=50), (7, 1)) * (1 + 5e-8 * rng.normal(size=(7, 50)))
    rest = centred(states, centre_of(states))
    assert not rest.any()
    assert np.isnan(cosine(rest[0], rest[1]))


def test_centred_cosines_do_not_see_a_common_offset() -> None:
    """Adding one vector to all states leaves their centred cosines as they were."""
    rng = np.random.default_rng(3)
    states = rng.normal(size=(10, 40))
    moved = states + 50 * rng.normal(size=40)
    plain, after = (centred(x, centre_of(x)) for x in (states, moved))
    np.testing.assert_allclose(cosine(plain[0], plain[1:]), cosine(after[0], after[1:]), atol=1e-9)
    assert cosine(moved[0], moved[1]) > 0.99
