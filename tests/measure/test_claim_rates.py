"""The nulls of the claims on pure noise: they reject as often as they say.

Messages of one conversation resemble those before (an autoregression), labels have nothing to do
with them, and all references are random. 1,000 studies each, seeds 0 to 999; the docs show the rates.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stratascope.measure.layer_choice import leads, pseudo_values
from stratascope.measure.metrics import cosine_pairs
from stratascope.measure.nearest import combinations, shares, turned_cosines
from stratascope.measure.permutation import against, flipped, relabellings, sign_flips
from stratascope.measure.recognition import accuracy, auroc, weighted_auroc
from stratascope.measure.slopes import slopes, within

STUDIES = 1000
DRAWS = 200
REFERENCES = 5
PAGE = Path(__file__).parents[2] / "docs" / "how-it-works.md"
# Another machine's rounding may move a draw across the line.
NEAR = 0.0051
pytestmark = pytest.mark.slow


def shown(name: str) -> float:
    """The rate that the docs give."""
    row = re.search(rf"^\| {re.escape(name)} \| ([\d.]+) \|$", PAGE.read_text(), re.MULTILINE)
    assert row is not None, name
    return float(row[1])


def conversation(rng: np.random.Generator, messages: int, width: int = 20) -> np.ndarray:
    """States of messages, each 0.8 times the one before plus something new; variance 1."""
    states = rng.standard_normal((messages, width))
    for i in range(1, messages):
        states[i] = 0.8 * states[i - 1] + 0.6 * states[i]
    return states


def rate(p_of: Callable[[np.random.Generator, int], float]) -> float:
    """How many studies have a p-value of at most 0.05."""
    found = [p_of(np.random.default_rng(seed), seed) for seed in range(STUDIES)]
    return float((np.array(found) <= 0.05).mean())


def labels_of(rng: np.random.Generator, kind: str) -> list[np.ndarray]:
    """Labels of 8 conversations of 5 messages."""
    if kind == "changing":
        return [rng.permutation(REFERENCES) for _ in range(8)]
    if kind == "blocks":
        return [np.repeat(rng.permutation(REFERENCES)[:2], [2, 3]) for _ in range(8)]
    return [np.full(5, rng.integers(REFERENCES)) for _ in range(8)]


@pytest.mark.parametrize("kind", ["changing", "blocks", "constant"])
@pytest.mark.parametrize("favoured", [0.0, 1.5])
def test_recognition_rejects_at_its_level(kind: str, favoured: float) -> None:
    """Alone and corrected over 4 layers, also where all messages are nearest to one reference."""

    def study(rng: np.random.Generator, seed: int) -> tuple[float, float]:
        told = labels_of(rng, kind)
        codes, clusters = np.concatenate(told), np.repeat(np.arange(8), 5)
        references = rng.standard_normal((REFERENCES, 20))
        states = np.concatenate([conversation(rng, 5) for _ in told]) + favoured * references[0]
        layers = [states + 0.5 * rng.standard_normal(states.shape) for _ in range(4)]
        maps = relabellings(
            [sorted(set(t.tolist())) for t in told], [0] * 8, REFERENCES, seed, DRAWS
        )
        drawn = maps[:, clusters, codes]
        draws = [auroc(cosine_pairs(layer, references), drawn) for layer in layers]
        tested = against(np.stack(draws, axis=1), two_sided=False)
        return float(tested.p[0]), float(tested.corrected.min())

    found = np.array([study(np.random.default_rng(seed), seed) for seed in range(STUDIES)])
    alone, corrected = (found <= 0.05).mean(axis=0)
    assert 0.03 <= alone <= 0.07
    assert 0.03 <= corrected <= 0.07
    if kind == "changing" and not favoured:
        assert shown("labels told apart, one layer") == pytest.approx(alone, abs=NEAR)
        assert shown("labels told apart, any of 4 layers") == pytest.approx(corrected, abs=NEAR)


def test_shuffled_messages_would_not() -> None:
    """Why conversations are relabelled whole: messages shuffled by themselves reject far too often."""

    def p_of(rng: np.random.Generator, seed: int) -> float:
        codes = np.concatenate(labels_of(rng, "constant"))
        states = np.concatenate([conversation(rng, 5) for _ in range(8)])
        scores = cosine_pairs(states, rng.standard_normal((REFERENCES, 20)))
        shuffled = [codes, *(rng.permutation(codes) for _ in range(DRAWS - 1))]
        return float(against(auroc(scores, np.array(shuffled))[:, None], two_sided=False).p[0])

    found = rate(p_of)
    assert found > 0.15
    assert shown("the same, if messages were shuffled one by one") == pytest.approx(found, abs=NEAR)


def test_accuracy_rejects_at_its_level() -> None:
    """The nearest reference, with labels that change."""

    def p_of(rng: np.random.Generator, seed: int) -> float:
        told = labels_of(rng, "changing")
        states = np.concatenate([conversation(rng, 5) for _ in told])
        scores = cosine_pairs(states, rng.standard_normal((REFERENCES, 20)))
        maps = relabellings([range(REFERENCES)] * 8, [0] * 8, REFERENCES, seed, DRAWS)
        drawn = maps[:, np.repeat(np.arange(8), 5), np.concatenate(told)]
        return float(against(accuracy(scores, drawn)[:, None], two_sided=False).p[0])

    found = rate(p_of)
    assert 0.03 <= found <= 0.07
    assert shown("nearest reference right") == pytest.approx(found, abs=NEAR)


@pytest.mark.parametrize("drift", [0.0, 0.05])
def test_fading_rejects_at_its_level(drift: float) -> None:
    """Also where similarity to every reference falls as a conversation grows: that is not memory."""

    def p_of(rng: np.random.Generator, seed: int) -> float:
        told = [rng.permutation(REFERENCES)[:4] for _ in range(6)]
        references = rng.standard_normal((REFERENCES, 20))
        points, cosines = [], []
        for c, labels in enumerate(told):
            near = cosine_pairs(conversation(rng, 8), references)
            near -= drift * np.arange(8)[:, None]
            for message in range(8):
                for place, label in enumerate(labels[: message // 2 + 1]):
                    points.append((c, label, message - 2 * place))
                    cosines.append(near[message])
        clusters, codes, x = np.array(points).T
        deviations = within(x.astype(float), list(zip(clusters, codes, strict=True)))
        maps = relabellings([sorted(t.tolist()) for t in told], [0] * 6, REFERENCES, seed, DRAWS)
        y = np.array(cosines)[np.arange(len(x)), maps[:, clusters, codes]]
        return float(against(slopes(deviations, y)[:, None], two_sided=True).p[0])

    found = rate(p_of)
    assert 0.03 <= found <= 0.07
    if drift:
        assert shown("memory fades") == pytest.approx(found, abs=NEAR)


def test_the_best_of_equal_layers_is_not_found_too_often() -> None:
    """6 layers that tell labels apart equally well: the lead of the best one is chance."""

    def p_of(rng: np.random.Generator, seed: int) -> float:
        told = labels_of(rng, "changing")
        codes, clusters = np.concatenate(told), np.repeat(np.arange(8), 5)
        references = rng.standard_normal((REFERENCES, 20))
        shared = np.concatenate([conversation(rng, 5) for _ in told]) + 0.7 * references[codes]
        whole, without = [], []
        for _ in range(6):
            scores = cosine_pairs(shared + rng.standard_normal(shared.shape), references)
            statistic = weighted_auroc(scores, codes, clusters, 8)
            whole.append(statistic(np.ones((1, 8)))[0])
            without.append(statistic(1 - np.eye(8)))
        values = pseudo_values(leads(np.array(whole)), leads(np.stack(without, axis=1)))
        draws = flipped(values, sign_flips(8, seed))
        return float(against(draws, two_sided=False).corrected[int(np.argmax(whole))])

    found = rate(p_of)
    assert found <= 0.07
    assert shown("one layer leads") == pytest.approx(found, abs=NEAR)


@pytest.mark.parametrize("common", [0.0, 2.0])
def test_a_default_is_not_found_too_often(common: float) -> None:
    """References from the messages' own space; also with a direction that all states share."""

    def p_of(rng: np.random.Generator, seed: int) -> float:
        scales = np.exp(-np.arange(20) / 6)
        shift = common * rng.standard_normal(20)
        states = np.concatenate([conversation(rng, 5) for _ in range(8)]) * scales + shift
        references = rng.standard_normal((REFERENCES, 20)) * scales + shift
        weights = combinations(40, REFERENCES, seed, DRAWS)
        near = [cosine_pairs(states, references)[None], turned_cosines(states, references, weights)]
        every = np.ones((40, REFERENCES), dtype=bool)
        draws = np.concatenate([shares(cosines, every) for cosines in near]).max(axis=1)
        return float(against(draws[:, None], two_sided=False).p[0])

    found = rate(p_of)
    assert found <= 0.07
    which = "a default, with a shared direction" if common else "a default"
    assert shown(which) == pytest.approx(found, abs=NEAR)
