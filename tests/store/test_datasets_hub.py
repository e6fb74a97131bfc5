"""Datasets through the ``datasets`` library: local folders, and what is asked of the hub."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stratascope.errors import StratascopeError
from stratascope.store.datasets import BadRow, Row, content_of, open_dataset, sampled
from stratascope.study.dataset import Dataset

pytestmark = pytest.mark.slow  # importing `datasets` takes seconds
COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as on the hub: two files of the split `train`, one of `test`, and its card."""
    here = tmp_path / "mood"
    here.mkdir()
    for name, start, stop in (("train-0", 0, 700), ("train-1", 700, 1000), ("test", 1000, 1003)):
        rows = [
            {"text": f"text {i}", "y": i % 2 - (i == 4), "other": [i]} for i in range(start, stop)
        ]
        (here / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return here


def write_card(folder: Path, rows: int) -> None:
    names = {"names": {"0": "sad", "1": "glad"}}
    features = [
        {"name": "text", "dtype": "string"},
        {"name": "y", "dtype": {"class_label": names}},
        {"name": "other", "list": "int64"},
    ]
    files = [{"split": "train", "path": "train-*.jsonl"}, {"split": "test", "path": "test.jsonl"}]
    size = {"num_bytes": 1, "num_examples": rows}
    splits = [{"name": "train"} | size, {"name": "test"} | size]
    card = {
        "configs": [{"config_name": "en", "data_files": files}],
        "dataset_info": [{"config_name": "en", "features": features, "splits": splits}],
    }
    (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")


def test_a_folder_is_streamed(folder: Path) -> None:
    """Every row of the split in order, from any place, with labels as they are; others are left."""
    source = open_dataset(Dataset(data="mood", labels=("y",)), folder.parent)
    assert source.count() == 1000
    rows = [row for start in range(0, 1000, 128) for row in source.read(start, start + 128)]
    assert [(row.line, row.text, row.fields["y"]) for row in rows if isinstance(row, Row)] == [
        (i + 1, f"text {i}", i % 2 - (i == 4)) for i in range(1000)
    ]
    assert list(source.read(690, 710)) == rows[690:710]
    assert list(source.read(5, 7)) == rows[5:7]
    part = sampled(source, 50, 1)
    lines = [row.line for row in part.read(0, 50)]
    assert list(part.read(20, 50)) == [rows[line - 1] for line in lines[20:]]
    assert open_dataset(Dataset(data="mood", split="test"), folder.parent).count() == 3


def test_classes_carry_their_names(folder: Path) -> None:
    """A label whose classes have names is carried by name; -1, which has none, is absent."""
    write_card(folder, 1000)
    source = open_dataset(Dataset(data="mood", subset="en", labels=("y",)), folder.parent)
    rows = list(source.read(3, 6))
    assert isinstance(rows[0], Row)
    assert isinstance(rows[2], Row)
    assert (rows[0].fields["y"], rows[2].fields["y"]) == ("glad", "glad")
    assert rows[1] == BadRow(5, "`y` is absent")


def test_a_count_that_is_wrong_is_found(folder: Path) -> None:
    """A dataset that says it has more rows than it gives is an error, not a short shard."""
    write_card(folder, 1001)
    source = open_dataset(Dataset(data="mood", subset="en"), folder.parent)
    assert source.count() == 1001
    with pytest.raises(StratascopeError, match="ends after 1000 rows, but says that it has 1001"):
        list(source.read(990, 1001))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"split": "dev"}, "Bad split: dev"),
        ({"subset": "de"}, "'de' not found"),
        ({"text": "txt"}, r"no field `txt` for text; did you mean `text`\?"),
        ({"revision": COMMIT}, "a local folder has no revision"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, keys: dict[str, Any], told: str) -> None:
    """A split, subset or field that the folder lacks is said in one line."""
    with pytest.raises(StratascopeError, match=told) as caught:
        open_dataset(Dataset(data="mood", **keys), folder.parent)
    assert str(caught.value).startswith("mood: ")
    assert "\n" not in str(caught.value)


def test_a_folder_is_its_files(folder: Path) -> None:
    """A changed or renamed file changes the content, and so does another split."""
    contents = {content_of(Dataset(data="mood"), folder.parent)}
    contents.add(content_of(Dataset(data="mood", split="test"), folder.parent))
    (folder / "test.jsonl").write_text("{}")
    contents.add(content_of(Dataset(data="mood"), folder.parent))
    (folder / "test.jsonl").rename(folder / "test-0.jsonl")
    contents.add(content_of(Dataset(data="mood"), folder.parent))
    assert len(contents) == 4


def test_what_is_asked_of_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, subset, split and commit go to `datasets`, which streams; nothing else is asked."""
    import datasets

    asked: list[tuple[Any, ...]] = []
    load = datasets.load_dataset

    def recorded(name: str, subset: str | None, **keys: Any) -> Any:
        asked.append((name, subset, keys))
        return load(str(folder), split=keys["split"], streaming=keys["streaming"])

    monkeypatch.setattr(datasets, "load_dataset", recorded)
    dataset = Dataset(data="owner/mood", subset="en", split="test", revision=COMMIT)
    assert open_dataset(dataset, folder.parent / "elsewhere").count() == 3
    assert asked == [
        ("owner/mood", "en", {"split": "test", "revision": COMMIT, "streaming": True}),
    ]
    with pytest.raises(StratascopeError, match="is not pinned"):
        open_dataset(Dataset(data="owner/mood"), folder.parent / "elsewhere")


def test_without_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `datasets` the error says what to install."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(StratascopeError, match=r"pip install 'stratascope\[hub\]'"):
        open_dataset(Dataset(data="mood"), folder.parent)
