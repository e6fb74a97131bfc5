"""The table of datasets: what was read, and how labels are spread."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stratascope.errors import StratascopeError
from stratascope.report.extracted import Extracted
from stratascope.report.sections.datasets import _dataset


@pytest.fixture(scope="module")
def extracted(planted: Any) -> list[Extracted]:
    return [Extracted.open(folder) for folder in planted.features]


def test_a_dataset_is_summed_up(extracted: list[Extracted]) -> None:
    """Texts, groups, skipped rows, noise and examples come from the features themselves."""
    found = _dataset(extracted)
    assert found["checkpoints"] == ["step-0", "step-500", "step-1000"]
    assert found["texts"] == [80]
    assert found["groups"] == [("event", 50)]
    assert found["skipped"]["count"] == 1  # the same line on every checkpoint
    assert found["noise"] == 3e-7
    assert found["examples"][1]["text"] == "Text number 2.\nI feel it."
    assert found["examples"][1]["fields"] == ["<b>grief</b>", 0.2, "event 2"]


def test_labels_are_counted_and_quantities_have_a_range(extracted: list[Extracted]) -> None:
    """Classes come with counts, most frequent first; of a number with many values the range."""
    emotion, warmth = _dataset(extracted)["labels"]
    assert emotion["counts"] == [("<b>grief</b>", 20), ("anger", 20), ("calm", 20), ("joy", 20)]
    assert emotion["range"] is None
    assert warmth["range"] == "0.100 to 8.000"


def test_only_the_lines_that_are_asked_for_are_read(extracted: list[Extracted]) -> None:
    """Texts come by line, in any order, and a line that is not there is left out."""
    assert extracted[0].texts([3, 2, 999]) == {
        2: "Text number 2.\nI feel it.",
        3: "Text number 3.\nI feel it.",
    }
    assert extracted[0].texts([]) == {}


def test_features_that_are_gone_are_named(planted: Any, tmp_path: Path) -> None:
    """A folder without run.json is an error that names it."""
    folder = tmp_path / planted.features[0].name
    shutil.copytree(planted.features[0], folder)
    (folder / "run.json").unlink()
    with pytest.raises(StratascopeError, match=folder.name):
        Extracted.open(folder)


def test_checkpoints_that_skip_different_rows(planted: Any, tmp_path: Path) -> None:
    """Where a tokeniser refused other lines, texts are a range and skipped lines count once each."""
    folders = []
    for place, source in enumerate(planted.features[:2]):
        folder = tmp_path / source.name
        shutil.copytree(source, folder)
        info = json.loads((folder / "run.json").read_text())
        info |= {"texts": 80 - place, "skipped": [{"line": 7 + place, "reason": "too long"}]}
        (folder / "run.json").write_text(json.dumps(info))
        folders.append(Extracted.open(folder))
    found = _dataset(folders)
    assert found["texts"] == [79, 80]
    assert found["skipped"] == {"count": 2, "rows": [(7, "too long"), (8, "too long")]}
