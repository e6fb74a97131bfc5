"""Probes of one checkpoint or layer, judged on the features of another, text by text the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from stratascope.analyses.probes import known, place_of
from stratascope.analyses.texts import column, common_rows, groups_of
from stratascope.errors import StratascopeError
from stratascope.measure.probes import transfer
from stratascope.store.commit import write_json
from stratascope.store.features import Features
from stratascope.study.analyses import TransferJob

# Where a probe was fitted, and where it is judged: number of the set, and name of the tensor.
Place = tuple[int, str]


def measure_transfer(job: TransferJob, place: Path, target: Path) -> None:
    """Judge probes away from where they were fitted; write the index ``target``.

    Between checkpoints: from each to the next and back, and between the first and the last, at the
    same tensor. Between layers: every two of the last checkpoint. No text is judged by a probe that
    its group took part in. Pairs of different width are left out.

    Raises:
        StratascopeError: a label that the features do not carry, or that cannot be probed.
    """
    sets = [Features.open(place / item.folder) for item in job.sets]
    rows = common_rows(sets)
    # Every text alone where nothing is known of it: the probe must not have seen it.
    group = groups_of(sets[0], job.sets[0].dataset.groups, rows[0]) or list(map(str, rows[0]))
    found: list[dict[str, Any]] = []
    for label in job.labels:
        values = column(sets[0], label, rows[0])
        for (a, name), (b, other) in _pairs(job, sets):
            if sets[a].width(name) != sets[b].width(other):
                continue
            try:
                result = transfer(
                    sets[a].matrix(name, rows[a]),
                    values,
                    sets[b].matrix(other, rows[b]),
                    values,
                    fit_groups=group,
                    eval_groups=group,
                    folds=job.spec.folds,
                    resamples=job.spec.bootstrap,
                    seed=job.spec.seed,
                )
            except StratascopeError as error:
                raise StratascopeError(f"{job.dataset}: label {label!r}: {error}") from error
            layer, site = place_of(name)
            there, _ = place_of(other)
            found += [
                {
                    "label": label,
                    "site": site,
                    "layer_from": layer,
                    "layer_to": there,
                    "checkpoint_from": job.sets[a].checkpoint.name,
                    "checkpoint_to": job.sets[b].checkpoint.name,
                    "measure": measure,
                    "estimate": known(judged.estimate),
                    "lower": known(judged.lower),
                    "upper": known(judged.upper),
                    "majority": known(result.majority[measure]),
                    "n": judged.n,
                    "groups": judged.groups,
                }
                for measure, judged in result.measures.items()
            ]
    write_json(target, {"dataset": job.dataset, "digest": job.digest, "rows": found})


def _pairs(job: TransferJob, sets: Sequence[Features]) -> Iterator[tuple[Place, Place]]:
    last = len(sets) - 1
    if "checkpoints" in job.spec.transfer:
        near = {*pairwise(range(len(sets))), (0, last)} - {(0, 0)}
        for a, b in sorted({*near, *((b, a) for a, b in near)}):
            yield from (((a, n), (b, n)) for n in sets[a].names if n in sets[b].names)
    if "layers" in job.spec.transfer:
        names = [name for name in sets[last].names if place_of(name)[0] is not None]
        yield from (
            ((last, name), (last, other))
            for name in names
            for other in names
            if name != other and place_of(name)[1] == place_of(other)[1]
        )
