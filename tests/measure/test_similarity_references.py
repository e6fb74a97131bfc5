"""Every measure against a computation that shares nothing with it, on five kinds of input."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import KernelCenterer

from stratascope.measure.similarity import SIMILARITIES
from stratascope.measure.similarity.kernels import rbf_cka, rbf_cka_debiased
from stratascope.measure.similarity.neighbours import mutual_knn
from stratascope.measure.similarity.rowspace import svcca


def hsic_unbiased(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """Song et al. 2012, equation 5, as it is written."""
    n, one = len(k), np.ones(len(k))
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    total = np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))


def hsic_biased(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    return float((KernelCenterer().fit_transform(k) * KernelCenterer().fit_transform(l)).sum())


def aligned(hsic: Callable[..., float], k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def linear(x: np.ndarray) -> np.ndarray:
    """With columns centred, as no kernel of this size survives a large common offset otherwise."""
    x = x - x.mean(axis=0)
    return x @ x.T


def gaussian(x: np.ndarray, fraction: float = 1.0) -> np.ndarray:
    bandwidth = fraction * np.median(pdist(x))
    return rbf_kernel(x - x.mean(axis=0), gamma=1 / (2 * bandwidth**2))


def slow_svcca(x: np.ndarray, y: np.ndarray, variance: float = 0.99) -> float:
    """Principal directions from the Gram matrix, canonical correlations as angles of subspaces."""
    bases = []
    for side in (x, y):
        values, vectors = np.linalg.eigh(linear(side))
        share = np.cumsum(values[::-1]) / values.sum()
        bases.append(vectors[:, ::-1][:, : int(np.sum(share < variance)) + 1])
    return float(np.cos(scipy.linalg.subspace_angles(*bases)).mean())


def slow_pwcca(x: np.ndarray, y: np.ndarray) -> float:
    """Canonical vectors as eigenvectors of projections; what is shared, on X's principal axes."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    qx, qy = scipy.linalg.orth(x), scipy.linalg.orth(y)
    squares, vectors = np.linalg.eigh(qx.T @ qy @ qy.T @ qx)
    count = min(qx.shape[1], qy.shape[1])
    squares, h = squares[::-1][:count], (qx @ vectors[:, ::-1])[:, :count]
    shared = squares > 1 - 2e-9
    inside = h[:, shared]
    # Eigenvectors of XX' within the shared subspace.
    _, turn = np.linalg.eigh(inside.T @ x @ x.T @ inside)
    h[:, shared] = inside @ turn
    weights = np.abs(h.T @ x).sum(axis=1)
    return float(weights @ np.sqrt(np.clip(squares, 0, 1)) / weights.sum())


