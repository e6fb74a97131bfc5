"""How sure a proportion is: right answers out of questions asked."""

from __future__ import annotations

import math
from statistics import NormalDist

from stratascope.measure.bootstrap import LEVEL


def wilson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The ends of Wilson's score interval for a proportion, both in [0, 1]; NaN for ``n`` of 0.

    Those proportions ``p`` for which ``successes`` out of ``n`` independent trials lie within the
    normal quantile of ``level`` of ``n p``. Unlike the bootstrap's, the interval is not empty where
    all or none succeed. Swapping successes and failures reflects it (Wilson, Journal of the American
    Statistical Association 22, 1927).

    Raises:
        ValueError: not 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes out of {n}")
    if n == 0:
        return math.nan, math.nan
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the interval begins exactly there, but for the last digit.
    lower = 0.0 if successes == 0 else centre - half
    return lower, 1.0 if successes == n else centre + half
