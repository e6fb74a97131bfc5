"""Methods and definitions: what each word and number of the report means."""

from __future__ import annotations

from stratascope.report.data import ReportData
from stratascope.report.figure import Content
from stratascope.report.tables import TABLES

CONTENTS = {
    "intra_run_report": "A row a run and source: initial against final state, summarised over layers.",
    "intra_run_cosines": "The same, a row a layer, with the background.",
    "comparison_report": "A row a pair of runs, state and source, summarised over layers.",
    "comparison_cosines": "The same, a row a layer, with the background.",
    "snapshot_reference": "A row a message, reference, position, source and layer.",
    "role_averages": "User minus assistant messages, a row a run or checkpoint, reference and source.",
    "discrimination": "How far a layer tells references apart, with interval and null.",
    "recognition": "How well a layer tells messages of known label apart, with interval, null and p.",
    "claims": "The numbers behind the tested claims, a row a checkpoint, quantity and kind of cosine.",
    "checkpoints": "Means over runs and drift, a row a checkpoint, source and layer.",
    "questions": "What a checkpoint answered, with its grade and log-probabilities, a row a question.",
    "question_accuracy": "How many were right, with interval and baselines, a row a checkpoint and group.",
    "probes": "A row a dataset, checkpoint, label, site, layer and measure: probe, interval, baselines.",
    "probe_predictions": "What the best layer's probe says of each text that it was not fitted to.",
    "probe_transfer": "Probes of one checkpoint applied to another's features at the same layer.",
    "similarity": "A row two layers, of one checkpoint or two, with interval and null.",
    "drift": "Each layer against the same layer of the first and of the last checkpoint.",
}


def build(data: ReportData) -> Content:
    """The section."""
    return Content(
        context={
            "files": [
                (name, CONTENTS.get(name, ""), table.columns) for name, table in TABLES.items()
            ],
            "top": max([1, *(item.hidden_size // 100 for item in data.checkpoints[:1])]),
            "mixed_sizes": len({checkpoint.hidden_size for checkpoint in data.checkpoints}) != 1,
        },
        parts=(
            ("methods-terms", "Definitions"),
            ("methods-caveats", "Caveats"),
            ("methods-files", "Files"),
        ),
    )
