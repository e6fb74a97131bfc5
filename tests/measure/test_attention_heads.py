"""Attention heads: scores against loops, planted patterns, and how often noise is called a head."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stratascope.errors import StratascopeError
from stratascope.measure.attention import (
    SCORES,
    detect,
    head_scores,
    induction,
    previous_token,
    uniform_previous,
)


def patterns(heads: int, total: int, *, causal: bool = True, seed: int = 0) -> np.ndarray:
    """Random attention weights, some of them zero."""
    draws = np.random.default_rng(seed)
    a = draws.exponential(size=(heads, total, total)) ** 3 + 1e-9
    if causal:
        a = np.tril(a)
    return a / a.sum(axis=2, keepdims=True)


@pytest.mark.parametrize("causal", [True, False])
def test_scores_equal_loops(causal: bool) -> None:
    """Each score is what its definition says, summed number by number."""
    a = patterns(3, 7, causal=causal)
    found = head_scores(a)
    rows = range(1 if causal else 0, 7)
    assert found.n == len(rows)
    for head in range(3):
        total = dict.fromkeys(SCORES, 0.0)
        for i in rows:
            for j in range(7):
                w = a[head, i, j]
                total["entropy"] -= w * math.log(w) if w else 0.0
                total["distance"] += w * abs(i - j)
            total["first"] += a[head, i, 0]
            total["self"] += a[head, i, i]
            total["previous"] += a[head, i, i - 1] if i else 0.0
        for name, value in total.items():
            assert found.scores[name][head] == pytest.approx(value / len(rows)), name


def test_uniform_attention_scores_its_null() -> None:
    """Uniform weights score exactly what stands beside them, which is known in closed form."""
    a = np.tril(np.ones((5, 5)))
    a = (a / a.sum(axis=1, keepdims=True))[None]
    found = head_scores(a)
    for name in SCORES:
        assert found.scores[name][0] == pytest.approx(found.uniform[name])
    assert found.uniform["entropy"] == pytest.approx(np.log([2, 3, 4, 5]).mean())
    assert found.uniform["distance"] == pytest.approx(np.mean([0.5, 1, 1.5, 2]))
    assert found.uniform["first"] == pytest.approx(np.mean([1 / 2, 1 / 3, 1 / 4, 1 / 5]))
    assert uniform_previous(5) == pytest.approx(np.mean([1 / 3, 1 / 4, 1 / 5]))


def test_extreme_heads_have_extreme_scores() -> None:
    """A sink, a diagonal and a previous-token head score 1 where they look and 0 in entropy."""
    sink, own, before = np.zeros((6, 6)), np.eye(6), np.eye(6, k=-1)
    sink[:, 0] = before[0, 0] = 1
    found = head_scores(np.stack([sink, own, before])).scores
    assert found["entropy"].tolist() == [0, 0, 0]
    assert found["first"].tolist() == [1, 0, pytest.approx(1 / 5)]
    assert found["self"].tolist() == [0, 1, 0]
    assert found["previous"].tolist() == [pytest.approx(1 / 5), 0, 1]
    assert found["distance"].tolist() == [3, 0, 1]


def test_wrong_weights_are_refused() -> None:
    """Another shape, rows that do not sum to 1, and numbers that are none."""
    for wrong, told in [
        (np.ones((3, 3)), "(heads, tokens, tokens)"),
        (np.ones((1, 3, 3)), "sum to 1"),
        (np.full((1, 2, 2), np.nan), "finite"),
    ]:
        with pytest.raises(StratascopeError, match=told.replace("(", "[(]").replace(")", "[)]")):
            head_scores(wrong)
    one = head_scores(np.ones((2, 1, 1)))
    assert one.n == 0
    assert np.isnan(one.scores["entropy"]).all()


def test_induction_is_the_weight_after_the_first_occurrence() -> None:
    """A planted pattern scores 1, and any pattern what a loop over repeated tokens finds."""
    half, start = 6, 1
    ids = [99, *range(half), *range(half)]
    planted = np.zeros((len(ids), len(ids)))
    for i, token in enumerate(ids):
        first = ids.index(token)
        planted[i, first + 1 if i > start + half - 1 else 0] = 1
    assert induction(planted, half, start) == 1
    a = patterns(4, len(ids))
    expected = [
        np.mean(
            [
                sum(head[i, j] for j in range(1, i + 1) if ids[j - 1] == ids[i])
                for i in range(start + half, len(ids))
            ]
        )
        for head in a
    ]
    np.testing.assert_allclose(induction(a, half, start), expected)
    np.testing.assert_allclose(
        previous_token(a, 1), [np.mean([h[i, i - 1] for i in range(3, 13)]) for h in a]
    )
    with pytest.raises(StratascopeError, match="there are 13"):
        induction(a, 7, start)


def test_noise_is_called_a_head_as_rarely_as_promised() -> None:
    """Without a difference, one of 8 heads has p <= 0.05 in about 5 of 100 studies, and none is found."""
    draws = np.random.default_rng(1)
    shape = (400, 16, 8)
    values, null = 0.02 + 0.01 * draws.random(shape), 0.02 + 0.01 * draws.random(shape)
    found = [detect(x, y) for x, y in zip(values, null, strict=True)]
    rejected = np.mean([bool((item.p <= 0.05).any()) for item in found])
    assert 0.01 <= rejected <= 0.085  # 0.05 and four standard errors
    assert not any(item.found.any() for item in found)


def test_a_head_above_its_null_is_found() -> None:
    """One of eight heads scores 0.5 more than its null: it alone is found, its interval holds its mean."""
    draws = np.random.default_rng(2)
    null = 0.05 * draws.random((12, 8))
    values = 0.05 * draws.random((12, 8))
    values[:, 3] += 0.5
    found = detect(values, null)
    assert found.found.tolist() == [i == 3 for i in range(8)]
    assert found.lower[3] < values[:, 3].mean() < found.upper[3]
    same = detect(np.full((3, 2), 0.5), np.array([[0.5, 0.1]]))
    assert same.found.tolist() == [False, True]
    with pytest.raises(StratascopeError, match="two sequences"):
        detect(values[:1], null[:1])
