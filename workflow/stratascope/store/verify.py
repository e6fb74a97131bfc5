"""Every artifact below results against the hashes that were recorded when it was made.

Who records whom: a run's ``run.json`` its other files, a capture's manifest every ``run.json`` (and
the same for reference sets and questions), an extraction's manifest its shards and the features'
``run.json``, which records all of their files, an index of states or probes the files beside it,
the tables' stamp the indices, tables and metrics, the report's stamp the report. Manifests and
stamps hold nothing but names and hashes, so a flipped bit in one of them disagrees with its own
name, its layout or the files that it names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stratascope.errors import StratascopeError
from stratascope.store.features import INDEX, INFO, is_unfinished
from stratascope.store.hashes import sha256
from stratascope.store.layout import TABLES, Layout
from stratascope.store.needed import NEURONS_ENDS, PROBES_ENDS, STATES_ENDS
from stratascope.store.questions import QUESTION_FILES
from stratascope.store.runs import REFERENCE_FILES, RUN_FILES, read_json

DAMAGED, MISSING, UNRECORDED = "damaged", "missing", "no recorded hash"


@dataclass(frozen=True)
class Finding:
    """One file that is not as recorded; ``path`` is relative to the study.

    ``state`` is ``damaged``, ``missing``, or ``no recorded hash``, which is no failure: an earlier
    version made it, or its manifest was never written.
    """

    path: Path
    state: str
    detail: str

    @property
    def bad(self) -> bool:
        """Whether the file cannot be trusted."""
        return self.state != UNRECORDED


@dataclass(frozen=True)
class Record:
    """What ``keeper`` says that ``path`` holds; no ``sha256`` means that nothing was recorded."""

    path: Path
    keeper: Path
    sha256: str | None


def verify(root: Path) -> tuple[int, list[Finding]]:
    """Check every artifact; return how many files were checked, and what is wrong, sorted by path.

    Raises ``StratascopeError`` where there is nothing to check.
    """
    found: list[Finding] = []
    records: dict[Path, Record] = {}
    for record in _records(root, found):
        known = records.get(record.path)
        # Manifests of several plans may list one run: every one of them must be right.
        if known is None or known.sha256 is None:
            records[record.path] = record
        elif record.sha256 not in (None, known.sha256):
            found.append(_disagree(record, known))
    keepers = [path for path in _keepers(root) if path not in records]
    if not records and not keepers:
        raise StratascopeError(
            f"{root / 'results'}: nothing to verify; run snakemake, or `stratascope restore`"
        )
    found += [finding for record in records.values() if (finding := _check(root, record))]
    damaged = {finding.path for finding in found}
    return len(records) + len(keepers), sorted(
        {*found, *(f for path in keepers if (f := _canonical(root, path)) and path not in damaged)},
        key=lambda finding: (finding.path, finding.state, finding.detail),
    )


def _records(root: Path, found: list[Finding]) -> Iterator[Record]:
    """Everything that some file says about another; what cannot be read goes to ``found``."""
    layout = Layout.of_study()
    for path in _listed(root, layout.captures, "*.json"):
        yield from _manifest(root, path, layout, found)
    for folder, names in _captured(layout).values():
        for path in _listed(root, folder, "*"):
            yield from _folder(root, path, names, found)
    for path in _listed(root, layout.extractions, "*.json"):
        yield from _extraction(root, path, layout, found)
    for path in _listed(root, layout.features, "*"):
        if not is_unfinished(root / path):
            yield from _folder(root, path, (INFO, INDEX), found)
    for folder, ends in _indexed(layout).items():
        for path in _listed(root, folder, "*.json"):
            hashes = _read(root, path, found).get("files", {})
            files = [path.with_suffix(end) for end in ends[1:]]
            yield from (Record(file, path, hashes.get(file.name)) for file in files)
            yield Record(path, path, None)
    for path in _listed(root, layout.heatmaps, "*.json"):
        pictures = _read(root, path, found).get("files", {})
        yield from (Record(path.with_suffix("") / name, path, pictures[name]) for name in pictures)
        yield Record(path, path, None)
    for path in _listed(root, layout.stamps, "*.json"):
        hashes = _read(root, path, found)
        yield from (Record(Path(name), path, value) for name, value in hashes.items())
        found += _stamp_lacks(path, hashes, layout)


def _captured(layout: Layout) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """What a manifest lists: for each key the folder, and in it the files; the first records them."""
    return {
        "runs": (layout.runs, RUN_FILES),
        "references": (layout.references, REFERENCE_FILES),
        "questions": (layout.questions, QUESTION_FILES),
    }


def _indexed(layout: Layout) -> dict[Path, tuple[str, ...]]:
    """Artifacts of one index and files beside it, whose hashes it records."""
    alone = (".json",)
    return {
        layout.states: STATES_ENDS,
        layout.probes: PROBES_ENDS,
        layout.readings: alone,
        layout.transfer: alone,
        layout.similarity: alone,
        layout.neurons: NEURONS_ENDS,
        layout.lens: alone,
        layout.residual: alone,
        layout.attention: alone,
        layout.induction: alone,
        layout.cross_layer: alone,
        layout.trajectory: alone,
    }


def _extraction(root: Path, path: Path, layout: Layout, found: list[Finding]) -> Iterator[Record]:
    """What the manifest of a job that extracts features says of the shards that it left."""
    content = _read(root, path, found)
    if content and not path.stem.endswith(f"-{content.get('digest')}"):
        found.append(Finding(path, DAMAGED, "not the manifest of an extraction"))
        return
    for item in content.get("features", []):
        folder = layout.features / item["folder"]
        yield from (Record(folder / s["file"], path, s["sha256"]) for s in item["shards"])
        if item["sha256"] is not None:  # the job that found all shards there recorded their end
            yield Record(folder / INFO, path, item["sha256"])


def _manifest(root: Path, path: Path, layout: Layout, found: list[Finding]) -> Iterator[Record]:
    content = _read(root, path, found)
    if not content:
        return
    if not _as_written(path, content):
        found.append(Finding(path, DAMAGED, "not the manifest of a capture job"))
        return
    for key, (below, names) in _captured(layout).items():
        for item in content.get(key, []):
            yield Record(below / item["folder"] / names[0], path, item.get("sha256"))


def _as_written(path: Path, content: dict[str, Any]) -> bool:
    """Whether a manifest has its keys and agrees with its name and with itself."""
    if set(content) - {"questions"} != {"checkpoint", "digest", "runs", "references"}:
        return False
    runs, references = [*content["runs"], *content.get("questions", [])], content["references"]
    if not all(isinstance(item, dict) for item in [*runs, *references]):
        return False
    return (
        path.stem.startswith(content["checkpoint"])
        and path.stem.endswith(f"-{content['digest']}")
        and all({*item, "sha256"} == {"run", "folder", "sha256"} for item in runs)
        and all({*item, "sha256"} == {"folder", "sha256"} for item in references)
        and all(item["folder"].startswith(f"{item['run']}-") for item in runs)
    )


def _folder(
    root: Path, path: Path, names: tuple[str, ...], found: list[Finding]
) -> Iterator[Record]:
    index = path / names[0]
    yield Record(index, path, None)
    hashes = _read(root, index, found).get("files", {}) if (root / index).is_file() else {}
    for name in sorted({*names[1:], *hashes}):
        yield Record(path / name, index, hashes.get(name))


def _stamp_lacks(path: Path, hashes: dict[str, Any], layout: Layout) -> Iterator[Finding]:
    """A stamp must list what its stage leaves under fixed names."""
    tables = [*(layout.tables / f"{name}.csv" for name in TABLES), layout.metrics]
    expected = {"tables": tables, "report": [layout.report]}.get(path.name.split("-")[0], [])
    for name in expected:
        if name.as_posix() not in hashes:
            yield Finding(path, DAMAGED, f"does not list {name}")


def _check(root: Path, record: Record) -> Finding | None:
    path = root / record.path
    by = f"recorded in {record.keeper}"
    if not path.is_file():
        return Finding(record.path, MISSING, by)
    if record.sha256 is None:
        return Finding(record.path, UNRECORDED, "made by an earlier version, or not yet listed")
    if sha256(path) != record.sha256:
        return Finding(record.path, DAMAGED, f"its content is not what was {by}")
    return None


def _disagree(one: Record, other: Record) -> Finding:
    return Finding(one.keeper, DAMAGED, f"disagrees with {other.keeper} about {one.path}")


def _keepers(root: Path) -> list[Path]:
    """The files that nothing records: they record the others."""
    layout = Layout.of_study()
    return [
        path
        for folder in (layout.captures, layout.extractions, layout.stamps)
        for path in _listed(root, folder, "*.json")
    ]


def _canonical(root: Path, path: Path) -> Finding | None:
    """Such a file is written in one way only; other bytes with the same meaning are damage, too."""
    try:
        content = read_json(root / path)
    except StratascopeError:
        return None  # said already
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if text.encode() == (root / path).read_bytes():
        return None
    return Finding(path, DAMAGED, "not as Stratascope writes it")


def _read(root: Path, path: Path, found: list[Finding]) -> dict[str, Any]:
    try:
        content = read_json(root / path)
    except StratascopeError as error:
        found.append(Finding(path, DAMAGED, str(error).removeprefix(f"{root / path}: ")))
        return {}
    if isinstance(content, dict):
        return content
    found.append(Finding(path, DAMAGED, "not a JSON object"))
    return {}


def _listed(root: Path, folder: Path, pattern: str) -> list[Path]:
    """What lies in a folder, relative to the study; unfinished things are left out."""
    return sorted(
        path.relative_to(root)
        for path in (root / folder).glob(pattern)
        if not path.name.startswith(".")
    )
