from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stratascope.report.headline import headline, write_headline
from stratascope.report.tables import TABLES, Written


def rows(stem: str, *records: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(records), columns=list(TABLES[stem].columns))


@pytest.fixture
def written() -> Written:
    movement = {"checkpoint": "base", "MAE": 2.0, "overlap": 0.5, "centred_cosine": np.nan}
    layers = [
        {"checkpoint": "base", "position": position, "source": source, "layer": layer,
         "centred_discrimination": value, "null": null, "lower": value - 0.1, "upper": value + 0.1,
         "n": 12, "conversations": 4}
        for position, source, layer, value, null in (
            ("generation_prompt", "hidden_in", 9, 0.9, 0.1),
            ("generation_prompt", "hidden_out", 0, 0.6, 0.5),
            ("generation_prompt", "hidden_out", 5, 0.4, 1 / 9),
            ("turn_end", "hidden_out", 7, 0.95, 0.1),
        )
    ]  # fmt: skip
    role = {"scope": "checkpoint", "name": "base", "reference": "joy", "source": "hidden_out",
            "difference_centred": 0.25, "lower_centred": 1e-9, "upper_centred": np.nan,
            "n_user": 3, "n_assistant": 1}  # fmt: skip
    return Written(
        {
            "checkpoints": rows(
                "checkpoints",
                {**movement, "source": "hidden_in", "layer": 0, "cosine": 0.1},
                {**movement, "source": "hidden_in", "layer": 1, "cosine": 0.2},
                {**movement, "source": "hidden_out", "layer": 0, "cosine": 0.12345678},
            ),
            "discrimination": rows("discrimination", *layers),
            "role_averages": rows("role_averages", role, {**role, "scope": "run"}),
            "question_accuracy": rows("question_accuracy"),
            "claims": rows(
                "claims",
                {
                    "checkpoint": "base",
                    "quantity": "auroc",
                    "centred": 1,
                    "reference": "",
                    "layer": 3,
                    "estimate": 0.75,
                    "p_corrected": 0.001,
                },
                {"checkpoint": "base", "quantity": "auroc", "centred": 0, "reference": ""},
                {"checkpoint": "base", "quantity": "gap", "centred": 1, "reference": "joy"},
            ),
            "probes": rows("probes"),
            "drift": rows("drift"),
        },
        {"runs": 2, "pairs": 1},
        {"base": {"runs": 2, "snapshots": 12}, "bare": {"runs": 0, "snapshots": 0}},
    )


def test_headline_numbers(written: Written) -> None:
    """Means over layers, the layer furthest above its null, and the checkpoint's difference."""
    base = headline(written)["checkpoints"]["base"]
    assert base["intra_run"]["hidden_in"]["cosine"] == pytest.approx(0.15)
    assert base["best_discriminating_layer"]["layer"] == 5
    assert base["best_discriminating_layer"]["value"] == 0.4
    assert base["user_minus_assistant"]["joy"]["difference"] == 0.25
    assert list(base["claims"]) == ["auroc"]
    assert (base["claims"]["auroc"]["layer"], base["claims"]["auroc"]["estimate"]) == (3, 0.75)
    assert headline(written)["counts"] == {"runs": 2, "pairs": 1}


def test_what_is_not_known_is_null(written: Written, tmp_path: Path) -> None:
    """The file is strict JSON: NaN becomes null, a checkpoint without references has no layer."""
    path = tmp_path / "metrics.json"
    write_headline(written, path)
    text = path.read_text(encoding="utf-8")
    assert "NaN" not in text
    found = json.loads(text)["checkpoints"]
    assert found["base"]["intra_run"]["hidden_out"]["centred_cosine"] is None
    assert found["base"]["user_minus_assistant"]["joy"]["upper"] is None
    assert found["bare"] == {
        "runs": 0, "snapshots": 0, "intra_run": {}, "best_discriminating_layer": None,
        "user_minus_assistant": {},
    }  # fmt: skip


def test_file_is_small_sorted_and_repeatable(written: Written, tmp_path: Path) -> None:
    """Keys are sorted, numbers have 6 significant digits, and the bytes are the same each time."""
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in paths:
        write_headline(written, path)
    text = paths[0].read_text(encoding="utf-8")
    assert paths[1].read_text(encoding="utf-8") == text
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
    assert json.loads(text)["checkpoints"]["base"]["intra_run"]["hidden_out"]["cosine"] == 0.123457


def test_without_a_null_the_largest_counts(written: Written) -> None:
    """A study too small for a null still names its best layer."""
    written.frames["discrimination"]["null"] = np.nan
    best = headline(written)["checkpoints"]["base"]["best_discriminating_layer"]
    assert (best["layer"], best["value"]) == (0, 0.6)
