"""A study folder to plan, without any model: identities come from a marker file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from stratascope.study.dataset import Dataset
from stratascope.study.plan import Plan, make_plan

CONFIG = """\
checkpoints:
  early: {id: models/early}
  late: {id: models/late}
defaults:
  model: {dtype: float32}
  reference_states:
    - {label: joy, messages: [{role: user, content: I am glad.}]}
"""
TALK = """\
name: talk
prompt:
  messages:
    - role: user
      content: Hello there.
    - role: assistant
      content: Hello.
    - role: user
      content: How are you?
"""
STEPS = """\
name: steps
prompt:
  run_at_each_message: true
  messages:
    - {role: system, content: Be kind.}
    - {role: user, content: I am sad.}
"""


def identify(folder: Path) -> str:
    return hashlib.sha256((folder / "weights").read_bytes()).hexdigest()


def content_of(dataset: Dataset, root: Path) -> str:
    return hashlib.sha256((root / dataset.data).read_bytes()).hexdigest()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name in ("early", "late"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "weights").write_text(name)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(CONFIG)
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "talk.yaml").write_text(TALK)
    (tmp_path / "scenarios" / "steps.yaml").write_text(STEPS)
    return tmp_path


@pytest.fixture
def plan(study: Path) -> Callable[[], Plan]:
    return lambda: make_plan(study, identify, content_of)
