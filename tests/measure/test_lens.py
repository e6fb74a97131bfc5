"""The logit lens' numbers, against SciPy and against plain sorting."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats

from stratascope.measure import readout
from stratascope.measure.lens import final_logits, likeliest, ranks_of, read_layer, read_logits
from stratascope.measure.readout import Norm, Readout
from stratascope.measure.residual import cosines, lengths

VOCABULARY, HIDDEN, ROWS = 50, 12, 9


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def end(rng: np.random.Generator) -> Readout:
    norm = Norm("layer", 1e-5, rng.uniform(0.5, 2, HIDDEN), rng.normal(size=HIDDEN))
    return Readout(norm, rng.normal(size=(VOCABULARY, HIDDEN)), rng.normal(size=VOCABULARY))


def test_a_reading_is_what_scipy_computes(rng: np.random.Generator) -> None:
    """Entropy, KL(final || layer), log-probabilities and ranks equal independent computations."""
    logits, last = rng.normal(0, 3, (2, ROWS, VOCABULARY))
    p, f = scipy.special.softmax(logits, axis=1), scipy.special.softmax(last, axis=1)
    targets = rng.integers(0, VOCABULARY, (ROWS, 2))
    found = read_logits(logits, np.log(f), targets, 4)
    assert found.entropy == pytest.approx(scipy.stats.entropy(p, axis=1))
    assert found.kl == pytest.approx(scipy.stats.entropy(f, p, axis=1))
    assert np.exp(found.logprobs) == pytest.approx(np.take_along_axis(p, targets, 1))
    best = np.argsort(-p, axis=1)
    assert np.array_equal(found.top, best[:, :4])
    assert found.top_logprobs == pytest.approx(np.log(np.take_along_axis(p, best[:, :4], 1)))
    order = [
        [list(row).index(t) + 1 for t in some] for row, some in zip(best, targets, strict=True)
    ]
    assert found.ranks.tolist() == order


def test_the_direction_of_kl_is_from_the_final_layer() -> None:
    """A layer that gives the final token almost nothing is far; one that also thinks of others near."""
    final = np.log([[0.98, 0.01, 0.01]])
    wide, wrong = np.log([[0.5, 0.25, 0.25]]), np.log([[0.001, 0.998, 0.001]])
    none = np.zeros((1, 0), int)
    near, far = (read_logits(some, final, none, 1).kl[0] for some in (wide, wrong))
    assert near == pytest.approx(0.98 * np.log(0.98 / 0.5) + 0.02 * np.log(0.01 / 0.25))
    assert far > 6 > 1 > near


def test_ties_go_to_the_smaller_id() -> None:
    """Of equal logits the smaller id comes first, in the list and in ranks, at the border too."""
    values = np.array([[1.0, 2.0, 2.0, 1.0, 2.0, 0.0]])
    assert likeliest(values, 2).tolist() == [[1, 2]]
    assert likeliest(values, 5).tolist() == [[1, 2, 4, 0, 3]]
    assert likeliest(values, 99).shape == (1, 6)
    assert ranks_of(values, np.array([[4, 3, -1]])).tolist() == [[3, 5, 0]]


def test_a_missing_target_has_no_rank(rng: np.random.Generator) -> None:
    """Where no token came next there is rank 0 and a log-probability of nan."""
    logits = rng.normal(size=(1, 5))
    found = read_logits(logits, np.log(scipy.special.softmax(logits)), np.array([[-1]]), 1)
    assert found.ranks[0, 0] == 0
    assert np.isnan(found.logprobs[0, 0])


def test_chunks_change_nothing(
    rng: np.random.Generator, end: Readout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows read two at a time give what all at once give; the last layer is at distance 0."""
    last, layer = rng.normal(size=(2, ROWS, HIDDEN))
    targets = rng.integers(0, VOCABULARY, (ROWS, 1))
    whole = read_layer(end, layer, final_logits(end, last), targets, 3)
    monkeypatch.setattr(readout, "CHUNK", 2 * VOCABULARY)
    assert len(list(end.chunks(ROWS))) == 5
    final = final_logits(end, last)
    parts = read_layer(end, layer, final, targets, 3)
    for name in vars(whole):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name)), name
    assert read_layer(end, last, final, targets, 3).kl.tolist() == [0.0] * ROWS


@pytest.mark.parametrize("kind", ["rms", "rms_plus_one", "layer"])
def test_norms_do_not_see_the_scale(rng: np.random.Generator, kind: str) -> None:
    """Without epsilon, ten times the state is the same normed state; layer norm ignores an offset."""
    norm = Norm(kind, 0.0, rng.normal(size=HIDDEN), None)  # type: ignore[arg-type]
    x = rng.normal(size=(3, HIDDEN))
    assert norm(10 * x) == pytest.approx(norm(x))
    assert np.allclose(norm(x + 5), norm(x)) == (kind == "layer")


def test_a_cap_keeps_order_and_bounds(rng: np.random.Generator, end: Readout) -> None:
    """A soft cap keeps logits within itself and does not change which is largest."""
    capped = Readout(end.norm, end.head, end.bias, None, 3.0)
    x = rng.normal(size=(ROWS, HIDDEN))
    assert np.abs(capped.logits(x)).max() < 3
    assert np.array_equal(capped.logits(x).argmax(1), end.logits(x).argmax(1))


def test_sizes_and_cosines_are_plain_geometry(rng: np.random.Generator) -> None:
    """Norms and cosines equal NumPy's; a zero vector has no direction."""
    a, b = rng.normal(size=(2, ROWS, HIDDEN))
    assert lengths(a) == pytest.approx(np.linalg.norm(a, axis=1))
    expected = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines(a, b) == pytest.approx(expected)
    assert np.isnan(cosines(np.zeros((1, 4)), np.ones((1, 4)))).all()
