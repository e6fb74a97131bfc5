"""What one side's runs and study say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stratascope.compare.sides import LAYOUT, Side
from stratascope.errors import StratascopeError
from stratascope.report.inputs import read_table
from stratascope.store.questions import QUESTIONS
from stratascope.store.runs import read_json
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.config import AnyFile, QuestionFile, read_scenarios, read_study
from stratascope.study.runs import expand
from stratascope.study.schema import Model

# Of a scenario, what its label and its checkpoint say.
_NAMED = {"name", "model"}


@dataclass(frozen=True)
class Record:
    """A run: its label, its digest, and run.json (empty where only a manifest names the run)."""

    label: str
    digest: str
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Described:
    """A study's config and scenarios as parsed, or why they could not be read."""

    config: Mapping[str, Any] | None = None
    scenarios: tuple[AnyFile, ...] = ()
    trouble: str | None = None


def read_study_of(side: Side) -> Described:
    """The side's config and scenarios. Those of another version of this package may not parse."""
    if side.study is None:
        return Described()
    try:
        study = read_study(side.study)
        return Described(study.model_dump(mode="json"), tuple(read_scenarios(side.study, study)))
    except StratascopeError as error:
        return Described(trouble=f"the config or scenarios of {side.shown} were left out: {error}")


def read_runs(side: Side, described: Described) -> dict[str, Record]:
    """The side's runs and questions by label; by scenario if the side is a checkpoint.

    Older runs may lie beside those in use. A label counts if a table or a scenario has it. Of several runs
    with one label, the one that the scenario describes counts, and of several such the latest.
    """
    found: dict[str, list[Record]] = {}
    recorded = [
        *_recorded(side.path(LAYOUT.runs), "run.json"),
        *_recorded(side.path(LAYOUT.questions), QUESTIONS),
    ]
    for record in recorded:
        found.setdefault(record.label, []).append(record)
    for record in _manifested(side.path(LAYOUT.captures)):
        found.setdefault(record.label, [record])
    wanted = dict(_definitions(described.scenarios))
    labels = _labels_in_tables(side.path(LAYOUT.tables))
    runs = {}
    for label, records in sorted(found.items()):
        best = max(records, key=lambda record: _rank(record, wanted))
        if labels is None or label in labels or _rank(best, wanted)[0]:
            runs[label] = best
    if side.checkpoint is None:
        return runs
    parts = {label: label.rpartition("@") for label in runs}
    return {parts[label][0]: runs[label] for label in runs if parts[label][2] == side.checkpoint}


def read_metrics(side: Side) -> Mapping[str, Any]:
    """metrics.json, or of it what one checkpoint has; empty if there is none."""
    path = side.path(LAYOUT.metrics)
    metrics = read_json(path) if path.is_file() else {}
    if not isinstance(metrics, dict):
        raise StratascopeError(f"{path}: must hold a JSON object")
    if side.checkpoint is None:
        return metrics
    found = metrics.get("checkpoints", {}).get(side.checkpoint, {})
    return found if isinstance(found, dict) else {}


def _recorded(runs: Path, name: str) -> Iterator[Record]:
    for path in sorted(runs.glob(f"*/{name}")):
        info = read_json(path)
        # Exports and copies of a run may lie beside it, with its run.json, under other names.
        if path.parent.name == f"{info.get('label')}-{info.get('digest')}":
            yield Record(info["label"], info["digest"], info)


def _manifested(captures: Path) -> Iterator[Record]:
    """The runs that manifests name: enough to compare digests where no run.json is kept."""
    for path in sorted(captures.glob("*.json")):
        manifest = read_json(path)
        for run in (*manifest.get("runs", []), *manifest.get("questions", [])):
            yield Record(run["run"], run["folder"].removeprefix(f"{run['run']}-"))


def _labels_in_tables(tables: Path) -> set[str] | None:
    frame = read_table(tables / "intra_run_report.csv")
    asked = read_table(tables / "question_accuracy.csv")
    labels = set(asked["scenario"] + "@" + asked["checkpoint"]) if len(asked) else set()
    return labels | set(frame["run"]) if "run" in frame else None


def _definitions(files: Iterable[AnyFile]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What run.json would say of each planned scenario, but for the model."""
    # Only the model's name is missing here, and it is not compared.
    nobody = Checkpoint("any", Model(id="any"), "", None, "")
    for file in files:
        if isinstance(file, QuestionFile):
            yield file.scenario.name, file.scenario.model_dump(mode="json", exclude=_NAMED)
            continue
        for run in expand(file, nobody, threads=1):
            yield (
                run.scenario,
                {
                    "prompt": {"messages": [m.model_dump(mode="json") for m in run.messages]},
                    "generation": run.generation.model_dump(mode="json"),
                    "capture": run.capture.model_dump(mode="json"),
                },
            )


def _rank(record: Record, wanted: Mapping[str, Mapping[str, Any]]) -> tuple[bool, str, str]:
    scenario = record.info.get("scenario", {})
    described = wanted.get(record.label.rpartition("@")[0])
    same = described is not None and all(
        scenario.get(key) == value for key, value in described.items()
    )
    return same, str(record.info.get("created_at", "")), record.digest
