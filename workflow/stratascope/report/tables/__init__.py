"""Tidy tables from the states of a study. To add a table: a builder, and an entry in `TABLES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from stratascope.report.tables import (
    checkpoints,
    claims,
    comparison,
    discrimination,
    intra_run,
    looks,
    neurons,
    probes,
    questions,
    recognition,
    role_averages,
    runs,
    similarity,
    snapshot_reference,
)
from stratascope.report.tables.frames import write_header, write_rows
from stratascope.report.tables.states import (
    NO_ANALYSES,
    NOTHING_TOLD,
    Analyses,
    Study,
    Told,
    open_study,
)
from stratascope.store.commit import new_file
from stratascope.store.questions import QuestionFolder
from stratascope.study.pairs import pair_count

Builder = Callable[[Study], Iterator[dict[str, pd.DataFrame]]]


@dataclass(frozen=True)
class Table:
    """A table's columns, in order, and what builds it.

    A builder may fill several tables at once; it yields them part by part, so that a table need
    not fit into memory. ``headline`` tables are small and handed on to `write_headline`.
    """

    columns: tuple[str, ...]
    build: Builder
    headline: bool = False


TABLES: dict[str, Table] = {
    "intra_run_cosines": Table(intra_run.COSINES, intra_run.intra_run),
    "intra_run_report": Table(intra_run.REPORT, intra_run.intra_run),
    "comparison_cosines": Table(comparison.COSINES, comparison.comparison),
    "comparison_report": Table(comparison.REPORT, comparison.comparison),
    "snapshot_reference": Table(snapshot_reference.COLUMNS, snapshot_reference.snapshot_reference),
    "role_averages": Table(role_averages.COLUMNS, role_averages.role_averages, headline=True),
    "discrimination": Table(discrimination.COLUMNS, discrimination.discrimination, headline=True),
    "recognition": Table(recognition.COLUMNS, claims.claims),
    "claims": Table(claims.COLUMNS, claims.claims, headline=True),
    "checkpoints": Table(checkpoints.COLUMNS, checkpoints.checkpoints, headline=True),
    "questions": Table(questions.QUESTIONS, questions.questions),
    "question_accuracy": Table(questions.ACCURACY, questions.questions, headline=True),
    "probes": Table(probes.PROBES, probes.probes, headline=True),
    "probe_predictions": Table(probes.PREDICTIONS, probes.probes),
    "probe_transfer": Table(probes.TRANSFER, probes.transfers),
    "similarity": Table(similarity.SIMILARITY, similarity.similarity),
    "drift": Table(similarity.DRIFT, similarity.similarity, headline=True),
    "neurons": Table(neurons.NEURONS, neurons.neurons),
    "neuron_examples": Table(neurons.EXAMPLES, neurons.neurons),
    "logit_lens": Table(looks.LENS, looks.logit_lens),
    "residual": Table(looks.RESIDUAL, looks.residual),
    "attention": Table(runs.ATTENTION, runs.attention),
    "induction": Table(runs.INDUCTION, runs.induction),
    "cross_layer": Table(runs.CROSS_LAYER, runs.cross_layer),
    "trajectory": Table(runs.TRAJECTORY, runs.trajectory),
}


@dataclass(frozen=True)
class Written:
    """What the headline numbers are made from.

    ``frames`` are the headline tables; ``counts`` of the study, and of each checkpoint by name.
    """

    frames: Mapping[str, pd.DataFrame]
    counts: Mapping[str, int]
    checkpoint_counts: Mapping[str, Mapping[str, int]]


def write_tables(
    states: Sequence[Path],
    out: Path,
    answered: Sequence[QuestionFolder] = (),
    analyses: Analyses = NO_ANALYSES,
    told: Told = NOTHING_TOLD,
) -> Written:
    """Write every table of `TABLES` as ``<out>/<name>.csv`` from the states' ``.json`` files.

    ``answered`` are the questions, scenario by scenario in the study's order; ``analyses`` the
    indices of what was computed from features; ``told`` says by run label which reference each of a
    run's messages is known to tell.

    The same states give the same bytes: rows are sorted by checkpoint order and run label, and
    BLAS runs on one thread, as its sums depend on how many share them. A file is replaced only
    when it is complete.
    """
    kept: dict[str, list[pd.DataFrame]] = {stem: [] for stem in TABLES if TABLES[stem].headline}
    with (
        threadpool_limits(limits=1, user_api="blas"),
        open_study(states, answered, analyses, told) as study,
    ):
        for build in dict.fromkeys(table.build for table in TABLES.values()):
            _write(build, study, out, kept)
        return Written(
            {stem: _joined(frames, TABLES[stem].columns) for stem, frames in kept.items()},
            *_counts(study),
        )


def _write(build: Builder, study: Study, out: Path, kept: dict[str, list[pd.DataFrame]]) -> None:
    with ExitStack() as stack:
        files = {}
        for stem, table in TABLES.items():
            if table.build is build:
                partial = stack.enter_context(new_file(out / f"{stem}.csv"))
                # Backslash for half a surrogate pair: a model's text must not stop a table.
                files[stem] = stack.enter_context(
                    partial.open("w", encoding="utf-8", errors="backslashreplace", newline="")
                )
                write_header(files[stem], table.columns)
        for part in build(study):
            for stem, frame in part.items():
                ordered = frame[list(TABLES[stem].columns)]
                write_rows(files[stem], ordered)
                if stem in kept:
                    kept[stem].append(ordered)


def _joined(frames: list[pd.DataFrame], columns: tuple[str, ...]) -> pd.DataFrame:
    if not frames:
        return pd.DataFrame(columns=list(columns))
    return pd.concat(frames, ignore_index=True)


def _counts(study: Study) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Numbers of runs, pairs, distinct snapshots and references."""
    each = {
        item.name: {
            "runs": len(item.runs),
            "snapshots": len({snapshot.prefix for snapshot in item.snapshots}),
            "references": sum(len(references.labels) for references in item.reference_sets),
        }
        for item in study.checkpoints
    }
    total = {name: sum(counts[name] for counts in each.values()) for name in _COUNTED}
    groups = comparison.groups_by_size(study)
    comparable = sum(pair_count(len(group.runs)) for group in groups)
    total["checkpoints"] = len(study.checkpoints)
    total["pairs"] = sum(group.pairs for group in groups)
    total["pairs_not_comparable"] = pair_count(total["runs"]) - comparable
    if left_out := comparable - total["pairs"]:
        total["pairs_left_out"] = left_out
    return total, each


_COUNTED = ("runs", "snapshots", "references")
