"""A dataset as a whole: its content's hash, a random part of it, and how little is read of it."""

from __future__ import annotations

import hashlib
import json
import os
import tracemalloc
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from stratascope.errors import StratascopeError
from stratascope.store import identity
from stratascope.store.datasets import BadRow, MemorySource, Row, content_of, jsonfile, open_dataset
from stratascope.store.datasets.choice import sampled
from stratascope.store.datasets.jsonfile import JsonLines
from stratascope.study.dataset import Dataset


def source_of(count: int) -> MemorySource:
    return MemorySource([Row(i, text=f"{i}") if i % 5 else BadRow(i, "bad") for i in range(count)])


def lines_of(count: int, seed: int) -> list[int]:
    source = sampled(source_of(20), count, seed)
    assert source.count() == count
    return [row.line for row in source.read(0, count)]


def test_a_sample_is_the_same_everywhere() -> None:
    """Seed and number of rows alone choose; these numbers are those of every machine and version."""
    assert lines_of(6, 0) == [4, 7, 8, 9, 12, 15]
    assert lines_of(6, 1) == lines_of(6, 1) != lines_of(6, 0)


def test_a_sample_is_in_order_and_read_from_any_place() -> None:
    """Every range of the sample is that part of the chosen rows of the whole."""
    whole = source_of(300)
    part = sampled(whole, 77, 3)
    lines = [row.line for row in part.read(0, 77)]
    assert lines == sorted(set(lines))
    for start in range(0, 80, 7):
        rows = list(part.read(start, start + 7))
        assert rows == [whole.rows[line] for line in lines[start : start + 7]]
    assert sampled(whole, None, 3) is whole
    assert sampled(whole, 300, 3) is whole


def test_every_row_is_as_likely() -> None:
    """Over many seeds each row, and each pair of rows, is chosen as often as chance has it."""
    n, k, seeds = 8, 3, 3000
    counts = np.zeros((n, n))
    for seed in range(seeds):
        chosen = [row.line for row in sampled(source_of(n), k, seed).read(0, k)]
        counts[np.ix_(chosen, chosen)] += 1
    single, pair = k / n, k * (k - 1) / (n * (n - 1))
    for observed, p in ((np.diag(counts), single), (counts[np.triu_indices(n, 1)], pair)):
        sigma = np.sqrt(seeds * p * (1 - p))
        assert np.abs(observed - seeds * p).max() < 4.5 * sigma


def test_content_is_the_hash_of_the_bytes(tmp_path: Path) -> None:
    """One file gives its SHA-256; neither place, time nor name of it matters; a changed byte does."""
    (tmp_path / "a.csv").write_text("text\nx\n")
    digest = hashlib.sha256(b"text\nx\n").hexdigest()
    assert content_of(Dataset(data="a.csv"), tmp_path) == f"csv:{digest}"
    os.utime(tmp_path / "a.csv", (1, 1))
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    assert content_of(Dataset(data="b.csv"), tmp_path) == f"csv:{digest}"
    (tmp_path / "b.csv").write_text("text\ny\n")
    assert content_of(Dataset(data="b.csv"), tmp_path) != f"csv:{digest}"


def test_links_are_files(tmp_path: Path) -> None:
    """A link such as DVC leaves is read by its own name, and is the content it leads to."""
    (tmp_path / "4f53cda").write_text("text\nx\n")
    (tmp_path / "a.csv").symlink_to(tmp_path / "4f53cda")
    dataset = Dataset(data="a.csv")
    assert list(open_dataset(dataset, tmp_path).read(0, 1)) == [Row(2, text="x")]
    digest = hashlib.sha256(b"text\nx\n").hexdigest()
    assert content_of(dataset, tmp_path) == f"csv:{digest}"


def test_content_of_several_files(tmp_path: Path) -> None:
    """Each file of a pattern or folder counts, and a folder elsewhere has the same content."""
    contents = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        for name in ("a", "b"):
            np.save(tmp_path / place / name, np.arange(9) + ord(name))
        contents += [content_of(Dataset(data=data), tmp_path) for data in (place, f"{place}/*.npy")]
    assert len(set(contents)) == 1
    np.save(tmp_path / "two" / "b", np.arange(10))
    assert content_of(Dataset(data="two"), tmp_path) not in contents


def test_unchanged_files_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash of a large dataset is remembered as that of a model's weights is."""
    (tmp_path / "a.csv").write_text("text\nx\n")
    first = content_of(Dataset(data="a.csv"), tmp_path)
    monkeypatch.setattr(identity, "sha256", lambda path: pytest.fail(f"hashed {path} again"))
    assert content_of(Dataset(data="a.csv"), tmp_path) == first


def test_a_hub_dataset_is_its_commit(tmp_path: Path) -> None:
    """Name, commit, subset and split identify it without the network; a branch does not."""
    commit = "0123456789abcdef" * 2 + "01234567"
    fixed = Dataset(data="owner/name", revision=commit, subset="en", split="test")
    assert content_of(fixed, tmp_path) == f"hub:owner/name@{commit}/en/test"
    for revision in (None, "main", commit[:39]):
        floating = Dataset(data="owner/name", revision=revision)
        with pytest.raises(StratascopeError, match="is not pinned; give its commit"):
            content_of(floating, tmp_path)


def test_the_last_rows_cost_no_walk_through_the_file(tmp_path: Path) -> None:
    """Once counted, a range is read from near where it begins, not from the beginning of the file."""
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "{i}"}}\n' for i in range(20_000)))
    source = open_dataset(Dataset(data="a.jsonl"), tmp_path)
    assert source.count() == 20_000
    scan, begins = JsonLines.scan, []

    def watched(self: JsonLines, offset: int, line: int) -> object:
        begins.append(line)
        return scan(self, offset, line)

    with mock.patch.object(JsonLines, "scan", watched):
        assert [row.line for row in source.read(19_998, 20_000)] == [19_999, 20_000]
    assert 20_000 - 512 <= begins[0] <= 19_999
    assert len(begins) == 1


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
def test_memory_does_not_grow_with_the_dataset(tmp_path: Path, suffix: str) -> None:
    """Reading ten times the rows, shard by shard, takes less than a tenth more memory."""
    peaks = []
    for count in (1500, 15_000):
        objects = [json.dumps({"text": "word " * 20, "y": i}) for i in range(count)]
        content = {
            "jsonl": "\n".join(objects),
            "json": f"[{','.join(objects)}]",
            "csv": "text,y\n" + "".join(f"{'word ' * 20},{i}\n" for i in range(count)),
        }[suffix]
        (tmp_path / f"a.{suffix}").write_text(content)
        del objects, content
        with mock.patch.object(jsonfile, "CHUNK", 4096):
            source = open_dataset(Dataset(data=f"a.{suffix}", labels=("y",)), tmp_path)
            tracemalloc.start()
            for start in range(0, source.count(), 256):
                assert len(list(source.read(start, start + 256))) == min(256, count - start)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
