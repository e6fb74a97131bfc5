"""``stratascope run``: capture scenario files without a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stratascope.capture.job import Item, capture_missing
from stratascope.errors import StratascopeError
from stratascope.store.identity import identify
from stratascope.store.layout import Layout
from stratascope.store.runs import RunFolder
from stratascope.study.config import ScenarioFile, check_names, read_scenario, scenario_paths
from stratascope.study.plan import Run, check_labels, expand, place, reference_sets
from stratascope.study.schema import Model


def run_files(
    path: Path,
    root: Path,
    model_id: str | None,
    dtype: str | None,
    threads: int,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Capture the scenario file ``path``, or every scenario in that folder; a row for each run.

    ``model_id`` and ``dtype`` replace what the files say. Raises ``StratascopeError`` as reading,
    planning and capturing do.
    """
    files = [
        _on_model(read_scenario(file, str(file)), model_id, dtype)
        for file in scenario_paths(path, str(path))
    ]
    check_names(files)
    placed = place(files, {}, root, identify)
    runs = [
        (file, run) for file, found in placed for c in found for run in expand(file, c, threads)
    ]
    check_labels(run for _, run in runs)
    items = {item.folder: item for file, run in runs for item in _items(root, file, run)}
    rows = [_row(root, file, run) for file, run in runs]
    capture_missing(items.values(), say)
    for row in rows:
        row["generated"] = RunFolder.open(Path(row["folder"])).info["generated_text"]
    return rows


def _on_model(file: ScenarioFile, model_id: str | None, dtype: str | None) -> ScenarioFile:
    scenario = file.scenario
    if scenario.model is None and model_id is None:
        raise StratascopeError(f"{file.shown}: no model: name one as `model.id`, or with --model")
    model = scenario.model or Model(id=model_id or "")
    if model_id is not None:
        model = model.model_copy(update={"id": model_id, "revision": None, "gguf_file": None})
    if dtype is not None:
        model = model.model_copy(update={"dtype": dtype})
    return ScenarioFile(scenario.model_copy(update={"model": model}), file.shown)


def _layout(root: Path, file: ScenarioFile) -> Layout:
    folder = file.scenario.output.dir
    if folder is not None:
        return Layout.of_output(root / Path(folder).expanduser())
    study = Layout.of_study()
    return Layout(root / study.runs, root / study.references)


def _items(root: Path, file: ScenarioFile, run: Run) -> list[Item]:
    layout = _layout(root, file)
    references = [Item(r, layout.references / r.folder) for r in reference_sets([run])]
    return [*references, Item(run, layout.runs / run.folder)]


def _row(root: Path, file: ScenarioFile, run: Run) -> dict[str, Any]:
    folder = _layout(root, file).runs / run.folder
    return {"run": run.label, "digest": run.digest, "folder": str(folder)}
