"""Neurons' numbers: parts merge to the whole, and selectivity keeps what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from stratascope.measure.multiple import benjamini_hochberg
from stratascope.measure.neurons.examples import merged_examples
from stratascope.measure.neurons.moments import Moments, merged, moments_of
from stratascope.measure.neurons.selectivity import (
    mutual_information,
    neighbours,
    p_of_largest,
    property_of,
    selective,
)
from stratascope.measure.neurons.sketch import positive_share, quantiles, zero_share
from stratascope.measure.probes.labels import target_of


def moments(values: np.ndarray) -> Moments:
    shift = values[0].astype(np.float64)
    sums = np.stack([((values - shift) ** power).sum(0) for power in (1, 2, 3, 4)])
    return moments_of(len(values), shift, sums)


@pytest.mark.parametrize("cuts", [(1,), (50, 51), (10, 200, 299)])
def test_moments_merge_for_any_cut(cuts: tuple[int, ...]) -> None:
    """Mean, deviation, skewness and kurtosis of parts are SciPy's of the whole."""
    rng = np.random.default_rng(1)
    values = rng.gamma(2, size=(300, 4)) * [1, 10, 0.01, 1] + [0, 1e3, 0, -5]
    parts = np.split(values, cuts)
    found = moments(parts[0])
    for part in parts[1:]:
        found = merged(found, moments(part))
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std, values.std(0), rtol=1e-9)
    np.testing.assert_allclose(found.skewness, scipy.stats.skew(values), rtol=1e-6)
    np.testing.assert_allclose(found.kurtosis, scipy.stats.kurtosis(values), rtol=1e-6)


def test_quantiles_keep_their_error() -> None:
    """Quantiles from buckets an eighth wide are within 1/17 of the value at that rank; counts exact."""
    rng = np.random.default_rng(2)
    values = rng.standard_t(3, size=(2000, 5)).astype(np.float32)
    values[:, 4] = 0
    values[:900, 3] = 0
    powers = 2.0 ** np.repeat(np.arange(-14, 14), 8) * np.tile(1 + np.arange(8) / 8, 28)
    ends = np.concatenate([[0.0], powers, [np.inf]])
    lower = np.concatenate([-ends[:0:-1], [0.0], ends[:-1]])
    upper = np.concatenate([-ends[-2::-1], [0.0], ends[1:]])
    size = np.searchsorted(ends, np.abs(values), side="left")
    bucket = len(ends) - 1 + np.sign(values).astype(int) * size
    counts = np.stack([np.bincount(b, minlength=len(lower)) for b in bucket.T], axis=1)
    shares = (0.01, 0.25, 0.5, 0.75, 0.99)
    found = quantiles(counts, np.stack([lower, upper]), shares, values.min(0), values.max(0))
    exact = np.sort(values, axis=0)[[int(np.ceil(share * 2000)) - 1 for share in shares]]
    np.testing.assert_allclose(found, exact, rtol=1 / 16.9, atol=2.0**-15)
    bounds = np.stack([lower, upper])
    np.testing.assert_array_equal(positive_share(counts, bounds), (values > 0).mean(0))
    np.testing.assert_array_equal(zero_share(counts, bounds), (values == 0).mean(0))


def test_examples_of_parts_are_those_of_the_whole() -> None:
    """Merged in the order of the input, ties go to the earlier text, from wherever they come."""
    rng = np.random.default_rng(3)
    values = rng.integers(0, 4, (12, 6)).astype(float)

    def best(rows: np.ndarray, first: int) -> dict[str, np.ndarray]:
        order = np.argsort(-rows, axis=0, kind="stable")[:3]
        found = {"values": np.take_along_axis(rows, order, axis=0), "texts": order + first}
        pad = 3 - len(order)
        return {
            "values": np.pad(found["values"], ((0, pad), (0, 0)), constant_values=np.nan),
            "texts": np.pad(found["texts"], ((0, pad), (0, 0)), constant_values=-1),
        }

    whole = best(values, 0)
    for cut in (1, 5, 10):
        found = merged_examples(best(values[:cut], 0), best(values[cut:], cut), largest=True)
        np.testing.assert_array_equal(found["values"], whole["values"])
        np.testing.assert_array_equal(found["texts"], whole["texts"])


