"""Pairs of runs of the study: their initial states and their final states.

All pairs of a study of some 200 runs, a part of them of a larger one (`study/pairs.py`). Runs are
compared wherever their hidden sizes agree, also across checkpoints. Rows come hidden size by hidden
size; the first run of a pair is the earlier one in the study's order. Memory is bounded: a block of
pairs at a time (of all pairs, the first runs of a block against all later runs), one slice at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from stratascope.measure.centre import Background, centred, cross_background
from stratascope.measure.metrics import METRICS, BoolArray, FloatArray, Metric, missing
from stratascope.measure.summary import SUMMARY_COLUMNS, layer_mean, summarise
from stratascope.report.tables.centres import pooled_states, run_centre
from stratascope.report.tables.frames import Axis, long_frame
from stratascope.report.tables.states import Checkpoint, Run, Study
from stratascope.study.pairs import all_compared, chosen_pairs, pair_count

_PAIR = ("state", "pair", "run_a", "run_b", "generated_a", "generated_b", "source")
COSINES = (
    *_PAIR, "layer", "cosine", "MAE", "overlap",
    "centred_cosine", "background_cosine", "background_std",
)  # fmt: skip
REPORT = (*_PAIR, *SUMMARY_COLUMNS, "mean_centred_cosine")

_ROWS_AT_ONCE = 2_000_000

Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Group:
    """The runs of one hidden size, in order, and what they were captured with.

    ``owner[i]`` is the place in ``checkpoints`` of run i's checkpoint.
    """

    checkpoints: tuple[Checkpoint, ...]
    runs: tuple[Run, ...]
    owner: Places
    sources: tuple[str, ...]
    layers: tuple[int, ...]
    backgrounds: dict[tuple[int, int, str, int], Background] = field(default_factory=dict)

    @cached_property
    def chosen(self) -> list[tuple[int, int]] | None:
        """The pairs to compare as places of runs; None for all."""
        if all_compared(len(self.runs)):
            return None
        return chosen_pairs(self.owner.tolist(), [run.scenario for run in self.runs])

    @property
    def pairs(self) -> int:
        """How many pairs are compared."""
        return pair_count(len(self.runs)) if self.chosen is None else len(self.chosen)

    def states(self, which: str, source: str, layer: int) -> tuple[FloatArray, FloatArray]:
        """Raw states ``(runs, H)``, and each minus the centre of its checkpoint."""
        raw = [item.run_states(which, source, layer) for item in self.checkpoints]
        rest = [
            centred(states, run_centre(item, source, layer).centre)
            for item, states in zip(self.checkpoints, raw, strict=True)
        ]
        return np.concatenate(raw), np.concatenate(rest)

    def background(self, source: str, layer: int) -> FloatArray:
        """Mean and standard deviation of unrelated cosines: ``(2, checkpoints, checkpoints)``."""
        count = len(self.checkpoints)
        values = np.full((2, count, count), np.nan)
        for a in range(count):
            for b in range(a, count):
                found = self._background(a, b, source, layer)
                values[:, a, b] = found.mean, found.std
        return values

    def _background(self, a: int, b: int, source: str, layer: int) -> Background:
        if a == b:
            return run_centre(self.checkpoints[a], source, layer).raw
        key = (a, b, source, layer)
        if key not in self.backgrounds:
            self.backgrounds[key] = cross_background(
                *pooled_states(self.checkpoints[a], source, layer),
                *pooled_states(self.checkpoints[b], source, layer),
            )
        return self.backgrounds[key]


def comparison(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`comparison_cosines` and `comparison_report`, block by block."""
    groups = groups_by_size(study)
    for which in ("initial", "final"):
        for group in groups:
            for first, second in _blocks(group):
                yield _block(group, which, first, second)


