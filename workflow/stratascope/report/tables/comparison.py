"""Every pair of runs of the study: their initial states and their final states.

Runs are compared wherever their hidden sizes agree, also across checkpoints. Rows come hidden
size by hidden size; the first run of a pair is the earlier one in the study's order. Memory is
bounded: a block of first runs at a time against all later runs, one slice at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from stratascope.measure.centre import Background, centred, cross_background
from stratascope.measure.metrics import METRICS, BoolArray, FloatArray, cosine_pairs, missing
from stratascope.measure.summary import SUMMARY_COLUMNS, layer_mean, summarise
from stratascope.report.tables.centres import pooled_states, run_centre
from stratascope.report.tables.frames import Axis, long_frame
from stratascope.report.tables.states import Checkpoint, Run, Study

_PAIR = ("state", "pair", "run_a", "run_b", "generated_a", "generated_b", "source")
COSINES = (
    *_PAIR, "layer", "cosine", "MAE", "overlap",
    "centred_cosine", "background_cosine", "background_std",
)  # fmt: skip
REPORT = (*_PAIR, *SUMMARY_COLUMNS, "mean_centred_cosine")

_ROWS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Group:
    """The runs of one hidden size, in order, and what they were captured with.

    ``owner[i]`` is the place in ``checkpoints`` of run i's checkpoint.
    """

    checkpoints: tuple[Checkpoint, ...]
    runs: tuple[Run, ...]
    owner: npt.NDArray[np.intp]
    sources: tuple[str, ...]
    layers: tuple[int, ...]
    backgrounds: dict[tuple[int, int, str, int], Background] = field(default_factory=dict)

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
    """`comparison_cosines` and `comparison_report`, block of first runs by block."""
    groups = groups_by_size(study)
    for which in ("initial", "final"):
        for group in groups:
            count = len(group.runs)
            slices = len(group.sources) * len(group.layers)
            block = max(1, _ROWS_AT_ONCE // max(1, count * slices))
            for start in range(0, count - 1, block):
                yield _block(group, which, start, min(start + block, count - 1))


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


def _block(group: Group, which: str, start: int, stop: int) -> dict[str, pd.DataFrame]:
    """All pairs whose first run is one of ``start..stop``."""
    later = np.arange(start, len(group.runs))
    first, second = np.nonzero(np.arange(start, stop)[:, None] < later)
    captured, measures = _measure(group, which, start, first, second)
    axes: list[Axis] = [
        {"state": [which]},
        _pairs(group, first + start, second + start),
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
    group: Group,
    which: str,
    start: int,
    first: npt.NDArray[np.intp],
    second: npt.NDArray[np.intp],
) -> tuple[BoolArray, dict[str, FloatArray]]:
    """Captured or not, and each measure, ``(pairs, sources, layers)``; places from ``start``."""
    shape = (len(first), len(group.sources), len(group.layers))
    captured = np.zeros(shape, dtype=bool)
    names = (*METRICS, "centred_cosine", "background_cosine", "background_std")
    measures = {name: np.full(shape, np.nan) for name in names}
    owner_a, owner_b = group.owner[start + first], group.owner[start + second]
    stop = int(first.max()) + 1
    for s, source in enumerate(group.sources):
        for k, layer in enumerate(group.layers):
            raw, rest = (states[start:] for states in group.states(which, source, layer))
            there = ~missing(raw)
            captured[:, s, k] = there[first] & there[second]
            for name, metric in METRICS.items():
                measures[name][:, s, k] = metric.pairwise(raw[:stop], raw)[first, second]
            measures["centred_cosine"][:, s, k] = cosine_pairs(rest[:stop], rest)[first, second]
            mean, std = group.background(source, layer)
            measures["background_cosine"][:, s, k] = mean[owner_a, owner_b]
            measures["background_std"][:, s, k] = std[owner_a, owner_b]
    return captured, measures


def _pairs(group: Group, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]) -> Axis:
    pairs = [(group.runs[a], group.runs[b]) for a, b in zip(first, second, strict=True)]
    return {
        "pair": [f"{a.label} vs {b.label}" for a, b in pairs],
        "run_a": [a.label for a, _ in pairs],
        "run_b": [b.label for _, b in pairs],
        "generated_a": [a.generated for a, _ in pairs],
        "generated_b": [b.generated for _, b in pairs],
    }