def test_selectivity_is_scipys() -> None:
    """Without groups: Mann-Whitney with ties, its AUROC, point-biserial correlation; Spearman."""
    rng = np.random.default_rng(4)
    values = rng.normal(size=(60, 5)).round(1)
    labels = ["abc"[i] for i in rng.integers(0, 3, 60)]
    values[:, 0] += np.array(labels) == "b"
    found = selective(values, property_of("x", target_of(labels), None, 0, 0))
    for row, name in enumerate("abc"):
        inside = np.array(labels) == name
        for neuron in range(5):
            a, b = values[inside, neuron], values[~inside, neuron]
            test = scipy.stats.mannwhitneyu(a, b, method="asymptotic", use_continuity=False)
            assert found.auroc[row, neuron] == pytest.approx(test.statistic / (len(a) * len(b)))
            assert found.p[row, neuron] == pytest.approx(test.pvalue, rel=1e-9)
            r = scipy.stats.pointbiserialr(inside, values[:, neuron]).statistic
            assert found.correlation[row, neuron] == pytest.approx(r)
    y = rng.normal(size=60)
    numeric = selective(values, property_of("y", target_of(y), None, 0, 0))
    rho = [scipy.stats.spearmanr(y, values[:, i]).statistic for i in range(5)]
    np.testing.assert_allclose(numeric.z[0], np.sqrt(59) * np.array(rho))


@pytest.mark.parametrize("kind", ["between", "within"])
def test_null_of_groups_is_that_of_their_shuffles(kind: str) -> None:
    """Mean and spread in closed form are those of thousands of shuffles that respect groups."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(20), 3)
    labels = np.repeat(rng.integers(0, 2, 20), 3) if kind == "between" else rng.integers(0, 2, 60)
    values = rng.normal(size=(60, 3)) + np.repeat(rng.normal(size=20), 3)[:, None]
    prop = property_of("x", target_of(labels), groups, 4000, 0)
    found = selective(values, prop)
    ranks = scipy.stats.rankdata(values, axis=0) - 30.5
    sums = prop.shuffled @ ranks
    own = prop.target.values @ ranks
    z = (own - sums.mean(0)) / sums.std(0)
    np.testing.assert_allclose(found.z[0], z, atol=0.1)
    assert found.largest.shape == (4000,)
    # Alone, a neuron's p by the largest of all is no smaller than its own.
    assert (p_of_largest(found.z, found.largest)[0] >= found.p[0] - 0.05).all()


def test_constant_neurons_are_left_out() -> None:
    """A neuron that is the same in all texts has no z, no p and no neighbours, and harms nobody's."""
    rng = np.random.default_rng(6)
    values = rng.normal(size=(30, 3))
    values[:, 1] = 0.5
    values[:, 2] = values[:, 0] * 2 + 1
    found = selective(values, property_of("x", target_of([0, 1] * 15), None, 5, 0))
    assert np.isnan(found.z[0, 1])
    assert np.isfinite(found.z[0, [0, 2]]).all()
    assert np.isfinite(found.largest).all()
    numbers, r = neighbours(values, 1)
    assert numbers[:, 0].tolist() == [2, -1, 0]
    assert r[0, 0] == pytest.approx(1, abs=1e-6)


def test_information_is_that_of_the_table() -> None:
    """A neuron that is the label has its entropy, less the bias; one of noise has about none."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 2, 4000)
    values = np.stack([labels, rng.normal(size=4000)], axis=1)
    found = mutual_information(values, target_of(labels.tolist()))
    share = labels.mean()
    entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    assert found[0] == pytest.approx(entropy - 1 / (2 * 4000 * np.log(2)), abs=1e-9)
    assert abs(found[1]) < 0.003


@pytest.mark.parametrize("grouped", [False, True])
def test_noise_gives_no_discovery_beyond_its_rate(grouped: bool) -> None:
    """Of 200 studies of noise, with neurons that go together, at most about 5 % find anything."""
    rng = np.random.default_rng(8)
    found_q, found_max, studies = 0, 0, 200
    for seed in range(studies):
        groups = np.repeat(np.arange(40), 2) if grouped else np.arange(80)
        labels = np.repeat(rng.integers(0, 3, 40), 2) if grouped else rng.integers(0, 3, 80)
        shared = rng.normal(size=(groups.max() + 1, 4))[groups]
        values = shared @ rng.normal(size=(4, 60)) + rng.normal(size=(80, 60))
        one = selective(values, property_of("x", target_of(labels), groups, 40, seed))
        found_q += bool((benjamini_hochberg(one.p.ravel()) <= 0.05).any())
        found_max += bool((p_of_largest(one.z, one.largest) <= 0.05).any())
    # 0.05 and three standard errors of 200 draws.
    assert found_q / studies <= 0.096
    assert found_max / studies <= 0.096
