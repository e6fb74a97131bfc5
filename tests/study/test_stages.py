"""Stage versions: old results must not pass for new ones."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from stratascope.study.stages import STAGES

_spec = importlib.util.spec_from_file_location(
    "stage_hashes", Path(__file__).with_name("stage_hashes.py")
)
assert _spec is not None
assert _spec.loader is not None
stage_hashes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stage_hashes)


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_changed_code_is_versioned_or_recorded(stage: str) -> None:
    """A stage whose code changed has a new version, or someone recorded that its bytes did not."""
    recorded = json.loads(stage_hashes.RECORD.read_text())[stage]
    found = stage_hashes.current()[stage]
    assert found == recorded, (
        f"the code of stage {stage!r} changed: if its results change, raise its version in "
        "study/stages.py; then, in either case, run `make stages`"
    )


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_stage_names_code_that_exists(stage: str) -> None:
    """A renamed module cannot silently leave a stage's hash."""
    for name in STAGES[stage].code:
        assert (stage_hashes.PACKAGE / name).exists(), name
    assert stage_hashes.files_of(stage)