def _blocks(group: Group) -> Iterator[tuple[Places, Places]]:
    """Some pairs at a time, as places of their first and of their second runs."""
    count = len(group.runs)
    slices = len(group.sources) * len(group.layers)
    if group.chosen is not None:
        pairs = np.array(group.chosen, dtype=np.intp)
        block = max(1, _ROWS_AT_ONCE // max(1, slices))
        for start in range(0, len(pairs), block):
            yield pairs[start : start + block, 0], pairs[start : start + block, 1]
        return
    block = max(1, _ROWS_AT_ONCE // max(1, count * slices))
    for start in range(0, count - 1, block):
        stop = min(start + block, count - 1)
        first, second = np.nonzero(np.arange(start, stop)[:, None] < np.arange(start, count))
        yield first + start, second + start


def groups_by_size(study: Study) -> list[Group]:
    """The study's runs by hidden size, sizes in the order of their first checkpoint."""
    groups = []
    for size in dict.fromkeys(item.hidden_size for item in study.checkpoints):
        members = tuple(item for item in study.checkpoints if item.hidden_size == size)
        groups.append(
            Group(
                members,
                tuple(run for item in members for run in item.runs),
                np.repeat(np.arange(len(members)), [len(item.runs) for item in members]),
                tuple(dict.fromkeys(source for item in members for source in item.sources)),
                tuple(sorted({layer for item in members for layer in item.layers})),
            )
        )
    return groups


def _block(group: Group, which: str, first: Places, second: Places) -> dict[str, pd.DataFrame]:
    captured, measures = _measure(group, which, first, second)
    axes: list[Axis] = [
        {"state": [which]},
        _pairs(group, first, second),
        {"source": group.sources},
        {"layer": group.layers},
    ]
    summary = summarise(measures["cosine"], measures["MAE"], measures["overlap"], group.layers)
    summary["mean_centred_cosine"] = layer_mean(measures["centred_cosine"])
    return {
        "comparison_cosines": long_frame(axes, captured[None], **measures),
        "comparison_report": long_frame(axes[:3], np.any(captured, axis=2)[None], **summary),
    }


def _measure(
    group: Group, which: str, first: Places, second: Places
) -> tuple[BoolArray, dict[str, FloatArray]]:
    """Captured or not, and each measure, ``(pairs, sources, layers)``."""
    shape = (len(first), len(group.sources), len(group.layers))
    captured = np.zeros(shape, dtype=bool)
    names = (*METRICS, "centred_cosine", "background_cosine", "background_std")
    measures = {name: np.full(shape, np.nan) for name in names}
    owner_a, owner_b = group.owner[first], group.owner[second]
    for s, source in enumerate(group.sources):
        for k, layer in enumerate(group.layers):
            raw, rest = group.states(which, source, layer)
            there = ~missing(raw)
            captured[:, s, k] = there[first] & there[second]
            for name, metric in METRICS.items():
                measures[name][:, s, k] = _of_pairs(group, metric, raw, first, second)
            cosines = _of_pairs(group, METRICS["cosine"], rest, first, second)
            measures["centred_cosine"][:, s, k] = cosines
            mean, std = group.background(source, layer)
            measures["background_cosine"][:, s, k] = mean[owner_a, owner_b]
            measures["background_std"][:, s, k] = std[owner_a, owner_b]
    return captured, measures


def _of_pairs(
    group: Group, metric: Metric, states: FloatArray, first: Places, second: Places
) -> FloatArray:
    if group.chosen is not None:
        return metric.rowwise(states[first], states[second])
    start, stop = int(first.min()), int(first.max()) + 1
    every = metric.pairwise(states[start:stop], states[start:])
    return every[first - start, second - start]


def _pairs(group: Group, first: Places, second: Places) -> Axis:
    pairs = [(group.runs[a], group.runs[b]) for a, b in zip(first, second, strict=True)]
    return {
        "pair": [f"{a.label} vs {b.label}" for a, b in pairs],
        "run_a": [a.label for a, _ in pairs],
        "run_b": [b.label for _, b in pairs],
        "generated_a": [a.generated for a, _ in pairs],
        "generated_b": [b.generated for _, b in pairs],
    }
