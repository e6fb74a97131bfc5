"""Where models come from: folders, the hub's cache, memory; and what is said where they do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import stratascope as ss


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, torch.float16), ("float32", torch.float32), (torch.bfloat16, torch.bfloat16)],
)
def test_the_precision(demo: list[Path], given: Any, expected: torch.dtype) -> None:
    """What was asked for, as a name or as torch says it; else what the weights were saved in."""
    model = ss.load(demo[0], dtype=given, device="cpu")
    assert model.module.dtype == expected
    assert model.checkpoint.model.dtype == str(expected).removeprefix("torch.")
    assert not model.module.training
    assert not any(weight.requires_grad for weight in model.module.parameters())


@pytest.mark.parametrize(
    ("source", "given", "message"),
    [
        ("no/such/folder/here", {}, "no model folder no/such/folder/here"),
        ("DEMO", {"revision": "main"}, "is a folder, which has no revision"),
        ("DEMO", {"dtype": "float8"}, "load: dtype: .*float8"),
        ("DEMO", {"device": "tpu"}, "load: device"),
    ],
)
def test_what_cannot_be_loaded(
    demo: list[Path], source: str, given: dict[str, Any], message: str
) -> None:
    """A folder that is not there, and settings that do not exist, are said in one line."""
    with pytest.raises(ss.StratascopeError, match=message):
        ss.load(source.replace("DEMO", str(demo[0])), **given)


@pytest.mark.slow
def test_a_hub_model_is_pinned_to_the_commit_that_was_loaded(
    demo: list[Path], tmp_path: Path
) -> None:
    """A hub id loads at its branch, and the checkpoint remembers the commit that this was."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--somebody--demo"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / commit).symlink_to(demo[0])
    code = (
        "import stratascope as ss\n"
        "model = ss.load('somebody/demo')\n"
        "print(model.name, model.checkpoint.revision, model.checkpoint.identity)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"},
    )
    assert done.stdout.split() == ["demo", commit, f"hub:somebody/demo@{commit}"], done.stderr
