from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from stratascope.errors import StratascopeError
from stratascope.measure.similarity import SIMILARITIES, compare_layers, products, tiles
from stratascope.measure.similarity.forms import Form, workers
from stratascope.measure.similarity.held import Draws
from stratascope.measure.similarity.pairs import LINEAR
from stratascope.measure.similarity.sides import Sides

Side = dict[str, np.ndarray]
MEASURES = list(SIMILARITIES)
STREAMING = [name for name, measure in SIMILARITIES.items() if measure.form.streams]
# Drawing again the bandwidth of every half is another measure: theirs is that of all texts.
REPEATABLE = [name for name in MEASURES if not name.startswith("rbf")]
each = pytest.mark.parametrize("name", MEASURES)


def sides(n: int = 40, seed: int = 0, widths: tuple[int, ...] = (6, 9, 30)) -> tuple[Side, Side]:
    """Layers of two models that drift apart with depth, of different widths."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, 5))
    a, b = {}, {}
    for depth, width in enumerate(widths):
        for side, wide in ((a, width), (b, width + 1)):
            noise = (1 + depth) * rng.normal(size=(n, wide))
            side[f"layer_{depth}"] = common @ rng.normal(size=(5, wide)) + noise + 2
    return a, b


def one_by_one(name: str, a: Side, b: Side) -> np.ndarray:
    function = SIMILARITIES[name].function
    return np.array([[function(x, y) for y in b.values()] for x in a.values()])


@dataclass
class Counted:
    """An array that counts how often each row is read, as a file would be."""

    array: np.ndarray
    reads: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.reads = np.zeros(len(self.array), dtype=int)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.reads[rows] += 1
        return self.array[rows]


@each
def test_matrices_hold_what_the_measure_gives_for_each_pair(name: str) -> None:
    """All pairs at once equal one call a pair, between two models and within one."""
    a, b = sides()
    across = compare_layers(a, b, [name])[name]
    np.testing.assert_allclose(across.values, one_by_one(name, a, b), atol=1e-9)
    assert (across.a, across.b, across.n) == (tuple(a), tuple(b), 40)
    within = compare_layers(a, measures=[name])[name]
    # An angle of 0 is known to 1e-8 only.
    np.testing.assert_allclose(within.values, one_by_one(name, a, a), atol=1e-7)
    np.testing.assert_allclose(np.diagonal(within.values), SIMILARITIES[name].same, atol=1e-7)


def test_asking_together_gives_what_asking_alone_gives() -> None:
    """Measures that share their relations do not see one another."""
    a, b = sides()
    options: dict[str, Any] = {"permutations": 7, "resamples": 9, "seed": 3}
    together = compare_layers(a, b, MEASURES, **options)
    for name in MEASURES:
        alone = compare_layers(a, b, [name], **options)[name]
        for what in ("values", "p", "null_mean", "null_bound", "lower", "upper"):
            assert getattr(alone, what).tobytes() == getattr(together[name], what).tobytes()


@pytest.mark.parametrize("kilobytes", [1, 30, 200])
@pytest.mark.parametrize("n", [40, 400])
def test_streaming_in_blocks_changes_rounding_only(n: int, kilobytes: int) -> None:
    """However few texts fit at a time, values are those of all texts at once to 1e-9."""
    a, b = sides(n)
    names = [name for name in STREAMING if not name.startswith("rbf")]
    whole = compare_layers(a, b, names)
    blocks = compare_layers(a, b, names, memory=kilobytes * 1024)
    for name in names:
        np.testing.assert_allclose(blocks[name].values, whole[name].values, atol=1e-9)


def test_kernels_with_a_bandwidth_stream_too() -> None:
    """The median over pairs is that of all pairs, whatever the size of the tiles."""
    a, b = sides(150)
    names = ["rbf_cka", "rbf_cka_debiased"]
    whole = compare_layers(a, b, names)
    blocks = compare_layers(a, b, names, memory=400_000)
    for name in names:
        np.testing.assert_allclose(blocks[name].values, one_by_one(name, a, b), atol=1e-9)
        np.testing.assert_allclose(blocks[name].values, whole[name].values, atol=1e-9)
    with pytest.raises(StratascopeError, match="median over pairs of 150 texts takes"):
        compare_layers(a, b, names, memory=100_000)


@pytest.mark.parametrize("widths", [(3, 4), (40, 70)])
@pytest.mark.parametrize("n", [25, 300])
@pytest.mark.parametrize("memory", [2**30, 200_000])
def test_both_sides_of_linear_cka_agree(n: int, widths: tuple[int, int], memory: int) -> None:
    """Cross-products of features and relations of texts give the same numbers to 1e-9."""
    a, b = sides(n, widths=widths)
    layers = [*sides_of(a, b).layers]
    assert len(layers) == 4
    names = ("linear_cka", "linear_cka_debiased")
    centrings = {name: SIMILARITIES[name].form.streams[1] for name in names}  # type: ignore[index]
    with workers(2) as shared:
        left = products.from_features(sides_of(a, b), centrings, memory, shared)
        right = tiles.from_texts(sides_of(a, b), LINEAR, centrings, memory, shared)
    for name in names:
        np.testing.assert_allclose(left[name].values, right[name].values, atol=1e-9)
        np.testing.assert_allclose(left[name].values, one_by_one(name, a, b), atol=1e-9)


def sides_of(a: Side, b: Side) -> Sides:
    from stratascope.measure.similarity.features import layers_of

    first, second = layers_of(a, ""), layers_of(b, "")
    places = range(len(first)), range(len(first), len(first) + len(second))
    return Sides([*first, *second], *places, np.ones((len(first), len(second)), np.bool_))


def test_many_texts_and_few_features_make_no_matrix_of_texts() -> None:
    """Debiased linear CKA of 20,000 texts needs megabytes where n x n would be gigabytes."""
    rng = np.random.default_rng(1)
    a = {i: rng.normal(size=(20_000, 8)) for i in "xy"}
    tracemalloc.start()
    found = compare_layers(a, permutations=2, measures=["linear_cka_debiased"])
    values = compare_layers(a)["linear_cka_debiased"].values
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6
    np.testing.assert_allclose(values, found["linear_cka_debiased"].values, atol=1e-9)
    assert abs(values[0, 1]) < 1e-3


def test_memory_stays_near_what_is_allowed() -> None:
    """Streaming holds about the bytes that are allowed, not those of all relations."""
    a, b = sides(1200, widths=(300, 300, 300))
    limit = 12 * 2**20
    tracemalloc.start()
    compare_layers(a, b, ["linear_cka_debiased", "rsa_pearson"], memory=limit, threads=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Six relations of 1200 texts are 66 MiB.
    assert peak < 2 * limit


def test_features_on_disk_are_read_once() -> None:
    """What fits in memory is read once, whatever is computed; what does not, in blocks."""
    a, b = sides(60)
    disk = [{name: Counted(array) for name, array in side.items()} for side in (a, b)]
    compare_layers(*disk, MEASURES, permutations=3, resamples=3)
    for side in disk:
        for counted in side.values():
            assert (counted.reads == 1).all()
    again = [{name: Counted(array) for name, array in side.items()} for side in (a, b)]
    found = compare_layers(*again, ["linear_cka"], memory=20_000)
    np.testing.assert_allclose(found["linear_cka"].values, one_by_one("linear_cka", a, b))
    assert again[0]["layer_0"].reads.min() > 1


def test_threads_change_no_bit() -> None:
    """One thread or four: the same bytes, for values, nulls and intervals."""
    a, b = sides(60)
    found = [
        compare_layers(a, b, MEASURES, permutations=5, resamples=5, threads=threads)
        for threads in (1, 4)
    ]
    streamed = [compare_layers(a, b, MEASURES, threads=threads) for threads in (1, 4)]
    for one, four in (found, streamed):
        for name in MEASURES:
            assert one[name].values.tobytes() == four[name].values.tobytes()
    for what in ("p", "null_mean", "null_bound", "lower", "upper"):
        for name in MEASURES:
            pair = [getattr(result[name], what).tobytes() for result in found]
            assert pair[0] == pair[1]


def test_what_is_held_in_groups_gives_the_same() -> None:
    """Where not all layers fit, a few at a time give the same draws; where not two, an error."""
    a, b = sides(60, widths=(5, 6, 7, 8, 9))
    options: dict[str, Any] = {"permutations": 4, "resamples": 4, "threads": 1}
    names = ["linear_cka_debiased", "rsa", "mutual_knn"]
    whole = compare_layers(a, b, names, **options)
    some = compare_layers(a, b, names, memory=300_000, **options)
    for name in names:
        for what in ("values", "p", "null_mean", "null_bound", "lower", "upper"):
            left, right = getattr(some[name], what), getattr(whole[name], what)
            np.testing.assert_allclose(left, right, atol=1e-12)
    with pytest.raises(StratascopeError, match="holding two layers of 60 texts takes"):
        compare_layers(a, b, ["rsa"], memory=30_000)


@each
def test_the_null_is_the_measure_of_permuted_texts(name: str) -> None:
    """p, mean and bound are those of calls on b's rows in the same random orders."""
    measure = SIMILARITIES[name]
    a, b = sides(30, seed=4, widths=(6, 9))
    found = compare_layers(a, b, [name], permutations=19, seed=5)[name]
    draws = Draws.of(30, 19, 0, None, 5)
    for i, x in enumerate(a.values()):
        for j, y in enumerate(b.values()):
            value = measure.function(x, y)
            null = np.array([measure.function(x, y[draws.permutation(k).rows]) for k in range(19)])
            closer = (null <= value) if measure.lower_is_closer else (null >= value)
            assert found.p[i, j] == (1 + closer.sum()) / 20
            assert found.null_mean[i, j] == pytest.approx(null.mean(), abs=1e-9)
            quantile = 0.05 if measure.lower_is_closer else 0.95
            bound = np.quantile(null, quantile)
            assert found.null_bound[i, j] == pytest.approx(bound, abs=1e-9)


