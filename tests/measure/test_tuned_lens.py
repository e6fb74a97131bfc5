"""The tuned lens: maps that are there are found, none is found in noise, nothing is judged on its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratascope.analyses.tuned import tune
from stratascope.errors import StratascopeError
from stratascope.measure.readout import Norm, Readout
from stratascope.measure.tuned import STRENGTHS, maps, three_parts
from stratascope.store.feature_arrays import open_layers
from stratascope.store.translators import load_maps, save_maps

HIDDEN, VOCABULARY, ROWS = 10, 40, 600


@dataclass(frozen=True)
class Shape:
    hidden: int = HIDDEN


@dataclass(frozen=True)
class Plan:
    shape: Shape = Shape()


@dataclass(frozen=True)
class Named:
    shown: str = "model"


@dataclass(frozen=True)
class MadeEnd:
    """The end of a model of three layers, as `stratascope.analyses.readout.End` gives it."""

    readout: Readout
    layers: int = 3
    plan: Plan = Plan()
    weights: Named = Named()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(8)


@pytest.fixture
def end(rng: np.random.Generator) -> Any:
    return MadeEnd(Readout(Norm("rms", 1e-6), rng.normal(size=(VOCABULARY, HIDDEN))))


def test_without_penalty_a_map_is_least_squares(rng: np.random.Generator) -> None:
    """An affine relation is found again; held very strongly, only the mean moves."""
    x = rng.normal(size=(ROWS, HIDDEN))
    weight, bias = rng.normal(size=(HIDDEN, HIDDEN)), rng.normal(size=HIDDEN)
    made = dict(maps(x, x @ weight.T + bias))
    loose, tight = made[STRENGTHS[0]], made[STRENGTHS[-1]]
    assert loose.weight == pytest.approx(weight, abs=1e-3)
    assert loose.bias == pytest.approx(bias, abs=1e-3)
    assert np.abs(tight.weight - np.eye(HIDDEN)).max() < 0.05
    assert tight(x).mean(0) == pytest.approx((x @ weight.T + bias).mean(0))


def test_a_map_minimises_what_it_says(rng: np.random.Generator) -> None:
    """At each strength the gradient of error plus penalty is zero."""
    x, y = rng.normal(size=(2, ROWS, HIDDEN))
    x[:, 0] *= 5
    size = x.var(0).mean()
    for strength, made in maps(x, y):
        wrong = made(x) - y
        slope = wrong.T @ x / ROWS + strength * size * (made.weight - np.eye(HIDDEN))
        assert slope == pytest.approx(np.zeros((HIDDEN, HIDDEN)), abs=1e-9)


def test_texts_stay_on_one_side() -> None:
    """Every row is in one of the three parts, and rows of one text in the same."""
    texts = np.repeat(np.arange(100), 7)
    parts = three_parts(list(texts), 3)
    assert sorted(np.concatenate(parts)) == list(range(700))
    assert [len(part) for part in parts] == [420, 140, 140]
    seen = [set(texts[part]) for part in parts]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 100


def features(folder: Path, layers: list[np.ndarray]) -> Any:
    path = folder / "features.npz"
    np.savez(path, **{f"layer_{i:02d}/hidden_out": layer for i, layer in enumerate(layers)})
    return open_layers(path)


def test_a_rotation_is_undone(rng: np.random.Generator, end: Any, tmp_path: Path) -> None:
    """A layer that is the last one rotated reads as the last one does, on texts held out."""
    last = rng.normal(size=(ROWS, HIDDEN)).astype(np.float32)
    rotation = np.linalg.qr(rng.normal(size=(HIDDEN, HIDDEN)))[0].astype(np.float32)
    noise = rng.normal(size=(ROWS, HIDDEN)).astype(np.float32)
    made, rows = tune(features(tmp_path, [noise, last @ rotation, last]), end, range(ROWS), 0)
    assert sorted(made) == [0, 1]
    assert rows[1]["kl_tuned"] < 1e-4 < 1 < rows[1]["kl_lens"]
    assert rows[1]["lower"] < rows[1]["gain"] < rows[1]["upper"]
    assert rows[1]["n"] == ROWS // 5
    # Nothing of the last layer is in noise: a map can say the same everywhere, no more.
    assert rows[0]["kl_tuned"] > 0.5 * rows[0]["kl_lens"]


def test_a_layer_that_needs_no_map_gets_almost_none(
    rng: np.random.Generator, end: Any, tmp_path: Path
) -> None:
    """Where the state is the last one already, up to noise, few texts do not make it worse."""
    last = rng.normal(size=(60, HIDDEN)).astype(np.float32)
    close = last + rng.normal(0, 0.05, last.shape).astype(np.float32)
    _, rows = tune(features(tmp_path, [close, close, last]), end, range(60), 0)
    assert rows[0]["kl_tuned"] < 1.5 * rows[0]["kl_lens"]


def test_too_little_is_refused(rng: np.random.Generator, end: Any, tmp_path: Path) -> None:
    """Few texts, no last layer, and another width are told in one line."""
    layers = list(rng.normal(size=(3, 40, HIDDEN)).astype(np.float32))
    with pytest.raises(StratascopeError, match="needs at least 50"):
        tune(features(tmp_path, layers), end, range(40), 0)
    with pytest.raises(StratascopeError, match="of the last layer, 2"):
        tune(features(tmp_path, layers[:2]), end, range(40), 0)
    with pytest.raises(StratascopeError, match="another model's"):
        tune(features(tmp_path, [layer[:, :4] for layer in layers]), end, range(40), 0)


def test_maps_survive_the_disk(rng: np.random.Generator, tmp_path: Path) -> None:
    """What is saved is read again; another file is refused."""
    made = {layer: (rng.normal(size=(4, 4)), rng.normal(size=4)) for layer in (0, 11)}
    save_maps(tmp_path / "a.safetensors", made, {"seed": 0})
    found = load_maps(tmp_path / "a.safetensors")
    assert sorted(found) == [0, 11]
    assert found[11][0] == pytest.approx(made[11][0].astype(np.float32))
    (tmp_path / "b.safetensors").write_text("no")
    with pytest.raises(StratascopeError, match="cannot be read as a tuned lens"):
        load_maps(tmp_path / "b.safetensors")
