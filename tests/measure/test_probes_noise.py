"""Where there is nothing to find: do intervals cover the truth, and do nulls reject as often as they say?

Run this file to see the rates; docs/probes.md shows them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stratascope.measure.probes import Design, Settings, design, probe
from stratascope.measure.probes.crossval import fit_weights
from stratascope.measure.probes.labels import Target

pytestmark = pytest.mark.simulation

PAGE = Path(__file__).parents[2] / "docs" / "probes.md"
DRAWS, PERMUTATIONS, RESAMPLES = 1000, 39, 200
# Fewer penalties than by default, for the sake of time.
SETTINGS = Settings(cs=(1e-3, 1e-1), alphas=(1e4, 1e2, 1e0))

Numbers = np.ndarray
Drawn = tuple[Numbers, Numbers, Numbers | None]


def alone(rng: np.random.Generator) -> Drawn:
    """48 rows of 6 features, two classes."""
    return rng.standard_normal((48, 6)), rng.permutation(np.arange(48) % 2), None


def grouped(rng: np.random.Generator) -> Drawn:
    """30 groups of 2 to 4 rows that resemble each other and share their label."""
    groups = np.repeat(np.arange(30), rng.integers(2, 5, 30))
    features = rng.standard_normal((30, 6))[groups] + 0.5 * rng.standard_normal((len(groups), 6))
    return features, rng.permutation(np.arange(30) % 2)[groups], groups


def paired(rng: np.random.Generator) -> Drawn:
    """24 groups of 2 rows that resemble each other, one of each class."""
    groups = np.repeat(np.arange(24), 2)
    features = rng.standard_normal((24, 6))[groups] + 0.5 * rng.standard_normal((48, 6))
    return features, np.concatenate([rng.permutation(2) for _ in range(24)]), groups


def quantities(rng: np.random.Generator) -> Drawn:
    """48 rows of 6 features, and numbers for ridge."""
    return rng.standard_normal((48, 6)), rng.standard_normal(48), None


CASES: dict[str, Callable[[np.random.Generator], Drawn]] = {
    case.__name__: case for case in (alone, grouped, paired, quantities)
}


def truths(features: Numbers, plan: Design) -> dict[str, float]:
    """What the measures of these probes would be on endless new noise.

    Features cannot tell labels: half is right, half of the pairs is ranked right. The squared error
    of a prediction is that of the best one, a constant, and its squared distance from that.
    """
    if plan.target.kind == "logistic":
        return {"accuracy": 0.5, "auroc": 0.5}
    errors = []
    for fold in np.unique(plan.folds):
        inside = plan.folds != fold
        _, left = np.unique(plan.folds[inside], return_inverse=True)
        target = Target("ridge", plan.target.values[inside])
        fitted = fit_weights(features[inside], target, left, SETTINGS)
        errors.append(np.square(fitted.weights).sum() + fitted.bias[0] ** 2)
    return {"r2": -float(np.mean(errors))}


def rates(name: str, draws: int = DRAWS) -> dict[str, list[float]]:
    """How often the interval misses, how often it would without being widened, how often p <= 0.05.

    For each measure these three. What is to be covered is the mean over training sets, which is what
    cross-validation estimates (Bates, Hastie & Tibshirani, 2024).
    """
    results, true = [], []
    for seed in range(draws):
        features, labels, groups = CASES[name](np.random.default_rng([len(name), seed]))
        plan = design(
            labels, groups=groups, permutations=PERMUTATIONS, resamples=RESAMPLES, seed=seed
        )
        results.append(probe(features, plan, SETTINGS).measures)
        true.append(truths(features, plan))
    found = {}
    for measure in true[0]:
        each = [result[measure] for result in results]
        estimate, upper, widening, p = np.array(
            [(one.estimate, one.upper, one.widening, one.p) for one in each]
        ).T
        gap = np.abs(estimate - np.mean([truth[measure] for truth in true]))
        reach = upper - estimate
        missed = [gap > reach, gap > reach / widening, p <= 0.05]
        found[measure] = [float(np.mean(which)) for which in missed]
    return found


def documented(name: str) -> dict[str, list[float]]:
    """The case's rows in the table of the page."""
    rows = re.findall(rf"^\| {name} \| (\w+) \|((?: [\d.]+ \|)+)$", PAGE.read_text(), re.MULTILINE)
    return {measure: [float(cell) for cell in cells.split("|")[:-1]] for measure, cells in rows}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_rates_on_pure_noise(name: str) -> None:
    """At 0.05, over 1,000 draws of pure noise, intervals miss and nulls reject between 0.03 and 0.07.

    And these are the rates that the docs show.
    """
    found = rates(name)
    for measure, (missed, _, rejected) in found.items():
        assert 0.03 <= missed <= 0.07, measure
        assert 0.03 <= rejected <= 0.07, measure
    # Another machine may round a draw to the other side.
    assert documented(name) == {key: pytest.approx(row, abs=0.004) for key, row in found.items()}


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        for measure, row in rates(case).items():
            print(
                "|", " | ".join([case, measure, *(f"{rate:.3f}" for rate in row)]), "|", flush=True
            )
