"""Features that are not whole: at work, killed, or with a file taken away."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from stratascope.errors import StratascopeError
from stratascope.store.features import FORMAT, START, is_unfinished, is_whole
from stratascope.store.hashes import sha256
from stratascope.store.verify import verify

SHARD = "features-00000.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole folder of features in a study."""
    found = tmp_path / "results" / "features" / "talks@last-0123456789ab"
    found.mkdir(parents=True)
    (found / SHARD).write_bytes(b"numbers")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"]}), found / "index.parquet")
    files = {name: sha256(found / name) for name in ("index.parquet", SHARD)}
    info = {"format": FORMAT, "shards": [{"file": SHARD}], "files": files}
    (found / "run.json").write_text(json.dumps(info))
    return found


def test_whole_features_are_verified(tmp_path: Path, folder: Path) -> None:
    """run.json's own hash nobody recorded here, the other files are as it says."""
    checked, findings = verify(tmp_path)
    assert checked == 3
    assert [(finding.path.name, finding.bad) for finding in findings] == [("run.json", False)]
    assert is_whole(folder)
    assert not is_unfinished(folder)


@pytest.mark.parametrize("name", [SHARD, "index.parquet", "run.json"])
def test_a_file_taken_away_is_missed(tmp_path: Path, folder: Path, name: str) -> None:
    """Each file of whole features is missed by verify, and such features are not used."""
    (folder / name).unlink()
    _, findings = verify(tmp_path)
    assert {finding.path.name for finding in findings if finding.state == "missing"} >= {name}
    assert not is_whole(folder)
    assert not is_unfinished(folder)


def test_an_extraction_at_work_is_not_damage(tmp_path: Path, folder: Path) -> None:
    """Shards without run.json, in a folder that an extraction has begun, are nothing to verify yet."""
    (folder / "run.json").unlink()
    (folder / START).write_text("{}")
    assert is_unfinished(folder)
    assert not is_whole(folder)
    with pytest.raises(StratascopeError, match="nothing to verify"):
        verify(tmp_path)
