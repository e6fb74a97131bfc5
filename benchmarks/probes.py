"""Linear probes of many layers, cross-validated, with the penalty chosen inside each training set:
ours against what a user of scikit-learn would write, a StandardScaler and a LogisticRegressionCV in a
pipeline, layer by layer and fold by fold. Same folds and the same C, and either side has all cores. Ours
ran on a few layers, the other side on the first fold of one; both are extrapolated to all. At its
default tolerance it stops before its probabilities are settled, though the classes it predicts are; in
the second line it goes on until probabilities agree, too. The third line has a tenth of the rows of a
large study; time and peak memory of the whole are extrapolated from it, in proportion to rows and
layers."""

from __future__ import annotations

import os
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench import Bench
from race import Race, Row, race
from sizes import Sizes
from stratascope.measure.probes import Design, ProbeResult, design, probe_layers
from stratascope.measure.probes.crossval import CS

OURS, PLAIN, SETTLED = "probe_layers", "LogisticRegressionCV", "the same, tolerance 1e-8"
# A large study: rows, width and layers.
LARGE = (20_000, 4096, 32)
CORES = os.cpu_count() or 1

Layers = dict[str, np.ndarray]
# Of each layer: probabilities out of the first fold (rows, 2), and the C that was chosen for it.
Plain = dict[str, tuple[np.ndarray, float]]
FIRST = 0


def measure(bench: Bench) -> list[Row]:
    """Default tolerance, settled probabilities, and a tenth of a large study."""
    sizes = bench.sizes
    layers, labels = draw(sizes, sizes.probe_width, sizes.probe_timed)
    plan = design(labels, permutations=0)
    every = sizes.probe_layers
    what = f"probes of {every} layers, {sizes.probe_rows} rows of {sizes.probe_width}"

    def ours(_: Path) -> dict[str, ProbeResult]:
        return probe_layers(layers, plan, workers=CORES)

    def plain(tolerance: float) -> Callable[[Path], Plain]:
        one = dict([next(iter(layers.items()))])
        return lambda _: plain_probes(one, plan, tolerance)

    folds = len(np.unique(plan.folds))
    default = race({OURS: ours, PLAIN: plain(1e-4)}, partial(_same_classes, plan), sizes.rounds)
    factors = {OURS: every / len(layers), PLAIN: every * folds, SETTLED: every * folds}
    settled = race({OURS: ours, SETTLED: plain(1e-8)}, partial(_same_probabilities, plan), 1)
    return [
        _scaled(default, factors).row(what, OURS, PLAIN, target="at least 5 times as fast"),
        _scaled(settled, factors).row(what, OURS, SETTLED),
        _tenth(bench.sizes),
    ]


def draw(sizes: Sizes, width: int, count: int) -> tuple[Layers, np.ndarray]:
    """Layers in float32 as residual streams are: a few directions hold most of the spread.

    Each holds a binary label along a random direction, with noise.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(sizes.probe_rows) % 2
    layers = {}
    for number in range(count):
        spread = np.arange(1, width + 1) ** -0.5
        turn, _ = np.linalg.qr(rng.standard_normal((width, width), np.float32))
        states = (rng.standard_normal((len(labels), width)) * spread) @ turn.T
        direction = rng.standard_normal(width) / np.sqrt(width)
        states += 0.4 * states.std() * (2 * labels[:, None] - 1) * direction
        offset = 5 * rng.standard_normal(width)
        layers[f"layer_{number:02d}"] = (states + offset).astype(np.float32)
    return layers, labels


def plain_probes(layers: Layers, plan: Design, tolerance: float) -> Plain:
    """A pipeline for each layer, the first fold held out; the other folds take turns in choosing C."""
    inside = plan.folds != FIRST
    own = plan.folds[inside]
    inner = [(np.flatnonzero(own != j), np.flatnonzero(own == j)) for j in np.unique(own)]
    found = {}
    for name, states in layers.items():
        features = states.astype(np.float64)
        search = LogisticRegressionCV(
            Cs=CS, cv=inner, scoring="neg_log_loss", tol=tolerance, max_iter=10_000,
            use_legacy_attributes=False,
        )  # fmt: skip
        pipeline = make_pipeline(StandardScaler(), search)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline.fit(features[inside], plan.target.codes[inside])
        found[name] = (pipeline.predict_proba(features[~inside]), float(search.C_))
    return found


def _same_classes(plan: Design, ours: dict[str, ProbeResult], theirs: Plain) -> str:
    """The same C, the same class for all rows but ties; and how far probabilities are."""
    apart = []
    for name, (probabilities, chosen) in theirs.items():
        result = ours[name]
        assert np.isclose(1 / result.penalty[FIRST], chosen), f"{name}: {result.penalty}, {chosen}"
        mine = np.exp(result.predictions.scores[plan.folds == FIRST])
        differ = (mine[:, 1] > 0.5) != (probabilities[:, 1] > 0.5)
        assert (np.abs(mine[differ, 1] - 0.5) < 1e-3).all(), f"{name}: other classes"
        apart.append(np.abs(mine - probabilities).max())
    rows = sum(len(probabilities) for probabilities, _ in theirs.values())
    return f"same C and classes for {rows} rows; probabilities differ by up to {max(apart):.0e}"


def _same_probabilities(plan: Design, ours: dict[str, ProbeResult], theirs: Plain) -> str:
    for name, (probabilities, _) in theirs.items():
        mine = np.exp(ours[name].predictions.scores[plan.folds == FIRST])
        apart = np.abs(mine - probabilities).max()
        assert apart < 1e-5, f"{name}: probabilities differ by {apart:.0e}"
    return _same_classes(plan, ours, theirs)


def _scaled(done: Race, factors: dict[str, float]) -> Race:
    seconds = {name: [t * factors[name] for t in times] for name, times in done.seconds.items()}
    return replace(done, seconds=seconds)


def _tenth(sizes: Sizes) -> Row:
    """One layer at a tenth of the rows of `LARGE`, which the other sizes of a quick run scale down."""
    rows, width, layers = LARGE if sizes.probe_rows >= 2000 else (10 * sizes.probe_rows, 24, 4)
    states, labels = draw(replace(sizes, probe_rows=rows // 10), width, 1)
    plan = design(labels, permutations=0)
    done = race(
        {
            OURS: lambda _: probe_layers(states, plan),
            PLAIN: lambda _: plain_probes(states, plan, 1e-4),
        },
        partial(_same_classes, plan),
        1,
    )
    done = _scaled(done, {OURS: 1, PLAIN: len(np.unique(plan.folds))})
    tracemalloc.start()
    probe_layers(states, plan)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    minutes = done.seconds[OURS][0] * 10 * layers / CORES / 60
    note = (
        f"{rows} rows of {layers} layers: {minutes:.1f} minutes on {CORES} cores and "
        f"{peak * 10 * CORES / 2**30:.1f} GiB, extrapolated"
    )
    what = f"probes of 1 layer on 1 core, {rows // 10} rows of {width}"
    return done.row(what, OURS, PLAIN, note=note)
