"""Where everything lies below a study folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stratascope.study.looks import LookJob

RESULTS = Path("results")

# The tables of results/tables, named here so that planning need not import what builds them
# (report/tables); a test holds the two together.
TABLES = (
    "intra_run_cosines",
    "intra_run_report",
    "comparison_cosines",
    "comparison_report",
    "snapshot_reference",
    "role_averages",
    "discrimination",
    "recognition",
    "claims",
    "checkpoints",
    "questions",
    "question_accuracy",
    "probes",
    "probe_predictions",
    "probe_transfer",
    "similarity",
    "drift",
    "neurons",
    "neuron_examples",
    "logit_lens",
    "residual",
    "attention",
    "induction",
    "cross_layer",
    "trajectory",
)


@dataclass(frozen=True)
class Layout:
    """The paths of one study folder (``root``), or of a ``stratascope run`` with its own folder."""

    runs: Path
    references: Path
    captures: Path = RESULTS / "captures"
    features: Path = RESULTS / "features"
    extractions: Path = RESULTS / "extractions"
    probes: Path = RESULTS / "probes"
    readings: Path = RESULTS / "readings"
    transfer: Path = RESULTS / "transfer"
    similarity: Path = RESULTS / "similarity"
    lens: Path = RESULTS / "lens"
    residual: Path = RESULTS / "residual"
    attention: Path = RESULTS / "attention"
    induction: Path = RESULTS / "induction"
    cross_layer: Path = RESULTS / "cross_layer"
    trajectory: Path = RESULTS / "trajectory"
    heatmaps: Path = RESULTS / "heatmaps"
    neurons: Path = RESULTS / "neurons"
    questions: Path = RESULTS / "questions"
    states: Path = RESULTS / "states"
    tables: Path = RESULTS / "tables"
    stamps: Path = RESULTS / "stamps"
    metrics: Path = RESULTS / "metrics.json"
    report: Path = RESULTS / "report.html"

    def of_look(self, job: LookJob) -> Path:
        """The file of a part of the microscope."""
        return Path(getattr(self, job.part)) / f"{job.name}.json"

    @classmethod
    def of_study(cls) -> Layout:
        """Relative to the study folder, as Snakemake wants them."""
        return cls(RESULTS / "runs", RESULTS / "references")

    @classmethod
    def of_output(cls, folder: Path) -> Layout:
        """A scenario's ``output.dir``: runs in it, their references in a folder beside them."""
        return cls(folder, folder / "references")
