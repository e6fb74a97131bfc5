"""The identity of a model folder: its content, never its times."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stratascope.errors import StratascopeError
from stratascope.store import identity


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    return model


def test_content_makes_the_identity(folder: Path) -> None:
    """A changed, added or renamed file changes the identity; changing it back restores it."""
    before = identity.identify(folder)
    (folder / "model.safetensors").write_bytes(b"weightz")
    changed = identity.identify(folder)
    (folder / "chat_template.jinja").write_text("x")
    added = identity.identify(folder)
    (folder / "chat_template.jinja").unlink()
    (folder / "model.safetensors").write_bytes(b"weights")
    assert len({before, changed, added}) == 3
    assert identity.identify(folder) == before


def test_what_computes_nothing_is_no_part_of_it(folder: Path) -> None:
    """Times, a README, hidden files and an optimizer's state leave the identity as it is."""
    before = identity.identify(folder)
    os.utime(folder / "config.json", (1, 1))
    (folder / "README.md").write_text("x")
    (folder / ".cache.json").write_text("x")
    (folder / "optimizer.pt").write_text("x")
    assert identity.identify(folder) == before


def test_the_place_is_no_part_of_it(folder: Path) -> None:
    """A moved or copied folder has the identity it had."""
    before = identity.identify(folder)
    moved = folder.with_name("moved")
    folder.rename(moved)
    assert identity.identify(moved) == before


def test_unchanged_weights_are_read_once(folder: Path) -> None:
    """The cache answers for a file as long as its size, times and inode are the same."""
    before = identity.identify(folder)
    cache = json.loads(identity.cache_file().read_text())
    poisoned = dict.fromkeys(cache, "0" * 64)
    identity.cache_file().write_text(json.dumps(poisoned))
    assert identity.identify(folder) != before, "the cache was not asked"
    identity.cache_file().write_text("not json")
    assert identity.identify(folder) == before


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    """An empty folder is no checkpoint, and the error says what one holds."""
    with pytest.raises(StratascopeError, match=r"expected config\.json"):
        identity.identify(tmp_path)
