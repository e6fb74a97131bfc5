"""GPUs of one machine are dealt out to jobs; no GPU is needed to see it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stratascope.capture import gpus
from stratascope.capture.gpus import VISIBLE, own_gpus, visible_gpus

HOLD = """\
import os, sys
from pathlib import Path
from stratascope.capture.gpus import own_gpus
with own_gpus(int(sys.argv[2]), lambda text: None, Path(sys.argv[1])):
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.readline()
"""


def holder(slots: Path, count: int = 1) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(slots), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_job_gets_gpus_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes share no GPU; one that is killed gives its GPU back to a job that waits for it."""
    monkeypatch.setenv(VISIBLE, "2,GPU-a/b,5,7")
    monkeypatch.setattr(gpus, "AGAIN", 0.05)
    one = holder(tmp_path)
    assert told(one) == "2"
    two = holder(tmp_path, 2)
    assert told(two) == "GPU-a/b,5"
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if "waiting" in text:
            one.kill()
            one.wait()

    with own_gpus(2, say, tmp_path):
        assert os.environ[VISIBLE] == "2,7"
    assert os.environ[VISIBLE] == "2,GPU-a/b,5,7"
    assert [("waiting" in text) for text in said] == [True, False]
    two.kill()
    two.wait()


@pytest.mark.parametrize(("seen", "count"), [("3", 1), ("", 1), ("0,1", 2), ("0,1", 0)])
def test_nothing_changes_where_nothing_is_to_choose(
    seen: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that sees no more GPUs than it needs, as under Slurm, or needs none, is left alone."""
    monkeypatch.setenv(VISIBLE, seen)
    with own_gpus(count, pytest.fail, tmp_path):
        assert os.environ[VISIBLE] == seen
    assert not list(tmp_path.iterdir())


def test_gpus_are_counted_from_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable, the driver's device files say how many there are."""
    monkeypatch.delenv(VISIBLE, raising=False)
    for name in ("nvidia0", "nvidia1", "nvidia-uvm", "nvidiactl"):
        (tmp_path / name).touch()
    assert visible_gpus(tmp_path) == ["0", "1"]