def procrustes_fit(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides centred, at norm 1 and of one width, the first turned onto the second."""
    width = max(x.shape[1], y.shape[1])
    sides = []
    for side in (x, y):
        side = side - side.mean(axis=0)
        sides.append(np.pad(side / np.linalg.norm(side), ((0, 0), (0, width - side.shape[1]))))
    rotation, _ = scipy.linalg.orthogonal_procrustes(*sides)
    return sides[0] @ rotation, sides[1]


def slow_procrustes(x: np.ndarray, y: np.ndarray) -> float:
    turned, target = procrustes_fit(x, y)
    return float(((turned - target) ** 2).sum())


def slow_angular(x: np.ndarray, y: np.ndarray) -> float:
    turned, target = procrustes_fit(x, y)
    return float(np.arccos((turned * target).sum()))


def slow_mutual_knn(x: np.ndarray, y: np.ndarray, k: int = 10) -> float:
    near = []
    for side in (x, y):
        search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(side)
        near.append([set(row) for row in search.kneighbors(return_distance=False)])
    return float(np.mean([len(a & b) / k for a, b in zip(*near, strict=True)]))


REFERENCES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "linear_cka": lambda x, y: aligned(hsic_biased, linear(x), linear(y)),
    "linear_cka_debiased": lambda x, y: aligned(hsic_unbiased, linear(x), linear(y)),
    "rbf_cka": lambda x, y: aligned(hsic_biased, gaussian(x), gaussian(y)),
    "rbf_cka_debiased": lambda x, y: aligned(hsic_unbiased, gaussian(x), gaussian(y)),
    "svcca": slow_svcca,
    "pwcca": slow_pwcca,
    "procrustes": slow_procrustes,
    "angular": slow_angular,
    "rsa": lambda x, y: spearmanr(pdist(x, "correlation"), pdist(y, "correlation")).statistic,
    "rsa_pearson": lambda x, y: (
        pearsonr(pdist(x, "correlation"), pdist(y, "correlation")).statistic
    ),
    "mutual_knn": slow_mutual_knn,
}


def random(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    common = rng.normal(size=(60, 4))
    sides = [common @ rng.normal(size=(4, d)) + rng.normal(size=(60, d)) for d in (12, 17)]
    return sides[0], sides[1] + 5


def ill_conditioned(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Singular values over six orders of magnitude, far from the origin, mixed by a rotation."""
    x, y = random(rng)
    turns = [np.linalg.qr(rng.normal(size=(d, d))).Q for d in (12, 17)]
    return x * np.logspace(0, -6, 12) @ turns[0] + 10, y * np.logspace(2, -4, 17) @ turns[1]


def rank_deficient(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x, y = random(rng)
    return x[:, :5] @ rng.normal(size=(5, 20)), np.hstack([y[:, :6], y[:, :6], np.ones((60, 1))])


def few_texts(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    common = rng.normal(size=(25, 60))
    return common + rng.normal(size=(25, 60)), common[:, :40] + rng.normal(size=(25, 40))


def between(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Fewer texts than both widths together: the spaces intersect whatever they hold."""
    x, y = few_texts(rng)
    return x[:, :15], y[:, :18]


def many_texts(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=(300, 4)) ** 3
    return x, x @ rng.normal(size=(4, 3)) + rng.normal(size=(300, 3))


INPUTS = [random, ill_conditioned, rank_deficient, few_texts, between, many_texts]


def test_every_measure_has_a_reference() -> None:
    """A new measure cannot join the table without an independent computation."""
    assert set(REFERENCES) == set(SIMILARITIES)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("inputs", INPUTS, ids=lambda f: f.__name__)
def test_against_an_independent_computation(name: str, inputs: Callable[..., tuple]) -> None:
    """The measure equals its reference to 1e-6, either side first."""
    for seed in range(3):
        x, y = inputs(np.random.default_rng(seed))
        for sides in ((x, y), (y, x)):
            expected = REFERENCES[name](*sides)
            assert SIMILARITIES[name].function(*sides) == pytest.approx(expected, abs=1e-6)


def test_the_unbiased_estimator_is_the_mean_over_quadruples() -> None:
    """HSIC's U-statistic, summed over all quadruples of texts, gives the debiased CKA."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 4))

    def u_statistic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
        terms = [
            k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in permutations(range(7), 4)
        ]
        return float(np.mean(terms))

    expected = aligned(u_statistic, x @ x.T, y @ y.T)
    assert SIMILARITIES["linear_cka_debiased"].function(x, y) == pytest.approx(expected, abs=1e-12)


def test_debiased_cka_is_zero_on_average_without_relation() -> None:
    """On unrelated features, wider than there are texts, debiased CKA centres on 0; biased does not."""
    rng = np.random.default_rng(1)
    pairs = [(rng.normal(size=(20, 50)), rng.normal(size=(20, 50))) for _ in range(400)]
    values = [SIMILARITIES["linear_cka_debiased"].function(x, y) for x, y in pairs]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert np.mean([SIMILARITIES["linear_cka"].function(x, y) for x, y in pairs[:20]]) > 0.6


@pytest.mark.parametrize("fraction", [0.2, 0.5, 2.0])
def test_bandwidths(fraction: float) -> None:
    """The Gaussian's width is the fraction of the median distance, for both estimators."""
    x, y = random(np.random.default_rng(2))
    kernels = gaussian(x, fraction), gaussian(y, fraction)
    assert rbf_cka(x, y, fraction) == pytest.approx(aligned(hsic_biased, *kernels), abs=1e-9)
    assert rbf_cka_debiased(x, y, fraction) == pytest.approx(
        aligned(hsic_unbiased, *kernels), abs=1e-9
    )


@pytest.mark.parametrize("variance", [0.5, 0.9, 1.0])
def test_share_of_variance(variance: float) -> None:
    """SVCCA keeps the fewest principal directions that hold the share."""
    x, y = random(np.random.default_rng(3))
    # All of it, as far as rounding lets a sum of shares be 1.
    wanted = min(variance, 1 - 1e-12)
    assert svcca(x, y, variance) == pytest.approx(slow_svcca(x, y, wanted), abs=1e-9)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_numbers_of_neighbours(k: int) -> None:
    """Each k gives what scikit-learn's search gives; unrelated features share k of n - 1."""
    x, y = random(np.random.default_rng(4))
    assert mutual_knn(x, y, k) == pytest.approx(slow_mutual_knn(x, y, k), abs=1e-12)
    rng = np.random.default_rng(5)
    noise = [mutual_knn(*rng.normal(size=(2, 60, 9)), k) for _ in range(200)]
    assert np.mean(noise) == pytest.approx(k / 59, abs=4 * np.std(noise) / np.sqrt(200))


def test_equal_cosines_and_distances_are_ties() -> None:
    """The earlier of equally near texts is nearer; equal distances share their rank."""
    x = np.random.default_rng(6).integers(0, 2, (16, 4)) + np.array([0.0, 0.0, 0.0, 1.0])
    y = np.random.default_rng(7).normal(size=(16, 5))
    cosines = np.round(1 - squareform(pdist(x, "cosine")), 12)
    near = [sorted(set(range(16)) - {i}, key=lambda j: (-cosines[i, j], j))[:3] for i in range(16)]
    others = np.argsort(squareform(pdist(y, "cosine")), axis=1)[:, 1:4]
    expected = np.mean([len(set(a) & set(b)) / 3 for a, b in zip(near, others, strict=True)])
    assert mutual_knn(x, y, 3) == pytest.approx(expected)
    varied = x * [1, 2, 3, 4]
    ranks = spearmanr(np.round(pdist(varied, "correlation"), 12), pdist(y, "correlation"))
    assert SIMILARITIES["rsa"].function(varied, y) == pytest.approx(ranks.statistic, abs=1e-12)


def test_scipy_s_own_procrustes() -> None:
    """SciPy's disparity also scales: 1 minus the square of the similarity."""
    x, y = random(np.random.default_rng(8))
    _, _, disparity = scipy.spatial.procrustes(np.pad(x, ((0, 0), (0, 5))), y)
    distance = SIMILARITIES["procrustes"].function(x, y)
    assert 1 - (1 - distance / 2) ** 2 == pytest.approx(disparity, abs=1e-9)


def test_the_angle_is_a_metric() -> None:
    """Three representations keep the triangle inequality, also of different widths."""
    rng = np.random.default_rng(9)
    angle = SIMILARITIES["angular"].function
    for _ in range(50):
        x, y, z = (rng.normal(size=(15, d)) for d in rng.integers(1, 20, 3))
        assert angle(x, z) <= angle(x, y) + angle(y, z) + 1e-9


def test_rounding_of_float32_is_no_direction() -> None:
    """Features of rank 5, stored in float32, have rank 5: PWCCA sees no noise of 1e-8."""
    rng = np.random.default_rng(10)
    x, y = rng.normal(size=(80, 5)) @ rng.normal(size=(5, 30)) + 3, rng.normal(size=(80, 6))
    stored = x.astype(np.float32)
    assert np.linalg.matrix_rank(stored.astype(np.float64)) == 30
    pwcca = SIMILARITIES["pwcca"].function
    assert pwcca(stored, y) == pytest.approx(pwcca(x, y), abs=1e-5)
    assert pwcca(y, stored) == pytest.approx(pwcca(y, x), abs=1e-5)
