"""Wilson's interval against SciPy's, and its symmetry."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest

from stratascope.measure.proportion import wilson


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_wilson_is_scipys(level: float) -> None:
    """Both ends agree with SciPy's Wilson interval for every count out of a few sizes."""
    for n in (1, 2, 7, 40, 1000):
        for right in {0, 1, n // 3, n // 2, n - 1, n}:
            expected = binomtest(right, n).proportion_ci(level, "wilson")
            assert wilson(right, n, level) == pytest.approx(
                (expected.low, expected.high), abs=1e-12
            )


def test_failures_are_successes_reflected() -> None:
    """Counting the wrong answers instead of the right ones reflects the interval."""
    for n in (1, 5, 32):
        for right in range(n + 1):
            lower, upper = wilson(right, n)
            assert wilson(n - right, n) == pytest.approx((1 - upper, 1 - lower))
            assert 0 <= lower <= right / n <= upper <= 1


def test_nothing_asked_is_nothing_known() -> None:
    """Without a trial there is no interval; more successes than trials are refused."""
    assert all(map(math.isnan, wilson(0, 0)))
    with pytest.raises(ValueError, match="3 successes out of 2"):
        wilson(3, 2)
