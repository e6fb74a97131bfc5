"""The report's sections, in order. A new section is one module and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stratascope.report.data import ReportData
from stratascope.report.figure import Content
from stratascope.report.sections import (
    checkpoints,
    claims,
    datasets,
    heads,
    lens,
    methods,
    neurons,
    pairs,
    probes,
    questions,
    references,
    residual,
    similarity,
    summary,
    within,
)


@dataclass(frozen=True)
class Section:
    """``build`` returns None where the study has nothing for this section: it is not shown then."""

    id: str
    title: str
    template: str
    build: Callable[[ReportData], Content | None]


SECTIONS: tuple[Section, ...] = (
    Section("summary", "Summary", "summary.html.j2", summary.build),
    Section("checkpoints", "Across checkpoints", "checkpoints.html.j2", checkpoints.build),
    Section("within", "Within a run", "within.html.j2", within.build),
    Section("pairs", "Between runs", "pairs.html.j2", pairs.build),
    Section("references", "Snapshots and references", "references.html.j2", references.build),
    Section("claims", "Claims, tested", "claims.html.j2", claims.build),
    Section("datasets", "Datasets", "datasets.html.j2", datasets.build),
    Section("probes", "What can be decoded", "probes.html.j2", probes.build),
    Section(
        "similarity", "Layers and checkpoints compared", "similarity.html.j2", similarity.build
    ),
    Section("neurons", "Neurons", "neurons.html.j2", neurons.build),
    Section("lens", "What each layer would say", "lens.html.j2", lens.build),
    Section("residual", "Who writes what is said", "residual.html.j2", residual.build),
    Section("heads", "Single runs, looked into", "heads.html.j2", heads.build),
    Section("questions", "Benchmark questions", "questions.html.j2", questions.build),
    Section("methods", "Methods and definitions", "methods.html.j2", methods.build),
)
