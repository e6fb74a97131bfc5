"""``stratascope run``: capture scenario files without a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stratascope.capture.job import Item, capture_missing
from stratascope.errors import StratascopeError
from stratascope.store.identity import identify
from stratascope.store.layout import Layout
from stratascope.store.runs import RunFolder
from stratascope.study.config import ScenarioFile, check_names, read_scenario, scenario_paths
from stratascope.study.plan import place
from stratascope.study.runs import Run, check_labels, expand, reference_sets
from stratascope.study.schema import Model


def run_files(
    path: Path,
    root: Path,
    changes: Mapping[str, str | None],
    threads: int,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Capture the scenario file ``path``, or every scenario in that folder; a row for each run.

    ``changes`` (``id``, ``revision``, ``dtype``) replace what the files say of the model. Raises
    ``StratascopeError`` as reading, planning and capturing do.
    """
    files = [
        _on_model(read_scenario(file, str(file)), changes)
        for file in scenario_paths(path, str(path))
    ]
    check_names(files)
    placed = place(files, (), root, identify)
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


def _on_model(file: ScenarioFile, changes: Mapping[str, str | None]) -> ScenarioFile:
    given = {key: value for key, value in changes.items() if value is not None}
    own = file.scenario.model
    if own is None and "id" not in given:
        raise StratascopeError(f"{file.shown}: no model: name one as `model.id`, or with --model")
    # Another model's revision and files are not this one's.
    kept = (
        own.model_dump(exclude={"revision", "gguf_file"} if "id" in given else set()) if own else {}
    )
    model = Model.model_validate(kept | given)
    return ScenarioFile(file.scenario.model_copy(update={"model": model}), file.shown)


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
