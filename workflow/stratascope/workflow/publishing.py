"""Targets that people read: tables, metrics.json, the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stratascope.errors import StratascopeError
from stratascope.store.commit import disk_errors, write_json
from stratascope.store.hashes import recorded
from stratascope.store.layout import TABLES
from stratascope.store.questions import QuestionFolder
from stratascope.study.plan import Plan
from stratascope.workflow.targets import LAYOUT, captured


def tables_target(plan: Plan, root: Path, target: Path) -> None:
    """Write every table, metrics.json, and the stamp ``target``."""
    from stratascope.report.headline import write_headline
    from stratascope.report.tables import write_tables
    from stratascope.report.tables.states import Analyses

    _start(root, target, f"tables-{plan.tables_digest}")
    states = [root / LAYOUT.states / f"{job.name}.json" for job in plan.states]
    questions = [
        captured(root / LAYOUT.questions / asked.folder, QuestionFolder.open)
        for asked in plan.questions
    ]
    analyses = Analyses(
        probes=tuple(root / LAYOUT.probes / f"{job.name}.json" for job in plan.probes),
        transfers=tuple(root / LAYOUT.transfer / f"{job.name}.json" for job in plan.transfers),
        similarities=tuple(
            root / LAYOUT.similarity / f"{job.name}.json" for job in plan.similarities
        ),
        neurons=tuple(root / LAYOUT.neurons / f"{job.name}.json" for job in plan.neurons),
        lenses=_looks(plan, root, "lens"),
        residuals=_looks(plan, root, "residual"),
        attention=_looks(plan, root, "attention"),
        inductions=_looks(plan, root, "induction"),
        cross_layers=_looks(plan, root, "cross_layer"),
        trajectories=_looks(plan, root, "trajectory"),
    )
    with disk_errors(root / LAYOUT.tables):
        written = write_tables(states, root / LAYOUT.tables, questions, analyses, plan.told)
        write_headline(written, root / LAYOUT.metrics)
    tables = [root / LAYOUT.tables / f"{name}.csv" for name in TABLES]
    computed = [*analyses.probes, *analyses.transfers, *analyses.similarities]
    computed += [*analyses.neurons, *analyses.lenses, *analyses.residuals]
    computed += [
        *analyses.attention,
        *analyses.inductions,
        *analyses.cross_layers,
        *analyses.trajectories,
    ]
    _stamp(root, target, [*states, *computed, *tables, root / LAYOUT.metrics])


def report_target(plan: Plan, root: Path, target: Path) -> None:
    """Render the report and write the stamp ``target``."""
    from stratascope.report.build import build_report

    _start(root, target, f"report-{plan.report_digest}")
    shown = _shown(plan, root)
    with disk_errors(root / LAYOUT.report):
        build_report(**shown, out=root / LAYOUT.report)
    _stamp(root, target, [*shown["readings"], *shown["looks"], root / LAYOUT.report])


def write_page(plan: Plan, root: Path, scenarios: Sequence[str], out: Path) -> None:
    """Render a report that shows these scenarios one by one, and all runs in its sums, as ``out``.

    Raises:
        StratascopeError: a report that is not that of the plan, or a scenario that has no runs.
    """
    from stratascope.report.build import build_report

    if not (root / LAYOUT.stamps / f"report-{plan.report_digest}.json").is_file():
        raise StratascopeError(
            f"{root / LAYOUT.report}: not that of the study as it is now; run snakemake first"
        )
    with disk_errors(out):
        build_report(**_shown(plan, root), chosen=scenarios, out=out)


def _shown(plan: Plan, root: Path) -> dict[str, Any]:
    """What a report is built from."""
    looks = [*_looks(plan, root, "attention"), *_looks(plan, root, "heatmaps")]
    return {
        "study": {
            "title": plan.study.report.title,
            "description": plan.study.report.description,
            "checkpoints": [job.checkpoint.name for job in plan.states],
        },
        "tables": root / LAYOUT.tables,
        "states": [root / LAYOUT.states / f"{job.name}.json" for job in plan.states],
        "runs": root / LAYOUT.runs,
        "metrics": root / LAYOUT.metrics,
        "features": [root / LAYOUT.features / item.folder for item in plan.feature_sets],
        "readings": [root / LAYOUT.readings / f"{job.name}.json" for job in plan.readings],
        "looks": looks,
        "neurons": [root / LAYOUT.neurons / f"{job.name}.json" for job in plan.neurons],
    }


def _looks(plan: Plan, root: Path, part: str) -> tuple[Path, ...]:
    return tuple(root / LAYOUT.of_look(job) for job in plan.looks if job.part == part)


def _start(root: Path, target: Path, stem: str) -> None:
    """Check the target, and remove the stage's stamps before its files change under them.

    A stamp says what lies under the fixed names; killed half-way, no stamp must say it wrongly.
    """
    if target.stem != stem:
        raise StratascopeError(
            f"{target}: the plan now asks for {stem}; the study changed since: run snakemake again"
        )
    for old in (root / LAYOUT.stamps).glob(f"{stem.split('-')[0]}-*.json"):
        old.unlink()


def _stamp(root: Path, target: Path, files: list[Path]) -> None:
    """Record what was written under the fixed names."""
    write_json(root / target, recorded(files, root))
