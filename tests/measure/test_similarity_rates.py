"""Nulls and intervals hold their level: simulations with fixed seeds, and the docs show the results."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import squareform

from stratascope.measure.similarity import SIMILARITIES, compare_layers

NAME = "linear_cka_debiased"
TRIALS = 300
PAGE = Path(__file__).parents[2] / "docs" / "similarity.md"
DRAWS = 1000
# Random orders are shared by the layers of a call: so many calls have orders of their own.
CALLS = 20

# In every CI; the others where a measure changes.
ALWAYS = {"linear_cka_debiased", "rsa", "unrelated, 40 texts", "weakly related, 40 texts"}

pytestmark = pytest.mark.slow


def _each(names: Iterable[str], always: Container[str]) -> list[object]:
    mark = pytest.mark.simulation
    return [pytest.param(name, marks=() if name in always else mark) for name in names]


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


def rejected(name: str, n: int, d1: int, d2: int, layers: int = DRAWS // CALLS) -> float:
    """How often the null rejects at 0.05 where there is nothing."""
    count = 0
    for call in range(CALLS):
        a, b = noise(2 * call, n, d1, layers), noise(2 * call + 1, n, d2, layers)
        found = compare_layers(
            a, b, [name], wanted=np.eye(layers), permutations=99, seed=call, threads=2
        )
        count += int((np.diagonal(found[name].p) <= 0.05).sum())
    return count / (CALLS * layers)


@pytest.mark.parametrize("name", _each(SIMILARITIES, ALWAYS))
def test_the_null_rejects_noise_at_its_level(name: str) -> None:
    """On 1,000 draws of noise p <= 0.05 in 3 to 7 of 100, with few and with many features."""
    shown = documented("Nulls on noise")[name]
    few = rejected(name, 20, 4, 6)
    assert 0.03 <= few <= 0.07
    assert near(few, shown[0])
    if name == "pwcca":
        # With as many directions as texts it is 1 in every order: p is 1, and never small.
        assert rejected(name, 20, 30, 50, layers=2) == shown[1] == 0
        return
    many = rejected(name, 20, 30, 50)
    assert 0.03 <= many <= 0.07
    assert near(many, shown[1])


@dataclass(frozen=True)
class Case:
    """Two Gaussian representations of the same 4 causes, ``share`` strong, with noise, of n texts.

    Where ``heavy``, the causes of a text share a random size, so that few texts count most. Each
    text may stand there in several wordings, which add noise of their own.
    """

    share: float
    n: int
    heavy: bool = False
    wordings: int = 1
    grouped: bool = False
    alike: bool = False

    @property
    def mixing(self) -> list[np.ndarray]:
        """How causes become features: on either side in its own way, unless they are alike."""
        return [MIXING[0], MIXING[0] if self.alike else MIXING[1]]

    @property
    def truth(self) -> float:
        """Linear CKA of the distributions themselves: of their covariances."""
        a, b = self.mixing
        strength = self.share**2 * (np.exp(0.5) if self.heavy else 1.0)
        own = [strength * side.T @ side + np.eye(side.shape[1]) for side in self.mixing]
        cross = (strength * a.T @ b) ** 2
        return float(cross.sum() / np.linalg.norm(own[0]) / np.linalg.norm(own[1]))

    def draws(self, trials: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Both representations, many times."""
        rng = np.random.default_rng([self.n, round(100 * self.share), self.wordings])
        sides: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
        for trial in range(trials):
            causes = self.share * rng.normal(size=(self.n, 4))
            if self.heavy:
                causes *= np.exp(0.5 * rng.normal(size=(self.n, 1)))
            for side, mixing in zip(sides, self.mixing, strict=True):
                texts = causes @ mixing + rng.normal(size=(self.n, mixing.shape[1]))
                rows = np.repeat(texts, self.wordings, axis=0)
                if self.wordings > 1:
                    rows += rng.normal(size=rows.shape)
                side[f"{trial}"] = rows
        return sides

    def intervals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values of debiased CKA and the ends of their intervals."""
        groups = np.repeat(np.arange(self.n), self.wordings).tolist() if self.grouped else None
        found = compare_layers(
            *self.draws(TRIALS), [NAME], wanted=np.eye(TRIALS), resamples=200, seed=1, threads=2,
            groups=groups,
        )[NAME]  # fmt: skip
        assert found.lower is not None
        assert found.upper is not None
        return np.diagonal(found.values), np.diagonal(found.lower), np.diagonal(found.upper)


MIXING = [
    np.random.default_rng(0).normal(size=(4, 8)),
    np.random.default_rng(1).normal(size=(4, 6)),
]
CASES = {
    "unrelated, 40 texts": Case(0.0, 40),
    "weakly related, 40 texts": Case(0.5, 40),
    "strongly related, 100 texts": Case(2.0, 100),
    "very alike, 40 texts": Case(1.0, 40, alike=True),
    "very alike, 100 texts": Case(1.0, 100, alike=True),
    "very alike, heavy tails, 100 texts": Case(1.0, 100, heavy=True, alike=True),
}


def near(found: float, shown: float) -> bool:
    """Another machine's rounding may decide a draw or two otherwise."""
    return abs(found - shown) <= 0.005


@pytest.mark.parametrize("name", _each(CASES, ALWAYS))
def test_intervals_cover_the_truth(name: str) -> None:
    """The interval contains the CKA of the distributions in at least 90 of 100 draws."""
    case = CASES[name]
    _, lower, upper = case.intervals()
    rate = float(((lower <= case.truth) & (case.truth <= upper)).mean())
    assert rate >= 0.9
    shown = documented("Coverage of intervals")[name]
    assert shown[0] == round(case.truth, 3)
    assert near(rate, shown[1])


@pytest.mark.simulation
@pytest.mark.parametrize("grouped", [True, False])
def test_groups_are_what_is_drawn(grouped: bool) -> None:
    """With 4 wordings a text, only halves of the groups show how much other texts would change."""
    values, lower, upper = Case(1.0, 40, wordings=4, grouped=grouped).intervals()
    mean = float(values.mean())
    rate = float(((lower <= mean) & (mean <= upper)).mean())
    assert (rate >= 0.91) if grouped else (rate < 0.9)
    drawn = "groups drawn" if grouped else "single rows drawn"
    shown = documented("Coverage of intervals")[f"40 texts in 4 wordings, {drawn}"]
    assert near(mean, shown[0])
    assert near(rate, shown[1])


def test_an_ordinary_bootstrap_is_wrong() -> None:
    """With texts drawn twice, intervals of debiased CKA on noise nearly never contain 0."""
    rng = np.random.default_rng(5)
    trials, contain = 200, 0
    a, b = CASES["unrelated, 40 texts"].draws(trials)
    for x, y in zip(a.values(), b.values(), strict=True):
        draws = rng.integers(0, 40, (200, 40))
        values = [unbiased_cka(x[rows] @ x[rows].T, y[rows] @ y[rows].T) for rows in draws]
        low, high = np.quantile(values, [0.025, 0.975])
        contain += low <= 0 <= high
    assert contain / trials < 0.1
    text = PAGE.read_text(encoding="utf-8")
    assert f"contain 0 in {100 * contain / trials:.0f} of 100" in " ".join(text.split())


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
