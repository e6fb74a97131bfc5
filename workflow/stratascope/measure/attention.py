"""Where an attention head looks: spread, distance, first, same and previous token; induction.

Every score stands beside the same score of uniform attention, which knows nothing and still looks at
the previous token now and then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import FloatArray
from stratascope.measure.multiple import holm

# The scores of `head_scores`, in the order of tables.
SCORES = ("entropy", "distance", "first", "self", "previous")
# A head is named a detector only if it looks where it should this much more often than its null.
LEAST_EXCESS = 0.1


@dataclass(frozen=True)
class HeadScores:
    """Scores of the heads of one layer, (heads,) each, and what uniform attention would score.

    ``n`` is how many queries they average over: those with more than one key to choose from.
    """

    scores: dict[str, FloatArray]
    uniform: dict[str, float]
    n: int


@dataclass(frozen=True)
class Detection:
    """How often heads look where a detector would: estimates (heads,), each over ``n`` sequences.

    ``null`` is what the same head does where there is nothing to detect, ``lower`` and ``upper`` the
    95 % interval of ``value``, ``p`` the one-sided p-value of ``value > null``, Holm-adjusted over the
    heads tested together; ``found`` where it is at most 0.05 and the excess at least `LEAST_EXCESS`.
    """

    value: FloatArray
    null: FloatArray
    lower: FloatArray
    upper: FloatArray
    p: FloatArray
    found: npt.NDArray[np.bool_]
    n: int


def head_scores(weights: npt.ArrayLike) -> HeadScores:
    """Scores of attention weights ``(heads, queries, keys)``, square, rows that sum to 1.

    - ``entropy``: of a row, in nats; 0 where one key has all the weight, ``ln(keys)`` if uniform.
    - ``distance``: mean number of tokens between query and key, weighted.
    - ``first``: weight of the first token (an attention sink; Xiao et al. 2024).
    - ``self``: weight of the query's own token (the diagonal).
    - ``previous``: weight of the token before it.

    Each is the mean over rows that see more than one key. A causal row *i* sees *i* + 1 keys; where
    any weight lies above the diagonal, as in encoders, every row sees all. Unchanged by reordering
    heads. NaN where no row sees two keys. Raises StratascopeError for another shape, for weights
    that are negative or not finite, and for rows that do not sum to 1.
    """
    a = np.asarray(weights)
    if a.ndim != 3 or a.shape[1] != a.shape[2]:
        raise StratascopeError(
            f"attention weights are (heads, tokens, tokens) of one sequence, got {a.shape}"
        )
    heads, total, _ = a.shape
    if total < 2:
        nan = np.full(heads, np.nan)
        return HeadScores(dict.fromkeys(SCORES, nan), dict.fromkeys(SCORES, np.nan), 0)
    causal = not any(np.triu(head, 1).any() for head in a)
    seen = np.tri(total) if causal else np.ones((total, total))
    first = 1 if causal else 0
    # One head at a time: in float64 those of a long text together would not fit.
    each = [_scores(_checked(head), first) for head in a]
    scores = {name: np.array([score[name] for score in each]) for name in SCORES}
    uniform = _scores(seen / seen.sum(axis=1, keepdims=True), first)
    return HeadScores(scores, uniform, total - first)


def _scores(a: FloatArray, first: int) -> dict[str, float]:
    """Of one head, ``(tokens, tokens)``, over the rows from ``first`` on."""
    place = np.arange(len(a))
    part, rows = a[first:], place[first:]
    logs = np.log(part, out=np.zeros_like(part), where=part > 0)
    before = rows[rows > 0]
    return {
        "entropy": -float((part * logs).sum(axis=1).mean()) + 0.0,
        "distance": float((part * np.abs(rows[:, None] - place)).sum(axis=1).mean()),
        "first": float(part[:, 0].mean()),
        "self": float(a[rows, rows].mean()),
        # Row 0 has none before it; in an encoder it counts with weight 0.
        "previous": float(a[before, before - 1].sum() / len(rows)),
    }


def _checked(head: npt.NDArray[np.generic]) -> FloatArray:
    a = np.asarray(head, dtype=np.float64)
    if not np.isfinite(a).all() or (a < 0).any():
        raise StratascopeError("attention weights must be finite and not negative")
    # float16 on disk leaves sums a little off.
    off = np.abs(a.sum(axis=1) - 1).max(initial=0.0)
    if off > 0.05:
        raise StratascopeError(f"rows of attention weights must sum to 1; one is off by {off:.3g}")
    return a


def induction(weights: npt.ArrayLike, half: int, start: int = 0) -> FloatArray:
    """Induction score of each head, in [0, 1], on ``half`` random tokens that come twice.

    ``weights`` ``(..., tokens, tokens)`` with ``start`` tokens before the first copy. Mean over the
    second copy's tokens of the weight of the token that came after the same token in the first copy:
    with distinct tokens, the prefix-matching score (Olsson et al. 2022, *In-context Learning and
    Induction Heads*). ``(..., tokens, tokens) -> (...)``.
    """
    a = np.asarray(weights, dtype=np.float64)
    queries = np.arange(start + half, start + 2 * half)
    if half < 2 or a.shape[-1] < start + 2 * half:
        raise StratascopeError(
            f"two copies of {half} tokens after {start} need as many keys; there are {a.shape[-1]}"
        )
    return np.asarray(a[..., queries, queries - half + 1].mean(axis=-1))


def previous_token(weights: npt.ArrayLike, start: int = 0) -> FloatArray:
    """Previous-token score, in [0, 1]: mean weight of the token before, ``(..., T, T) -> (...)``.

    Over the queries after the first two tokens behind ``start``, which have a choice.
    """
    a = np.asarray(weights, dtype=np.float64)
    queries = np.arange(start + 2, a.shape[-1])
    return np.asarray(a[..., queries, queries - 1].mean(axis=-1))


def uniform_previous(total: int, start: int = 0) -> float:
    """What causal uniform attention over ``total`` tokens scores in `previous_token`."""
    return float((1.0 / np.arange(start + 3, total + 1)).mean())


def detect(values: npt.ArrayLike, null: npt.ArrayLike) -> Detection:
    """Which heads score above their null, from scores ``(sequences, heads)`` and as many of the null.

    ``null`` is measured on each sequence's control, or one number. One-sided paired t-test over
    sequences, which are drawn independently; Holm over all heads, so that the chance of any false
    detection is at most 0.05. Raises StratascopeError for fewer than two sequences.
    """
    from scipy import stats

    x = np.asarray(values, dtype=np.float64)
    base = np.broadcast_to(np.asarray(null, dtype=np.float64), x.shape)
    n = len(x)
    if n < 2:
        raise StratascopeError("an interval needs at least two sequences")
    excess = x - base
    error = excess.std(axis=0, ddof=1) / np.sqrt(n)
    mean = excess.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, mean / error, np.where(mean > 0, np.inf, -np.inf))
    p = holm(stats.t.sf(t, n - 1))
    spread = stats.t.ppf(0.975, n - 1) * x.std(axis=0, ddof=1) / np.sqrt(n)
    value = x.mean(axis=0)
    return Detection(
        value=value,
        null=base.mean(axis=0),
        lower=np.maximum(value - spread, 0.0),
        upper=np.minimum(value + spread, 1.0),
        p=p,
        found=(p <= 0.05) & (mean >= LEAST_EXCESS),
        n=n,
    )
