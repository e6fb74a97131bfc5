"""``stratascope run``: capture scenario files without a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stratascope.capture.job import Item, capture_missing
from stratascope.errors import StratascopeError
from stratascope.store.identity import identify
from stratascope.store.layout import Layout
from stratascope.store.questions import QuestionFolder
from stratascope.store.runs import RunFolder
from stratascope.study.config import (
    AnyFile,
    QuestionFile,
    ScenarioFile,
    check_names,
    read_scenario,
    scenario_paths,
)
from stratascope.study.plan import place
from stratascope.study.questionset import QuestionSet
from stratascope.study.runs import Placed, Run, check_labels, expand_all, reference_sets
from stratascope.study.schema import Limits, Model


def run_files(
    path: Path,
    root: Path,
    changes: Mapping[str, str | None],
    threads: int,
    say: Callable[[str], None],
    limits: Limits = Limits(),  # noqa: B008 (frozen)
) -> list[dict[str, Any]]:
    """Capture the scenario file ``path``, or every scenario in that folder; a row for each run.

    ``changes`` (``id``, ``revision``, ``dtype``) replace what the files say of the model. Raises
    ``StratascopeError`` as reading, planning and capturing do.
    """
    files = [
        _on_model(read_scenario(file, str(file), root), changes)
        for file in scenario_paths(path, str(path))
    ]
    check_names(files)
    found = [
        (file, what)
        for placed in place(files, (), root, identify)
        for file, what in _each(placed, threads)
    ]
    check_labels(what for _, what in found)
    items = {
        item.folder: item for file, what in found for item in _items(_layout(root, file), what)
    }
    capture_missing(items.values(), say, limits)
    return [_row(_layout(root, file), what) for file, what in found]


def _each(placed: Placed, threads: int) -> Iterator[tuple[AnyFile, Run | QuestionSet]]:
    runs, questions = expand_all([placed], threads)
    both: list[Run | QuestionSet] = [*runs, *questions]
    yield from ((placed[0], what) for what in both)


def _on_model(file: AnyFile, changes: Mapping[str, str | None]) -> AnyFile:
    given = {key: value for key, value in changes.items() if value is not None}
    own = file.scenario.model
    if own is None and "id" not in given:
        raise StratascopeError(f"{file.shown}: no model: name one as `model.id`, or with --model")
    # Another model's revision and files are not this one's.
    kept = (
        own.model_dump(exclude={"revision", "gguf_file"} if "id" in given else set()) if own else {}
    )
    update = {"model": Model.model_validate(kept | given)}
    if isinstance(file, QuestionFile):
        return QuestionFile(file.scenario.model_copy(update=update), file.shown)
    return ScenarioFile(file.scenario.model_copy(update=update), file.shown)


def _layout(root: Path, file: AnyFile) -> Layout:
    if isinstance(file, ScenarioFile) and file.scenario.output.dir is not None:
        return Layout.of_output(root / Path(file.scenario.output.dir).expanduser())
    study = Layout.of_study()
    return Layout(root / study.runs, root / study.references, questions=root / study.questions)


def _items(layout: Layout, what: Run | QuestionSet) -> list[Item]:
    if isinstance(what, QuestionSet):
        return [Item(what, layout.questions / what.folder)]
    references = [Item(r, layout.references / r.folder) for r in reference_sets([what])]
    return [*references, Item(what, layout.runs / what.folder)]


def _row(layout: Layout, what: Run | QuestionSet) -> dict[str, Any]:
    if isinstance(what, QuestionSet):
        folder = layout.questions / what.folder
        rows = QuestionFolder.open(folder).rows
        said = f"{sum(row['correct'] for row in rows)} of {len(rows)} right"
    else:
        folder = layout.runs / what.folder
        said = RunFolder.open(folder).info["generated_text"]
    return {"run": what.label, "digest": what.digest, "folder": str(folder), "generated": said}
