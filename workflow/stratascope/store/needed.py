"""What the plan asks for and is not there: empty means that nothing needs to run."""

from __future__ import annotations

from pathlib import Path

from stratascope.store.features import is_features
from stratascope.store.layout import TABLES, Layout
from stratascope.store.questions import is_question_set
from stratascope.store.runs import is_reference_set, is_run
from stratascope.study.plan import Plan
from stratascope.study.runs import reference_sets


def missing(plan: Plan, root: Path) -> list[Path]:
    """Every artifact of the plan that is not below ``root``, in the order in which it is made.

    Runs, reference sets, questions and features count as there when they are whole; what their files
    hold, ``verify`` checks.
    """
    layout = Layout.of_study()
    runs = {layout.runs / run.folder: run.capture.gradients is not None for run in plan.runs}
    references = [layout.references / item.folder for item in reference_sets(plan.runs)]
    questions = [layout.questions / item.folder for item in plan.questions]
    features = [layout.features / item.folder for item in (*plan.feature_sets, *plan.neuron_sets)]
    return [
        *(path for path, asks in runs.items() if not is_run(root / path, gradients=asks)),
        *(path for path in references if not is_reference_set(root / path)),
        *(path for path in questions if not is_question_set(root / path)),
        *(path for path in features if not is_features(root / path)),
        *(path for path in files(plan) if not (root / path).is_file()),
    ]


def files(plan: Plan) -> list[Path]:
    """The plan's single files, which Snakemake looks for: manifests, states, tables, report, stamps."""
    layout = Layout.of_study()
    return [
        *(layout.captures / f"{job.name}.json" for job in plan.captures),
        *(layout.extractions / f"{job.name}.json" for job in plan.features),
        *(layout.states / f"{job.name}{end}" for job in plan.states for end in STATES_ENDS),
        *(layout.probes / f"{job.name}{end}" for job in plan.probes for end in PROBES_ENDS),
        *(layout.readings / f"{job.name}.json" for job in plan.readings),
        *(layout.transfer / f"{job.name}.json" for job in plan.transfers),
        *(layout.similarity / f"{job.name}.json" for job in plan.similarities),
        *(layout.of_look(job) for job in plan.looks),
        *(layout.neurons / f"{job.name}{end}" for job in plan.neurons for end in NEURONS_ENDS),
        *(layout.tables / f"{name}.csv" for name in TABLES),
        layout.metrics,
        layout.stamps / f"tables-{plan.tables_digest}.json",
        layout.report,
        layout.stamps / f"report-{plan.report_digest}.json",
    ]


# An artifact of several files: its index, and what the index describes.
STATES_ENDS = (".json", ".safetensors")
PROBES_ENDS = (".json", ".parquet", ".safetensors")
NEURONS_ENDS = (".json", ".parquet")
