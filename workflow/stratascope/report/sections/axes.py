"""The switches that several sections' figures share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from stratascope.report.data import MEASURES, ReportData
from stratascope.report.figure import Axis
from stratascope.report.text import measure_name, position_name, source_name

MEASURE_AXIS = Axis("measure", "Measure", tuple((name, measure_name(name)) for name in MEASURES))
KIND_AXIS = Axis("kind", "Cosines", (("centred", "Centred"), ("raw", "Raw")))


def source_axis(data: ReportData) -> Axis:
    """Read at: the main source first."""
    ordered = sorted(data.sources, key=lambda source: source != data.main_source)
    return Axis("source", "Read at", tuple((name, source_name(name)) for name in ordered))


def position_axis(data: ReportData) -> Axis:
    """Position: the one that role averages use first."""
    return Axis(
        "position", "Position", tuple((name, position_name(name)) for name in data.positions)
    )


def checkpoint_axis(data: ReportData) -> Axis:
    """The last checkpoint first: it is what a study is usually about."""
    names = tuple(reversed(data.checkpoint_names))
    return Axis("checkpoint", "Checkpoint", tuple((name, name) for name in names))


def training_steps(checkpoints: Sequence[str]) -> list[int] | None:
    """The number at the end of each name, if all have one and they grow: where to draw them."""
    ends = [re.search(r"(\d+)$", name) for name in checkpoints]
    steps = [int(end[1]) for end in ends if end]
    grow = all(a < b for a, b in pairwise(steps))
    return steps if len(steps) == len(checkpoints) > 2 and grow else None
