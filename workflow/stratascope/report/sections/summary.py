"""The summary: what was run, what was found, how sure; then every run in one table."""

from __future__ import annotations

from typing import Any

from stratascope.report.data import ReportData
from stratascope.report.decoded import decoded
from stratascope.report.figure import Content
from stratascope.report.findings import findings
from stratascope.report.known import asked, known
from stratascope.report.moving import drift_findings
from stratascope.report.sections.within import overview
from stratascope.report.strata import HEIGHT, WIDTH, strata
from stratascope.report.tested import tested


def build(data: ReportData) -> Content:
    """The section."""
    return Content(
        context={
            "facts": facts(data),
            "findings": [
                *findings(data),
                *tested(data),
                *decoded(data),
                *drift_findings(data),
                *known(data),
            ],
            "strata": strata(data),
            "strata_size": (WIDTH, HEIGHT),
            "rows": _rows(data),
        },
        parts=(("found", "What was found"), *((("runs", "Runs"),) if data.runs else ())),
    )


def facts(data: ReportData) -> list[tuple[str, int]]:
    """Counts in words; singular where there is one."""
    counts = (
        ("checkpoint", len(data.checkpoints)),
        ("scenario", len({run.parent for run in data.runs})),
        ("run", len(data.runs)),
        ("message", len({item["prefix"] for run in data.runs for item in run.messages})),
        ("reference", len(data.reference_labels)),
        ("dataset", len(data.dataset_names)),
        ("question", asked(data)),
        ("layer", len(data.layers)),
    )
    return [(name if count == 1 else f"{name}s", count) for name, count in counts if count]


def _rows(data: ReportData) -> list[dict[str, Any]]:
    table = data.table("intra_run_report")
    cells = [row["cells"] for row in overview(data, table)] if not table.empty else None
    return [
        {
            "run": run,
            "cells": cells[run.index] if cells else [],
            "prompt_tokens": len(run.record.get("prompt_token_ids", ())),
            "generated_tokens": len(run.steps),
        }
        for run in data.shown
    ]
