"""Atomic commits: a final name holds a whole thing or nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
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


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    """A process killed in the block leaves a partial folder; the next attempt removes it."""
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from stratascope.store.commit import new_folder\n"
        "with new_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'old').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False)
    assert [p.name.startswith(".partial-run") for p in tmp_path.iterdir()] == [True]
    with new_folder(tmp_path / "run") as folder:
        (folder / "new").write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["new"]


def test_two_processes_on_one_folder_leave_a_whole_one(tmp_path: Path) -> None:
    """Whoever is first makes the folder; the other's partial one is never mixed into it."""
    code = (
        "import sys; from pathlib import Path\n"
        "from stratascope.store.commit import new_folder\n"
        "with new_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'theirs').write_text('x'); print('in', flush=True); sys.stdin.readline()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "in\n"
    with new_folder(tmp_path / "run") as folder:
        (folder / "mine").write_text("x")
    other.communicate("go\n")
    assert other.returncode == 0
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


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
