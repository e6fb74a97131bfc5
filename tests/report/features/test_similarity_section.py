"""Similarity and drift in the report: the table's numbers, mirrored where a measure allows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stratascope.measure.similarity import SIMILARITIES
from stratascope.report.headline import headline
from stratascope.report.inputs import read_table
from stratascope.report.moving import DISTANCES, ONE_SIDED, drift_findings, main_drift
from stratascope.report.sections.similarity import build
from stratascope.report.tables import TABLES, Written
from stratascope.report.text import MEASURE_NAMES


@pytest.fixture(scope="module")
def data(planted: Any) -> Any:
    return planted.read()


def test_a_pair_of_layers_stands_on_both_sides_of_the_diagonal(data: Any) -> None:
    """Within a checkpoint the table has each pair once; the map has both, and no diagonal."""
    content = build(data)
    assert content is not None
    first = content.arrays["similarity"][0]["pairs"][0]
    assert (first["a"], first["b"], first["n"]) == ("step-1000", "step-1000", 80)
    value = first["values"]["linear_cka_debiased"]["hidden_out"]["value"]
    assert np.array_equal(value, value.T, equal_nan=True)
    assert value[1, 4] == pytest.approx(0.7)
    assert np.isnan(np.diag(value)).all()


def test_between_checkpoints_rows_are_the_earlier_one(data: Any) -> None:
    """Rows are layers of the first-named checkpoint, columns of the second; consecutive, then ends."""
    content = build(data)
    assert content is not None
    pairs = content.arrays["similarity"][0]["pairs"]
    assert [(pair["a"], pair["b"]) for pair in pairs[3:]] == [
        ("step-0", "step-500"), ("step-500", "step-1000"), ("step-0", "step-1000"),
    ]  # fmt: skip
    table = data.table("similarity")
    row = table[
        (table["checkpoint_b"] == "step-1000")
        & (table["checkpoint_a"] == "step-0")
        & (table["layer_a"] == 2)
        & (table["layer_b"] == 5)
        & (table["measure"] == "angular")
    ].iloc[0]
    cubes = pairs[5]["values"]["angular"]["hidden_out"]
    for name in ("value", "lower", "upper", "null_upper", "p"):
        assert cubes[name][2, 5] == row[name]


def test_drift_starts_at_no_difference(data: Any) -> None:
    """A checkpoint against itself is 1, of a distance 0, though the table does not say so."""
    content = build(data)
    assert content is not None
    drift = content.arrays["similarity"][0]["drift"]
    assert drift["checkpoints"] == ["step-0", "step-500", "step-1000"]
    for measure, same in (("linear_cka_debiased", 1.0), ("angular", 0.0)):
        assert set(drift["values"]["first"][measure]["hidden_out"]["value"][0]) == {same}
        assert set(drift["values"]["last"][measure]["hidden_out"]["value"][2]) == {same}
    moved = drift["values"]["first"]["linear_cka_debiased"]["hidden_out"]["value"][2]
    assert moved.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])


def test_a_distance_that_grows_has_moved_most(data: Any) -> None:
    """Of a distance the largest value is the layer that changed most, and 0 is no change."""
    table = data.table("drift")
    only = type(data)(**{**vars(data), "tables": {"drift": table[table["measure"] == "angular"]}})
    (found,) = drift_findings(only)
    assert "changed most at layer 5 (0.60) and least at layer 0 (0.10)" in found.words
    assert found.sure.startswith("Angular distance, n = 80 texts; 0 is no change.")
    assert found.clear


def test_layers_that_moved_alike_are_not_ranked(data: Any) -> None:
    """Where intervals overlap no layer is said to have moved most; without a change nothing is clear."""
    table = data.table("drift").assign(lower=0.2, upper=0.95)
    only = type(data)(**{**vars(data), "tables": {"drift": table}})
    (found,) = drift_findings(only)
    assert "no layer clearly more than all others" in found.words
    assert found.clear
    only = type(data)(**{**vars(data), "tables": {"drift": table.assign(upper=1.0)}})
    assert not drift_findings(only)[0].clear


def test_many_numbers_leave_out_their_intervals(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where intervals would not fit, values stay, and the section says where the rest is."""
    count = len(data.table("similarity"))
    monkeypatch.setattr("stratascope.report.sections.similarity.MOST_NUMBERS", count)
    content = build(data)
    assert content is not None
    assert not content.context["with_ends"]
    assert content.context["every_measure"]
    pair = content.arrays["similarity"][0]["pairs"][0]
    assert set(pair["values"]["angular"]["hidden_out"]) == {"value"}


def test_words_and_directions_follow_the_measures() -> None:
    """Every measure has a name for readers; distances and one-sided ones are those that it calls so."""
    assert set(SIMILARITIES) <= set(MEASURE_NAMES)
    assert {name for name, item in SIMILARITIES.items() if item.lower_is_closer} == DISTANCES
    assert {name for name, item in SIMILARITIES.items() if not item.symmetric} == ONE_SIDED
    assert all(SIMILARITIES[name].same == 0.0 for name in DISTANCES)


def test_the_main_drift_is_of_one_measure_and_site(planted: Any) -> None:
    """Of several measures the first, of several sites the residual stream after the block."""
    table = read_table(planted.root / "tables" / "drift.csv")
    other = table.assign(site="attn_out", value=0.0)
    rows = main_drift(pd.concat([other, table], ignore_index=True))
    assert set(rows["site"]) == {"hidden_out"}
    assert set(rows["measure"]) == {"linear_cka_debiased"}
    assert set(rows["against"]) == {"first"}
    assert set(main_drift(other)["site"]) == {"attn_out"}


def test_headline_numbers_of_datasets(planted: Any) -> None:
    """metrics.json has each label's best layer, and the drift of the last one, checkpoint by checkpoint."""
    frames = {name: pd.DataFrame(columns=list(table.columns)) for name, table in TABLES.items()}
    for name in ("probes", "drift"):
        frame = read_table(planted.root / "tables" / f"{name}.csv")
        texts = [str(column) for column in frame if frame[column].dtype == "str"]
        frames[name] = frame.astype(dict.fromkeys(texts, "category"))
    counts = {name: {"runs": 0} for name in planted.results.study["checkpoints"]}
    found = headline(Written(frames, {}, counts))["checkpoints"]
    emotion = found["step-1000"]["datasets"]["feelings"]["probes"]["emotion"]
    assert emotion["accuracy"] == pytest.approx(0.905)
    assert (emotion["layer"], emotion["majority"], emotion["bag_of_tokens"]) == (5, 0.25, 0.6)
    assert emotion["n"] == 80
    drift = found["step-1000"]["datasets"]["feelings"]["drift"]
    assert (drift["layer"], drift["linear_cka_debiased"]) == (5, pytest.approx(0.4))
    assert "drift" not in found["step-0"]["datasets"]["feelings"]


def test_too_many_numbers_leave_the_first_measure(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where even values would not fit, one measure stays, and the section knows that others do not."""
    monkeypatch.setattr("stratascope.report.sections.similarity.MOST_NUMBERS", 10)
    content = build(data)
    assert content is not None
    assert not content.context["every_measure"]
    values = content.arrays["similarity"][0]["pairs"][0]["values"]
    assert list(values) == ["linear_cka_debiased"]
