"""What the sections of a report read: a study's runs, checkpoints, tables and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from stratascope.report.extracted import Extracted
from stratascope.report.neurons import NeuronIndex
from stratascope.report.readings import Reading
from stratascope.report.shown import shown_scenarios

SOURCES = ("hidden_in", "hidden_out", "attn_out", "mlp_down_out")
MEASURES = ("cosine", "centred_cosine", "MAE", "overlap")


@dataclass(frozen=True)
class Run:
    """One captured run: its place in the study, its conversation and what it generated.

    ``record`` and ``steps`` are empty where the report does not show it by itself.
    """

    index: int
    label: str
    scenario: str
    parent: str
    checkpoint: str
    folder: str
    record: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]
    messages: Sequence[Mapping[str, Any]]
    reference_labels: tuple[str, ...]

    @property
    def key(self) -> str:
        """What the report's toolbox knows this run by."""
        return f"r:{self.index}"

    @property
    def generated(self) -> str:
        """The text that the run generated; empty if it ended at once."""
        return str(self.record.get("generated_text", ""))


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint's manifest of state vectors."""

    name: str
    model: str
    revision: str | None
    digest: str
    layers: tuple[int, ...]
    hidden_size: int
    num_layers: int


@dataclass(frozen=True)
class ReportData:
    """Everything the sections read; they read nothing else."""

    title: str
    description: str
    checkpoints: tuple[Checkpoint, ...]
    runs: tuple[Run, ...]
    positions: tuple[str, ...]
    sources: tuple[str, ...]
    layers: tuple[int, ...]
    tables: Mapping[str, pd.DataFrame]
    metrics: Mapping[str, Any]
    features: tuple[Extracted, ...] = ()
    readings: tuple[Reading, ...] = ()
    patterns: tuple[Mapping[str, Any], ...] = ()
    grids: tuple[Mapping[str, Any], ...] = ()
    neurons: tuple[NeuronIndex, ...] = ()
    chosen: frozenset[str] = frozenset()

    def table(self, name: str) -> pd.DataFrame:
        """A table of `TABLES`, empty if the study has none."""
        return self.tables[name]

    @cached_property
    def shown(self) -> tuple[Run, ...]:
        """The runs that are shown one by one, numbered among themselves: all but of a large study."""
        names = self.chosen or shown_scenarios([run.scenario for run in self.runs])
        some = (run for run in self.runs if run.scenario in names)
        return tuple(replace(run, index=place) for place, run in enumerate(some))

    @property
    def run_index(self) -> dict[str, int]:
        """The place of each run among those shown, by label."""
        return {run.label: run.index for run in self.shown}

    @property
    def pairs_left_out(self) -> int:
        """How many pairs of runs a large study does not compare."""
        return int(self.metrics.get("counts", {}).get("pairs_left_out", 0))

    @property
    def checkpoint_names(self) -> tuple[str, ...]:
        """The names of all checkpoints, in the study's order."""
        return tuple(checkpoint.name for checkpoint in self.checkpoints)

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """The datasets whose features were extracted, in the study's order."""
        return tuple(dict.fromkeys(item.dataset for item in self.features))

    @property
    def reference_labels(self) -> tuple[str, ...]:
        """Every reference label, in the order in which the runs first name them."""
        return tuple(dict.fromkeys(label for run in self.runs for label in run.reference_labels))

    @property
    def main_source(self) -> str:
        """The source that headline figures use: the residual stream after each block."""
        return "hidden_out" if "hidden_out" in self.sources else self.sources[0]

    @property
    def main_position(self) -> str | None:
        """The snapshot position that figures show first, and that role averages use."""
        return self.positions[0] if self.positions else None
