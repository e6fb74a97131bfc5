"""Where there is nothing to find: do intervals cover the truth, and do nulls reject as often as they say?

Run this file to see the rates; docs/probes.md shows them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from stratascope.measure.probes import Design, Settings, design, probe
from stratascope.measure.probes.crossval import fit_weights
from stratascope.measure.probes.labels import Target

DRAWS, PERMUTATIONS, RESAMPLES = 1000, 39, 200
# Fewer penalties than by default, for the sake of time.
SETTINGS = Settings(cs=(1e-3, 1e-1), alphas=(1e4, 1e2, 1e0))

Numbers = np.ndarray
Drawn = tuple[Numbers, Numbers, Numbers | None]


def alone(rng: np.random.Generator) -> Drawn:
    """48 rows of 6 features, two classes."""
    return rng.standard_normal((48, 6)), rng.permutation(np.arange(48) % 2), None


def wide(rng: np.random.Generator) -> Drawn:
    """48 rows of 100 features, two classes."""
    return rng.standard_normal((48, 100)), rng.permutation(np.arange(48) % 2), None


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
    case.__name__: case for case in (alone, wide, grouped, paired, quantities)
}


def truths(features: Numbers, plan: Design) -> dict[str, float]:
    """What the measures of these probes would be on endless new noise.

    Features cannot tell labels: half is right, half of the pairs is ranked right. The squared error
    of a prediction is that of the best one, a constant, and its squared distance from that.
    """
    kind = plan.target.kind
    if kind == "logistic" and len(features) != plan.counts.shape[1]:
        return {"accuracy": 0.5, "auroc": 0.5}
    errors = []
    for fold in np.unique(plan.folds):
        inside = plan.folds != fold
        _, left = np.unique(plan.folds[inside], return_inverse=True)
        target = Target(kind, plan.target.values[inside], plan.target.classes)
        fitted = fit_weights(features[inside], target, left, SETTINGS)
        if kind == "ridge":
            errors.append(np.square(fitted.weights).sum() + fitted.bias[0] ** 2)
        else:
            new = np.random.default_rng(0).standard_normal((500, features.shape[1]))
            errors.append(np.square(1 / (1 + np.exp(-fitted.apply(new))) - 0.5).mean())
    if kind == "ridge":
        return {"r2": -float(np.mean(errors))}
    return {"accuracy": 0.5, "auroc": 0.5, "brier": 0.25 + float(np.mean(errors))}


def rates(name: str, draws: int = DRAWS) -> dict[str, float]:
    """How often the interval misses, how often it would without being widened, how often p <= 0.05.

    What it is to cover is the mean over training sets, which is what cross-validation estimates
    (Bates, Hastie & Tibshirani, 2024); for the Brier score it is that of the probes as fitted.
    """
    results, true = [], []
    for seed in range(draws):
        features, labels, groups = CASES[name](np.random.default_rng([len(name), seed]))
        plan = design(
            labels, groups=groups, permutations=PERMUTATIONS, resamples=RESAMPLES, seed=seed
        )
        results.append(probe(features, plan, SETTINGS).measures)
        true.append(truths(features, plan))
    found: dict[str, float] = {}
    for measure in true[0]:
        each = [result[measure] for result in results]
        estimate, upper, widening, p = np.array(
            [(one.estimate, one.upper, one.widening, one.p) for one in each]
        ).T
        truth = np.array([one[measure] for one in true])
        gap = np.abs(estimate - (truth if measure == "brier" else truth.mean()))
        reach = upper - estimate
        found[f"{measure} missed"] = float((gap > reach).mean())
        found[f"{measure} missed, not widened"] = float((gap > reach / widening).mean())
        found[f"{measure} rejected"] = float((p <= 0.05).mean())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_rates_on_pure_noise(name: str) -> None:
    """At 0.05, over 1,000 draws of pure noise, intervals miss and nulls reject between 0.03 and 0.07."""
    for key, rate in rates(name).items():
        if not key.endswith("not widened"):
            assert 0.03 <= rate <= 0.07, (key, rate)


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        print(case, {key: round(rate, 3) for key, rate in rates(case).items()}, flush=True)
