"""Nulls and intervals hold their level: simulations with fixed seeds, and the docs show the results."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import squareform

from stratascope.measure.similarity import SIMILARITIES, compare_layers

PAGE = Path(__file__).parents[2] / "docs" / "similarity.md"
DRAWS = 1000
# Random orders are shared by the layers of a call: so many calls have orders of their own.
CALLS = 20

pytestmark = pytest.mark.slow


def documented(heading: str) -> dict[str, list[float]]:
    """The rows of the table below a heading of the page: the name, and the numbers after it."""
    text = PAGE.read_text(encoding="utf-8")
    table = text.split(f"\n### {heading}\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| ([^|]+?) \|((?: [\d.]+ \|)+)$", table, re.MULTILINE)
    return {
        name.strip("`"): [float(cell) for cell in cells.split("|")[:-1]] for name, cells in rows
    }


def noise(seed: int, n: int, d: int, layers: int) -> dict[str, np.ndarray]:
    """Layers of heavy-tailed features without relation to anything."""
    rng = np.random.default_rng(seed)
    return {f"{i}": rng.standard_t(5, size=(n, d)) for i in range(layers)}


def rejected(name: str, n: int, d1: int, d2: int) -> float:
    """How often the null rejects at 0.05 where there is nothing."""
    count = 0
    for call in range(CALLS):
        layers = DRAWS // CALLS
        a, b = noise(2 * call, n, d1, layers), noise(2 * call + 1, n, d2, layers)
        found = compare_layers(
            a, b, [name], wanted=np.eye(layers), permutations=99, seed=call, threads=2
        )
        count += int((np.diagonal(found[name].p) <= 0.05).sum())
    return count / DRAWS


@pytest.mark.parametrize("name", SIMILARITIES)
def test_the_null_rejects_noise_at_its_level(name: str) -> None:
    """On 1,000 draws of noise p <= 0.05 in 3 to 7 of 100, with few and with many features."""
    rates = [rejected(name, 20, *widths) for widths in ((4, 6), (30, 50))]
    if name == "pwcca":
        # With as many directions as texts it is 1 in every order: p is 1, and never small.
        assert rates.pop() == 0
    assert all(0.03 <= rate <= 0.07 for rate in rates)
    assert documented("Nulls on noise")[name][: len(rates)] == rates


def related(rng: np.random.Generator, n: int, share: float, trials: int) -> tuple[dict, dict]:
    """Two Gaussian representations of the same 4 causes, ``share`` strong, with noise."""
    a, b = {}, {}
    for i in range(trials):
        causes = share * rng.normal(size=(n, 4))
        a[f"{i}"] = causes @ MIXING[0] + rng.normal(size=(n, 8))
        b[f"{i}"] = causes @ MIXING[1] + rng.normal(size=(n, 6))
    return a, b


MIXING = [np.random.default_rng(0).normal(size=(4, 8)), np.random.default_rng(1).normal(size=(4, 6))]


def true_cka(share: float) -> float:
    """Linear CKA of the distributions themselves: of their covariances."""
    a, b = MIXING
    cross = share**2 * a.T @ b
    own = [share**2 * side.T @ side + np.eye(side.shape[1]) for side in MIXING]
    return float((cross**2).sum() / np.linalg.norm(own[0]) / np.linalg.norm(own[1]))


def covered(share: float, n: int, size: int = 1) -> float:
    """How often the interval of debiased CKA contains the truth; texts in groups of ``size``."""
    trials, name = 500, "linear_cka_debiased"
    rng = np.random.default_rng([n, round(100 * share), size])
    a, b = related(rng, n, share, trials)
    groups = None
    if size > 1:
        # Every text stands there in several wordings, with small noise of their own.
        groups = np.repeat(np.arange(n), size).tolist()
        for side in (a, b):
            for key, array in side.items():
                repeated = np.repeat(array, size, axis=0)
                side[key] = repeated + 0.1 * rng.normal(size=repeated.shape)
    found = compare_layers(
        a, b, [name], wanted=np.eye(trials), resamples=200, groups=groups, seed=1, threads=2
    )[name]
    truth = true_cka(share)
    lower, upper = np.diagonal(found.lower), np.diagonal(found.upper)
    return float(((lower <= truth) & (truth <= upper)).mean())


@pytest.mark.parametrize(
    ("case", "share", "n", "low"),
    [
        ("nothing in common, 40 texts", 0.0, 40, 0.95),
        ("weakly related, 40 texts", 0.5, 40, 0.91),
        ("weakly related, 100 texts", 0.5, 100, 0.91),
        ("strongly related, 40 texts", 1.0, 40, 0.91),
        ("strongly related, 100 texts", 1.0, 100, 0.91),
    ],
)
def test_intervals_cover_the_truth(case: str, share: float, n: int, low: float) -> None:
    """The interval of debiased CKA contains that of the distributions about 95 times of 100."""
    rate = covered(share, n)
    assert low <= rate <= (1.0 if share == 0 else 0.98)
    assert documented("Coverage of intervals")[case][1] == rate
    assert documented("Coverage of intervals")[case][0] == round(true_cka(share), 3)


def test_groups_are_what_is_drawn() -> None:
    """With 4 wordings a text, groups of wordings keep the coverage near its level."""
    rate = covered(0.5, 40, size=4)
    assert 0.9 <= rate <= 0.98
    assert documented("Coverage of intervals")["weakly related, 40 texts in 4 wordings"][1] == rate


def test_an_ordinary_bootstrap_is_wrong() -> None:
    """With texts drawn twice, intervals of debiased CKA on noise nearly never contain 0."""
    rng = np.random.default_rng(5)
    n, trials, contain = 40, 200, 0
    a, b = related(rng, n, 0.0, trials)
    for x, y in zip(a.values(), b.values(), strict=True):
        draws = rng.integers(0, n, (200, n))
        values = [unbiased_cka(x[rows] @ x[rows].T, y[rows] @ y[rows].T) for rows in draws]
        low, high = np.quantile(values, [0.025, 0.975])
        contain += low <= 0 <= high
    assert contain / trials < 0.1
    text = PAGE.read_text(encoding="utf-8")
    assert f"in {contain / trials:.3f} of all cases" in " ".join(text.split())


def unbiased_cka(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """The cosine of U-centred matrices (Szekely and Rizzo 2014)."""
    vectors = []
    for matrix in (k, l):
        n = len(matrix)
        rest = matrix - np.diag(np.diag(matrix))
        sums = rest.sum(axis=0) / (n - 2)
        rest = rest - sums - sums[:, None] + rest.sum() / ((n - 1) * (n - 2))
        vectors.append(squareform(rest, checks=False))
    return float(vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1]))
