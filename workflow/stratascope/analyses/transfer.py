"""Probes of one checkpoint, layer or dataset, judged on the features of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stratascope.analyses.probes import known, place_of
from stratascope.analyses.texts import column, common_rows, groups_of
from stratascope.errors import StratascopeError
from stratascope.measure.probes import transfer
from stratascope.store.commit import write_json
from stratascope.store.features import Features
from stratascope.study.analyses import TransferJob
from stratascope.study.features import FeatureSet


@dataclass(frozen=True)
class Side:
    """Texts of a feature set, and the group of each."""

    of: FeatureSet
    features: Features
    rows: NDArray[np.int64]
    groups: list[str]


# Where a probe was fitted, or where it is judged: the texts, and the name of the tensor.
Place = tuple[Side, str]


def measure_transfer(job: TransferJob, place: Path, target: Path) -> None:
    """Judge probes away from where they were fitted; write the index ``target``.

    Between checkpoints: from each to the next and back, and between the first and the last, at the
    same tensor. Between layers: every two of the last checkpoint. Between datasets: from this one to
    those others that carry the label, at the same tensor of the last checkpoint. No text is judged
    by a probe that its group took part in. Pairs of different width are left out.

    Raises:
        StratascopeError: a label that the features do not carry, or that cannot be probed; another
            dataset's class that this one does not have.
    """
    own = _sides(job.sets, place)
    others = [_sides([other], place)[0] for other in job.others]
    found: list[dict[str, Any]] = []
    for label in job.labels:
        for fitted, judged in _pairs(job, own, [o for o in others if label in o.of.dataset.labels]):
            if fitted[0].features.width(fitted[1]) == judged[0].features.width(judged[1]):
                found += _rows(job, label, fitted, judged)
    write_json(target, {"dataset": job.dataset, "digest": job.digest, "rows": found})


def _sides(sets: Sequence[FeatureSet], place: Path) -> list[Side]:
    """The texts that all of them have."""
    features = [Features.open(place / item.folder) for item in sets]
    rows = common_rows(features)
    fields = sets[0].dataset.groups
    # Every text alone where nothing is known of it: the probe must not have seen it.
    groups = groups_of(features[0], fields, rows[0]) or list(map(str, rows[0]))
    return [Side(*each, groups) for each in zip(sets, features, rows, strict=True)]


def _pairs(
    job: TransferJob, own: Sequence[Side], others: Sequence[Side]
) -> Iterator[tuple[Place, Place]]:
    last = own[-1]
    if "checkpoints" in job.spec.transfer:
        near = {*pairwise(range(len(own))), (0, len(own) - 1)} - {(0, 0)}
        for a, b in sorted({*near, *((b, a) for a, b in near)}):
            yield from _at_the_same(own[a], own[b])
    if "layers" in job.spec.transfer:
        names = [name for name in last.features.names if place_of(name)[0] is not None]
        yield from (
            ((last, name), (last, other))
            for name in names
            for other in names
            if name != other and place_of(name)[1] == place_of(other)[1]
        )
    for other in others:
        yield from _at_the_same(last, other)


def _at_the_same(a: Side, b: Side) -> Iterator[tuple[Place, Place]]:
    yield from (((a, n), (b, n)) for n in a.features.names if n in b.features.names)


def _rows(job: TransferJob, label: str, fitted: Place, judged: Place) -> Iterator[dict[str, Any]]:
    (a, name), (b, other) = fitted, judged
    try:
        result = transfer(
            a.features.matrix(name, a.rows),
            column(a.features, label, a.rows),
            b.features.matrix(other, b.rows),
            column(b.features, label, b.rows),
            fit_groups=a.groups,
            eval_groups=b.groups if _comparable(a.of, b.of) else [("other", g) for g in b.groups],
            folds=job.spec.folds,
            resamples=job.spec.bootstrap,
            seed=job.spec.seed,
        )
    except StratascopeError as error:
        where = job.dataset if a.of.name == b.of.name else f"{a.of.name} on {b.of.name}"
        raise StratascopeError(f"{where}: label {label!r}: {error}") from error
    layer, site = place_of(name)
    for measure, found in result.measures.items():
        yield {
            "label": label,
            "site": site,
            "layer_from": layer,
            "layer_to": place_of(other)[0],
            "checkpoint_from": a.of.checkpoint.name,
            "checkpoint_to": b.of.checkpoint.name,
            "dataset_to": b.of.name,
            "measure": measure,
            "estimate": known(found.estimate),
            "lower": known(found.lower),
            "upper": known(found.upper),
            "majority": known(result.majority[measure]),
            "n": found.n,
            "groups": found.groups,
        }


def _comparable(a: FeatureSet, b: FeatureSet) -> bool:
    """Whether groups of the same name are the same; else a name in common is an accident."""
    return a.name == b.name or (bool(a.dataset.groups) and a.dataset.groups == b.dataset.groups)
