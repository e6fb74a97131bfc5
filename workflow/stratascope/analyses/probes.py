"""The linear probes of one dataset on one checkpoint."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from stratascope.analyses.texts import column, groups_of
from stratascope.errors import StratascopeError
from stratascope.measure.multiple import best_of_all
from stratascope.measure.probes import (
    MEASURES,
    Design,
    Measured,
    ProbeResult,
    Settings,
    TooFewTypesError,
    design,
    edge_words,
    probe_layers,
    token_counts,
    weights_of_layers,
)
from stratascope.store.commit import new_file, write_json
from stratascope.store.features import Features
from stratascope.store.hashes import recorded
from stratascope.store.probes import save_probes
from stratascope.study.analyses import ProbeJob
from stratascope.study.dataset import Probes

# What of a measure goes into the rows; its name leads.
NUMBERS = tuple(field.name for field in fields(Measured) if field.name != "measure")


@dataclass(frozen=True)
class Label:
    """The probes of one label: of every tensor, and of the words of the texts alone.

    ``groups`` names each text's group, for people; ``plan`` numbers them.
    """

    name: str
    plan: Design
    groups: Sequence[str] | None
    found: Mapping[str, ProbeResult]
    words: ProbeResult | None


def fit_probes(job: ProbeJob, place: Path, target: Path) -> None:
    """Probe the features of ``job``, which lie below ``place``; write the index ``target``.

    Beside it, with other suffixes: every out-of-fold prediction (``.parquet``) and the probes
    themselves, fitted to all texts (``.safetensors``).

    Where the texts begin with too few different words for a control task, there is none.

    Raises:
        StratascopeError: a label that the features do not carry, or that cannot be probed.
    """
    features = Features.open(place / job.features.folder)
    labels = [_label(job, features, name) for name in job.labels]
    beside = (target.with_suffix(".parquet"), target.with_suffix(".safetensors"))
    with new_file(beside[0]) as unfinished:
        pyarrow.parquet.write_table(_predictions(job, features, labels), unfinished)
    _save_weights(job, features, labels, beside[1])
    content = {
        "dataset": job.features.name,
        "checkpoint": job.features.checkpoint.name,
        "digest": job.digest,
        "features": job.features.folder,
        "labels": {label.name: _described(label) for label in labels},
        "rows": [row for label in labels for row in _rows(label)],
        "shuffled_best": {label.name: _shuffled_best(label) for label in labels},
        "files": recorded(beside, target.parent),
    }
    write_json(target, content)


def _label(job: ProbeJob, features: Features, name: str) -> Label:
    every = np.arange(len(features))
    groups = groups_of(features, job.features.dataset.groups, every)
    column_of_texts = features.index.column("text")
    texts = None if column_of_texts.null_count else column_of_texts.to_pylist()
    try:
        plan = _design(job.spec, column(features, name, every), groups, texts)
        found = probe_layers(_layers(features), plan)
        words = None
        if texts is not None:
            # Only its scores are compared with, so nothing is shuffled for it.
            alone = replace(plan, shuffled=plan.shuffled[:0], controls=plan.controls[:0])
            counts = {"words": token_counts(texts)}
            words = probe_layers(counts, alone, Settings(standardise=False))["words"]
    except StratascopeError as error:
        raise StratascopeError(f"{job.features.label}: label {name!r}: {error}") from error
    return Label(name, plan, groups, found, words)


def _design(
    spec: Probes, labels: list[Any], groups: Sequence[str] | None, texts: Sequence[str] | None
) -> Design:
    planned = partial(
        design,
        labels,
        groups=groups,
        folds=spec.folds,
        permutations=spec.permutations,
        resamples=spec.bootstrap,
        seed=spec.seed,
    )
    try:
        return planned(types=None if texts is None else edge_words(texts, "first_word"))
    except TooFewTypesError:
        return planned()


def _layers(features: Features) -> dict[str, Any]:
    return {name: lambda name=name: features.matrix(name) for name in features.names}


def _rows(label: Label) -> Iterator[dict[str, Any]]:
    for name, result in label.found.items():
        layer, site = place_of(name)
        for measured in result.measures.values():
            words = label.words.measures[measured.measure] if label.words else None
            yield {
                "label": label.name,
                "site": site,
                "layer": layer,
                "measure": measured.measure,
                **{number: known(getattr(measured, number)) for number in NUMBERS},
                "bag_of_tokens": known(words.estimate) if words else None,
            }


def _shuffled_best(label: Label) -> dict[str, list[float | None]]:
    """Of each measure, the best score of any site and layer in each shuffle of the label.

    All saw the same shuffles, and so did other checkpoints with the same texts: the best of theirs
    and of these is what one looks for when one looks at them all.
    """
    results = list(label.found.values())
    return {
        name: [
            known(float(value))
            for value in best_of_all(
                np.stack([result.shuffled[name] for result in results]),
                MEASURES[name].higher_is_better,
            )
        ]
        for name in results[0].measures
    }


def place_of(name: str) -> tuple[int | None, str]:
    """``layer_03/hidden_out`` as (3, "hidden_out"); a tensor of the whole model has no layer."""
    found = re.fullmatch(r"layer_(\d+)/(.+)", name)
    return (int(found[1]), found[2]) if found else (None, name)


def known(number: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return None if math.isnan(number) else number


def _described(label: Label) -> dict[str, Any]:
    target = label.plan.target
    return {"kind": target.kind, "classes": [str(name) for name in target.classes]}


def _predictions(job: ProbeJob, features: Features, labels: Sequence[Label]) -> pyarrow.Table:
    lines = features.index.column("line").to_pylist()
    tables = []
    for label in labels:
        # Without groups every text stands alone, and is called by its line.
        groups = label.groups or [str(line) for line in lines]
        for name, result in label.found.items():
            layer, site = place_of(name)
            said = result.predictions
            count = len(lines)
            tables.append(
                pyarrow.table(
                    {
                        "label": [label.name] * count,
                        "site": [site] * count,
                        "layer": pyarrow.array([layer] * count, pyarrow.int32()),
                        "line": lines,
                        "group": groups,
                        **_said(label, said.scores),
                    }
                )
            )
    return pyarrow.concat_tables(tables)


def _said(label: Label, scores: np.ndarray) -> dict[str, list[Any]]:
    """What was true, what the probe said, and the probability that it gave to that."""
    target = label.plan.target
    if target.kind == "ridge":
        return {
            "truth": [f"{value:.7g}" for value in target.values],
            "predicted": [f"{value:.7g}" for value in scores[:, 0]],
            "probability": pyarrow.array([None] * len(scores), pyarrow.float64()),
        }
    best = scores.argmax(axis=1)
    return {
        "truth": [str(target.classes[code]) for code in target.codes],
        "predicted": [str(target.classes[code]) for code in best],
        "probability": np.exp(scores[np.arange(len(best)), best]).tolist(),
    }


def _save_weights(job: ProbeJob, features: Features, labels: Sequence[Label], path: Path) -> None:
    probes = {
        f"{label.name}/{name}": {"weights": fitted.weights, "bias": fitted.bias}
        for label in labels
        for name, fitted in weights_of_layers(_layers(features), label.plan).items()
    }
    about = {
        "dataset": job.features.name,
        "checkpoint": job.features.checkpoint.name,
        "labels": {label.name: _described(label) for label in labels},
    }
    save_probes(path, probes, about)