@pytest.mark.parametrize("name", REPEATABLE)
@pytest.mark.parametrize("grouped", [False, True])
def test_the_interval_comes_from_halves(name: str, grouped: bool) -> None:
    """Its ends are those of calls on random halves of the texts, or of their groups."""
    measure = SIMILARITIES[name]
    a, b = sides(45, seed=6, widths=(6, 8))
    groups = [f"topic {i % 15}" for i in range(45)] if grouped else None
    found = compare_layers(a, b, [name], resamples=25, groups=groups, seed=7)[name]
    draws = Draws.of(45, 0, 25, groups, 7)
    units = 15 if grouped else 45
    assert found.groups == units
    x, y = a["layer_1"], b["layer_0"]
    halves = [draws.half(k).rows for k in range(25)]
    for rows in halves:
        assert len(rows) == (units // 2) * (45 // units)
        assert not grouped or len({groups[i] for i in rows}) == 7  # type: ignore[index]
    values = np.array([measure.function(x[rows], y[rows]) for rows in halves])
    low, high = np.quantile(values - values.mean(), [0.025, 0.975])
    widening = np.sqrt((units // 2) / (units - units // 2))
    ends = np.clip(
        measure.function(x, y) + widening * np.array([low, high]), measure.low, measure.high
    )
    assert found.lower[1, 0] == pytest.approx(ends[0], abs=1e-8)
    assert found.upper[1, 0] == pytest.approx(ends[1], abs=1e-8)


def test_halves_of_a_gaussian_kernel_keep_its_bandwidth() -> None:
    """A half of the texts has the kernel that all texts gave it."""
    a, _ = sides(30, widths=(5,))
    form: Form = SIMILARITIES["rbf_cka"].form
    from stratascope.measure.similarity.features import Layer

    whole = form.prepare(Layer("x", a["layer_0"]))
    half = Draws.of(30, 0, 1, None, 0).half(0)
    part = whole.part(half)
    from scipy.spatial.distance import pdist, squareform

    width = np.median(pdist(a["layer_0"]))
    expected = np.exp(-(pdist(a["layer_0"][half.rows]) ** 2) / (2 * width**2))
    np.testing.assert_allclose(squareform(part.values), squareform(expected), atol=1e-12)


def test_a_layer_on_itself_is_certain() -> None:
    """The interval of a representation and itself is its one value; no order comes as close."""
    a, _ = sides()
    for name, found in compare_layers(a, measures=MEASURES, permutations=9, resamples=9).items():
        same = SIMILARITIES[name].same
        for matrix in (found.lower, found.upper):
            np.testing.assert_allclose(np.diagonal(matrix), same, atol=1e-7)
        np.testing.assert_array_equal(np.diagonal(found.p), 0.1)


@pytest.mark.parametrize("options", [{}, {"permutations": 3, "resamples": 3}])
def test_a_layer_without_variation_spoils_no_other(options: dict[str, Any]) -> None:
    """Its row is NaN and the reason is told; all other pairs are what they were."""
    a, b = sides()
    a["flat"], b["alike"] = np.ones((40, 4)), np.eye(40)
    names = ["linear_cka_debiased", "rbf_cka", "rsa", "rsa_pearson", "svcca", "mutual_knn"]
    found = compare_layers(a, b, names, **options)
    for name in names:
        values = found[name].values
        assert np.isnan(values[3]).all()
        assert any("flat of a: all texts have the same" in why for why in found[name].undefined)
        expected = one_by_one(name, *sides())
        np.testing.assert_allclose(values[:3, :3], expected, atol=1e-9)
        if options:
            assert np.isnan(found[name].p[3]).all()
            assert not np.isnan(found[name].p[:3, :3]).any()
    alike = [name for name in names if len(found[name].undefined) == 2]
    assert alike == ["linear_cka_debiased", "rsa", "rsa_pearson"]


def test_no_interval_where_halves_say_nothing() -> None:
    """With fewer texts than directions in a half, CCA is 1 in every half: no interval."""
    rng = np.random.default_rng(8)
    a, b = {"x": rng.normal(size=(30, 18))}, {"y": rng.normal(size=(30, 18))}
    found = compare_layers(a, b, ["pwcca", "procrustes"], resamples=10)
    assert np.isnan(found["pwcca"].lower).all()
    assert found["pwcca"].values[0, 0] < 1
    assert found["procrustes"].lower < found["procrustes"].values < found["procrustes"].upper


@pytest.mark.parametrize("options", [{}, {"permutations": 2}])
def test_only_wanted_pairs_are_there(options: dict[str, Any]) -> None:
    """Pairs that were not wanted are NaN; the others are what they would be among all."""
    a, b = sides()
    wanted = np.eye(3, dtype=bool)
    whole = compare_layers(a, b, MEASURES, **options)
    some = compare_layers(a, b, MEASURES, wanted=wanted, **options)
    for name in MEASURES:
        np.testing.assert_array_equal(np.isnan(some[name].values), ~wanted)
        diagonals = np.diagonal(some[name].values), np.diagonal(whole[name].values)
        np.testing.assert_allclose(*diagonals, atol=1e-12)


def test_wrong_questions_are_errors() -> None:
    """Other texts, too few, unknown measures and impossible draws are named."""
    a, b = sides()
    with pytest.raises(StratascopeError, match="no similarity measure 'cka'; there are linear_cka"):
        compare_layers(a, b, ["cka"])
    with pytest.raises(StratascopeError, match="same texts, got 40 and 30"):
        compare_layers(a, sides(30)[0])
    with pytest.raises(StratascopeError, match="layer_0 of a has 40, late of a 39"):
        compare_layers(a | {"late": a["layer_0"][1:]}, b)
    with pytest.raises(StratascopeError, match="mutual_knn: 11 texts are too few"):
        compare_layers(*sides(11), ["mutual_knn"])
    with pytest.raises(StratascopeError, match="at least 12 texts in any half of the 20 groups"):
        compare_layers(*sides(20), ["mutual_knn"], resamples=5)
    with pytest.raises(StratascopeError, match="3 groups for 40 texts"):
        compare_layers(a, b, resamples=5, groups=["x", "y", "z"])
    with pytest.raises(StratascopeError, match=r"wanted pairs must be some of \(3, 3\)"):
        compare_layers(a, b, wanted=np.zeros((3, 3), bool))
    with pytest.raises(StratascopeError, match="no layer of b"):
        compare_layers(a, {})
    holed = dict(b, layer_1=np.where(np.arange(40)[:, None] == 4, np.inf, b["layer_1"]))
    for options in ({}, {"permutations": 1}):
        with pytest.raises(StratascopeError, match="layer_1 of b: row 4 holds NaN or infinity"):
            compare_layers(a, holed, **options)
