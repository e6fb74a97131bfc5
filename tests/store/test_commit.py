"""Atomic commits: a final name holds a whole thing or nothing."""

from __future__ import annotations

import errno
import os
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from stratascope.errors import StratascopeError
from stratascope.store.commit import disk_errors, new_file, new_folder, write_json


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    """Until the block ends well the final name does not exist; then it holds everything."""
    final = tmp_path / "deep" / "run"
    with new_folder(final) as folder:
        (folder / "a").write_text("x")
        assert not final.exists()
    assert [p.name for p in final.iterdir()] == ["a"]
    assert [p.name for p in final.parent.iterdir()] == ["run"]


def test_a_failed_block_leaves_nothing(tmp_path: Path) -> None:
    """An exception in the block leaves neither the final name nor the partial one."""

    def fail(committing: AbstractContextManager[Path], inside: str) -> None:
        with committing as place:
            (place / inside).write_text("x")
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail(new_folder(tmp_path / "run"), "a")
    with pytest.raises(KeyError):
        fail(new_file(tmp_path / "file"), "")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_not_read(tmp_path: Path) -> None:
    """Files of an earlier, killed attempt at the same folder do not end up in it."""
    stale = tmp_path / ".partial-run"
    stale.mkdir()
    (stale / "old").write_text("x")
    with new_folder(tmp_path / "run") as folder:
        (folder / "new").write_text("x")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["new"]


def test_a_file_is_replaced_in_one_move(tmp_path: Path) -> None:
    """While a file is rewritten its old content stays readable under its name."""
    file = tmp_path / "t.json"
    write_json(file, {"a": 1})
    with new_file(file) as partial:
        partial.write_text("new")
        assert file.read_text() == '{\n "a": 1\n}\n'
    assert file.read_text() == "new"


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")]
)
def test_what_the_disk_refuses_is_said_in_a_line(number: int, said: str) -> None:
    """A full or read-only disk is a mistake with a remedy, not a traceback."""
    with pytest.raises(StratascopeError, match=said), disk_errors(Path("place")):
        raise OSError(number, os.strerror(number))


def test_other_trouble_stays_visible() -> None:
    """What is not the disk's refusal is not dressed up as one."""
    with pytest.raises(FileNotFoundError), disk_errors(Path("place")):
        Path("does not exist").read_text()
