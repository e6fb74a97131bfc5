"""Small studies as the workflow would leave them, and git and DVC repositories that hold them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml

from stratascope.report.tables import TABLES
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.config import read_scenarios, read_study
from stratascope.study.digest import digest
from stratascope.study.runs import Run, expand
from stratascope.study.schema import Model

SOURCES = ("hidden_in", "hidden_out")
LAYERS = (0, 1)
REFERENCES = ("joy", "grief")
# All of it within the 60 characters that are shown of a text.
HOSTILE = "</script><b>x|y</b> `b` ``c`` \\| [x](http://evil.x) @all \x1b[31m\u202e"


@dataclass(frozen=True)
class Made:
    """What a synthetic study is made from; `Made.write` leaves its files."""

    texts: Mapping[str, str] = field(
        default_factory=lambda: {"news": "I passed the exam!", "loss": "My dog died last night."}
    )
    checkpoints: Sequence[str] = ("early", "late")
    max_new_tokens: int = 24
    reference: str = "I am glad."
    identities: Mapping[str, str] = field(default_factory=dict)
    torch: str = "2.13.0"
    stage: int | None = 1
    threads: int = 1
    answers: Mapping[str, str] = field(default_factory=dict)
    # Added to every number of the table rows whose key holds the text.
    shifts: Mapping[str, float] = field(default_factory=dict)
    created: str = "2026-01-01T00:00:00+00:00"

    def but(self, **changes: Any) -> Made:
        return replace(self, **changes)

    def write(self, study: Path) -> Path:
        """Write config, scenarios and results; what lay there before stays, as older runs do."""
        _write_study(self, study)
        runs = _runs(self, study)
        for run in runs:
            _write_run(self, study / "results", run)
        _write_tables(self, study / "results" / "tables", [run.label for run in runs])
        _write_manifests(self, study / "results" / "captures", runs)
        return study


def _write_study(made: Made, study: Path) -> None:
    reference = {"label": "joy", "messages": [{"role": "user", "content": made.reference}]}
    config = {
        "checkpoints": {name: {"id": f"models/{name}"} for name in made.checkpoints},
        "defaults": {
            "generation": {"max_new_tokens": made.max_new_tokens},
            "reference_states": [reference],
        },
    }
    shutil.rmtree(study / "scenarios", ignore_errors=True)
    (study / "scenarios").mkdir(parents=True)
    (study / "config").mkdir(exist_ok=True)
    (study / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    for name, text in made.texts.items():
        messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]
        content = {"name": name, "prompt": {"messages": messages}}
        (study / "scenarios" / f"{name}.yaml").write_text(yaml.safe_dump(content))


def _runs(made: Made, study: Path) -> list[Run]:
    parsed = read_study(study)
    return [
        run
        for name in made.checkpoints
        for file in read_scenarios(study, parsed)
        for run in expand(
            file, Checkpoint(name, Model(id=f"models/{name}"), "", None, name), made.threads
        )
    ]


def definition(run: Run) -> dict[str, Any]:
    """As ``stratascope.capture.describe`` writes it into run.json."""
    return {
        "name": run.scenario,
        "model": run.checkpoint.model.model_dump(mode="json"),
        "prompt": {"messages": [message.model_dump(mode="json") for message in run.messages]},
        "generation": run.generation.model_dump(mode="json"),
        "capture": run.capture.model_dump(mode="json"),
    }


def _identity(made: Made, name: str) -> str:
    return made.identities.get(name, hashlib.sha256(name.encode()).hexdigest())


def _digest(made: Made, run: Run) -> str:
    identity = _identity(made, run.checkpoint.name)
    return digest([made.stage, definition(run), identity, made.threads])


def _write_run(made: Made, results: Path, run: Run) -> None:
    folder = results / "runs" / f"{run.label}-{_digest(made, run)}"
    folder.mkdir(parents=True, exist_ok=True)
    name = run.checkpoint.name
    record = {
        "format": "stratascope-run-1",
        "label": run.label,
        "digest": _digest(made, run),
        "parent": run.parent,
        **({} if made.stage is None else {"stage": {"name": "capture", "version": made.stage}}),
        "scenario": definition(run),
        "model": {"id": f"models/{name}", "revision": None, "identity": _identity(made, name)},
        "generated_text": made.answers.get(run.scenario, f"An answer to {run.scenario}."),
        "env": {"python": "3.11.7", "torch": made.torch, "device": "cpu", "threads": made.threads},
        "created_at": made.created,
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "activations.safetensors").write_bytes(run.label.encode() * 100)


def _write_manifests(made: Made, captures: Path, runs: list[Run]) -> None:
    captures.mkdir(exist_ok=True)
    for name in made.checkpoints:
        mine = [run for run in runs if run.checkpoint.name == name]
        entries = [
            {"run": run.label, "folder": f"{run.label}-{_digest(made, run)}"} for run in mine
        ]
        content = {"checkpoint": name, "digest": digest(entries), "runs": entries}
        (captures / f"{name}-{digest(entries)}.json").write_text(json.dumps(content))


def _write_tables(made: Made, tables: Path, labels: list[str]) -> None:
    tables.mkdir(parents=True, exist_ok=True)
    for name, rows in _keys(made, labels).items():
        columns = [c for c in TABLES[name].columns if c not in rows[0]] if rows else []
        lines = [
            {**row, **{c: _value(made, name, row, c) for c in columns if c not in _TEXT}}
            for row in rows
        ]
        frame = pd.DataFrame(lines, columns=list(TABLES[name].columns))
        frame.to_csv(tables / f"{name}.csv", index=False, float_format="%.7g")
    metrics = {
        "counts": {"runs": len(labels)},
        "checkpoints": {
            name: {"intra_run": {s: {"cosine": _value(made, "m", {"c": name}, s)} for s in SOURCES}}
            for name in made.checkpoints
        },
    }
    (tables.parent / "metrics.json").write_text(json.dumps(metrics, sort_keys=True))


_TEXT = {"pair", "generated_a", "generated_b", "role"}


def _keys(made: Made, labels: list[str]) -> dict[str, list[dict[str, Any]]]:
    each = [{"source": source, "layer": layer} for source in SOURCES for layer in LAYERS]
    pairs = list(combinations(labels, 2))
    return {
        "intra_run_report": [{"run": r, "source": s} for r in labels for s in SOURCES],
        "intra_run_cosines": [{"run": r, **e} for r in labels for e in each],
        "comparison_report": [
            {"state": t, "run_a": a, "run_b": b, "source": s}
            for t in ("initial", "final") for a, b in pairs for s in SOURCES
        ],
        "role_averages": [
            {"scope": scope, "name": name, "reference": r, "position": "turn_end", "source": s}
            for scope, names in (("checkpoint", made.checkpoints), ("run", labels))
            for name in names for r in REFERENCES for s in SOURCES
        ],
        "discrimination": [
            {"checkpoint": c, "position": "turn_end", **e} for c in made.checkpoints for e in each
        ],
        "checkpoints": [
            {"checkpoint": c, "order": i, **e} for i, c in enumerate(made.checkpoints) for e in each
        ],
        "snapshot_reference": [
            {"run": r, "message": m, "reference": f, "position": "turn_end", **e}
            for r in labels for m in (0, 1) for f in REFERENCES for e in each
        ],
    }  # fmt: skip


def _value(made: Made, table: str, row: Mapping[str, Any], column: str) -> float:
    """A number that depends on where it stands alone; the spread of unrelated states is 0.1."""
    if column.endswith("background_std"):
        return 0.1
    if column.endswith("_layer") or column in ("n", "runs", "n_user", "n_assistant"):
        return 1
    key = " ".join(str(value) for value in row.values())
    seed = hashlib.sha256(f"{table} {key} {column}".encode()).digest()
    value = int.from_bytes(seed[:4], "big") / 2**32
    if column.startswith(("lower", "upper")):
        value = -0.2 if column.startswith("lower") else 0.2
    shift = sum(amount for text, amount in made.shifts.items() if text in f"{table} {key}")
    return value + shift


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def hashes(folder: Path) -> dict[str, str]:
    """Every file but DVC's own scratch: content and mode, by path."""
    return {
        path.relative_to(folder).as_posix(): f"{path.stat().st_mode} "
        + hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".dvc/tmp/" not in path.as_posix()
    }


