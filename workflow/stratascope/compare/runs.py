"""Which runs are new, gone, changed or unchanged, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stratascope.compare.changes import Change, changes, shortened
from stratascope.compare.records import Described, Record
from stratascope.study.config import ScenarioFile
from stratascope.study.digest import LENGTH

_HASH = re.compile(r"[0-9a-f]{64}")
UNEXPLAINED = "run.json records no difference: most likely another version of the capture stage"
UNRECORDED = "run.json is not there on both sides, so only the digests are known"


@dataclass(frozen=True)
class ChangedRun:
    """A run whose definition differs; ``answer`` is set if it generated another text."""

    label: str
    a: str
    b: str
    reasons: tuple[Change, ...]
    answer: Change | None
    unexplained: str | None = None


@dataclass(frozen=True)
class Counted:
    """One difference and how many runs (or scenarios) have it."""

    change: Change
    count: int


@dataclass(frozen=True)
class Runs:
    """What became of every run. ``shared`` are the reasons that all changed runs have."""

    new: tuple[str, ...]
    gone: tuple[str, ...]
    changed: tuple[ChangedRun, ...]
    unchanged: tuple[str, ...]
    shared: tuple[Change, ...]
    # Of runs that both sides have: other machine or library versions.
    environments: tuple[Counted, ...]
    # The same definition, but another generated text.
    unsteady: tuple[Change, ...]


def compare_runs(a: Mapping[str, Record], b: Mapping[str, Record]) -> Runs:
    """Compare two sides' runs by their label (by scenario, for two checkpoints)."""
    both = [label for label in a if label in b]
    changed = [_changed(label, a[label], b[label]) for label in both if _differ(a[label], b[label])]
    shared = _shared([run.reasons for run in changed])
    same = [label for label in both if not _differ(a[label], b[label])]
    answers = [_answer(label, a[label], b[label]) for label in same]
    return Runs(
        new=tuple(sorted(b.keys() - a.keys())),
        gone=tuple(sorted(a.keys() - b.keys())),
        changed=tuple(
            ChangedRun(
                run.label,
                run.a,
                run.b,
                tuple(reason for reason in run.reasons if reason not in shared),
                run.answer,
                run.unexplained,
            )
            for run in changed
        ),
        unchanged=tuple(same),
        shared=shared,
        environments=counted(
            [changes(_environment(a[label].info), _environment(b[label].info)) for label in both]
        ),
        unsteady=tuple(answer for answer in answers if answer is not None),
    )


def compare_references(a: Described, b: Described) -> tuple[Counted, ...]:
    """Differences in the reference states of scenarios that both sides have.

    They belong to no run's digest, but what is measured against them moves with them.
    """
    left, right = _references(a), _references(b)
    return counted(
        [
            changes({"reference_states": left[name]}, {"reference_states": right[name]})
            for name in left
            if name in right
        ]
    )


def compare_configs(a: Described, b: Described) -> tuple[Change, ...]:
    """Differences in config.yaml, but for its defaults: they show in the runs that they change."""
    if a.config is None or b.config is None:
        return ()
    return changes(*({k: v for k, v in x.items() if k != "defaults"} for x in (a.config, b.config)))


def counted(found: Sequence[tuple[Change, ...]]) -> tuple[Counted, ...]:
    """Equal differences put together, the most frequent first."""
    counts = Counter(change for items in found for change in items)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Counted(change, count) for change, count in ordered)


def _differ(a: Record, b: Record) -> bool:
    return a.digest != b.digest


def _changed(label: str, a: Record, b: Record) -> ChangedRun:
    known = bool(a.info) and bool(b.info)
    reasons = changes(_definition(a.info), _definition(b.info)) if known else ()
    unexplained = None if reasons else (UNEXPLAINED if known else UNRECORDED)
    return ChangedRun(label, a.digest, b.digest, reasons, _answer(label, a, b), unexplained)


def _answer(label: str, a: Record, b: Record) -> Change | None:
    old, new = a.info.get("generated_text"), b.info.get("generated_text")
    if old is None or new is None or old == new:
        return None
    return Change(label, *shortened(old, new))


def _definition(info: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's digest is made from, as far as run.json has it."""
    scenario, model = dict(info.get("scenario", {})), info.get("model", {})
    named = dict(scenario.pop("model", None) or {})
    scenario.pop("name", None)
    pinned = {key: model[key] for key in ("id", "revision", "identity") if key in model}
    if _HASH.fullmatch(str(pinned.get("identity"))):
        pinned["identity"] = pinned["identity"][:LENGTH]
    definition: dict[str, Any] = {"parent": info.get("parent"), **scenario, "model": named | pinned}
    stage = info.get("stage")
    if isinstance(stage, Mapping):
        definition["stage"] = dict(stage)
    threads = info.get("env", {}).get("threads")
    return definition if threads is None else {**definition, "capture threads": threads}


def _environment(info: Mapping[str, Any]) -> dict[str, Any]:
    # The number of threads belongs to the study, and so to a run's definition.
    return {key: value for key, value in info.get("env", {}).items() if key != "threads"}


def _shared(reasons: Sequence[tuple[Change, ...]]) -> tuple[Change, ...]:
    if len(reasons) < 2:
        return ()
    return tuple(c for c in reasons[0] if all(c in others for others in reasons[1:]))


def _references(described: Described) -> dict[str, Any]:
    return {
        file.scenario.name: [
            item.model_dump(mode="json") for item in file.scenario.reference_states
        ]
        for file in described.scenarios
        if isinstance(file, ScenarioFile)
    }
