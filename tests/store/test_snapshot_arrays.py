"""A checkpoint's snapshots as features to probe: which rows, which fields, which values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from stratascope.cli import cli
from stratascope.errors import StratascopeError
from stratascope.store.feature_arrays import open_layers

RUNS = (("first", ("a", "b", "c")), ("second", ("a", "d")))  # both begin with the same message
HIDDEN = 8


@pytest.fixture
def states(tmp_path: Path) -> Path:
    """Two runs of five messages, four of them distinct; layer 1 tells users from assistants."""
    runs, row = [], 0
    for name, prefixes in RUNS:
        messages = [
            {"index": i, "role": ("user", "assistant")[i % 2], "content": p, "prefix": p}
            for i, p in enumerate(prefixes)
        ]
        about = {"label": f"{name}@x", "scenario": name, "parent": name, "messages": messages}
        runs.append(about | {"rows": [row, row + len(messages)]})
        row += len(messages)
    index = {"positions": ["turn_end"], "layers": [0, 1], "runs": runs, "reference_sets": []}
    (tmp_path / "x-1.json").write_text(json.dumps(index))
    rows = np.arange(row, dtype=np.float32)[:, None] * np.ones(HIDDEN, np.float32)
    tensors = {f"snapshot/turn_end/layer_0{i}/hidden_out": rows + 100 * i for i in (0, 1)}
    save_file(tensors | {"final/layer_00/hidden_out": rows[:2]}, tmp_path / "x-1.safetensors")
    return tmp_path / "x-1.safetensors"


def test_distinct_messages_are_rows(states: Path) -> None:
    """A message that two runs begin with is one row; the fields say of which message each row is."""
    for path in (states, states.with_suffix(".json")):
        stored = open_layers(path)
        assert stored.n == 4
        assert stored.sites == ["turn_end/hidden_out"]
        assert stored.field("text") == ["a", "b", "c", "d"]
        assert stored.field("role") == ["user", "assistant", "user", "assistant"]
        assert stored.field("conversation") == ["first", "first", "first", "second"]
        first, second = stored.at("turn_end/hidden_out")
        assert (first.layer, second.layer) == (0, 1)
        assert first[slice(None)][:, 0].tolist() == [0, 1, 2, 4]
        assert second[slice(1, 3)][:, 0].tolist() == [101, 102]


def test_given_labels_are_probed(states: Path) -> None:
    """`stratascope probe` takes labels from a file, a row a distinct message: here two runs are too few."""
    labels = states.with_name("labels.csv")
    labels.write_text("mood\n" + "glad\nsad\nglad\nsad\n")
    asked = ["probe", str(states), "--labels", str(labels), "--label", "mood", "--group", "run"]
    found = CliRunner().invoke(cli, asked)
    assert isinstance(found.exception, StratascopeError)
    assert "2 groups are too few for 5 folds" in str(found.exception)