@pytest.fixture(autouse=True, scope="session")
def _quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing phones home, and no person's git or DVC settings take part."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    for name in ("DVC_NO_ANALYTICS", "DO_NOT_TRACK", "GIT_CONFIG_NOSYSTEM"):
        patch.setenv(name, "1")
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        patch.setenv(f"{name}_NAME", "Test")
        patch.setenv(f"{name}_EMAIL", "test@example.invalid")
    patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    patch.setenv("DVC_GLOBAL_CONFIG_DIR", str(home / "dvc"))
    patch.setenv("DVC_SYSTEM_CONFIG_DIR", str(home / "dvc-system"))
    patch.setenv("DVC_SITE_CACHE_DIR", str(home / "dvc-site"))
    yield
    patch.undo()


@dataclass(frozen=True)
class Repository:
    """A git and DVC repository with a study at two commits, ``first`` and ``second``."""

    root: Path
    study: Path
    first: str
    second: str


FIRST = Made()
SECOND = FIRST.but(
    texts={"news": "I failed the exam!", "hope": "It may rain."},
    shifts={"news@early": 0.25},
    created="2026-02-01T00:00:00+00:00",
)


def track(repository: Path, targets: Sequence[Path]) -> None:
    """``dvc add``: into the cache, with a .dvc file beside each target."""
    from dvc.repo import Repo

    with Repo(str(repository)) as repo:
        repo.add([str(target) for target in targets])


def make_repository(root: Path, below: str = ".", subdir: bool = False) -> Repository:
    """``below``: the study's folder. ``subdir``: DVC begins there, not at git's root."""
    from dvc.repo import Repo

    study = root / below
    study.mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    dvc_root = study if subdir else root
    Repo.init(str(dvc_root), subdir=subdir).close()
    found = []
    for made in (FIRST, SECOND):
        made.write(study)
        track(dvc_root, [study / "results"])
        found.append(commit(root, "results"))
    return Repository(root, study, *found)


@pytest.fixture(scope="session")
def _repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return make_repository(tmp_path_factory.mktemp("repository") / "a" / "clone", "lab/study")


@pytest.fixture
def repository(_repository: Repository, tmp_path: Path) -> Repository:
    """A copy that a test may spoil; the study is in a sub-folder."""
    root = tmp_path / "clone"
    shutil.copytree(_repository.root, root, symlinks=True)
    return replace(_repository, root=root, study=root / "lab/study")


@pytest.fixture(scope="session")
def shell() -> SimpleNamespace:
    """What tests do in a repository."""
    return SimpleNamespace(git=git, commit=commit, hashes=hashes, make_repository=make_repository)


@pytest.fixture(scope="session")
def made() -> Made:
    """Two scenarios on two checkpoints."""
    return FIRST


@pytest.fixture(scope="session")
def hostile() -> str:
    return HOSTILE
