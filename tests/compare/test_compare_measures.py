"""Which numbers moved, against independent counting."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stratascope.compare.diff import compare
from stratascope.compare.measures import compare_metrics, compare_table, measures_of
from stratascope.compare.tables import SPREAD, TABLES, Compared, read_compared

SPEC = Compared(("run", "source"))


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"source": "hidden_out", **columns})


def test_changes_are_joined_on_the_keys_whatever_the_order() -> None:
    """Rows are found by their names; rows of one side are counted, not compared."""
    a = frame(run=["x@c", "y@c", "z@c"], mean_cosine=[0.1, 0.2, 0.3])
    b = frame(run=["w@c", "z@c", "x@c"], mean_cosine=[0.9, 0.35, 0.1])
    found = compare_table("intra_run_report", SPEC, a, b)
    assert (found.rows, found.only_a, found.only_b, found.numbers) == (2, 1, 1, 2)
    assert found.moved["key"].to_list() == ["run=z@c source=hidden_out"]
    assert found.moved["change"].to_list() == pytest.approx([0.05])


def test_the_largest_comes_first_and_mae_by_its_relative_change() -> None:
    """MAE has the activations' units: 100 to 101 is a smaller change than a cosine's 0.2."""
    a = frame(run=["x@c", "y@c", "z@c"], mean_cosine=[0.5, 0.5, 0.5], mean_MAE=[100.0, 1.0, 1.0])
    b = frame(run=["x@c", "y@c", "z@c"], mean_cosine=[0.3, 0.45, 0.5], mean_MAE=[101.0, 4.0, 1.0])
    moved = compare_table("intra_run_report", SPEC, a, b).moved
    assert list(zip(moved["key"].str[4:5], moved["measure"], strict=True)) == [
        ("y", "mean_MAE"),
        ("x", "mean_cosine"),
        ("y", "mean_cosine"),
        ("x", "mean_MAE"),
    ]
    assert moved["size"].to_list() == pytest.approx([0.75, 0.2, 0.05, 1 / 101])


def test_a_gap_equals_a_gap_and_nothing_else() -> None:
    """NaN on both sides is equal; on one side it has moved, by an unknown amount, and comes last."""
    a = frame(run=["x@c", "y@c", "z@c"], mean_cosine=[math.nan, math.nan, 0.1])
    b = frame(run=["x@c", "y@c", "z@c"], mean_cosine=[math.nan, 0.5, 0.2])
    moved = compare_table("intra_run_report", SPEC, a, b).moved
    assert moved["key"].str[4:5].to_list() == ["z", "y"]
    assert np.isnan(moved["change"].iloc[1])


def test_layers_and_counts_are_not_ranked_with_measures() -> None:
    """A layer's number that jumps by 20 and a count by 900 do not stand above a cosine's change."""
    a = frame(run=["x@c"], n_layers=[1], most_divergent_layer=[2], mean_cosine=[0.5])
    b = frame(run=["x@c"], n_layers=[901], most_divergent_layer=[22], mean_cosine=[0.4])
    moved = compare_table("intra_run_report", SPEC, a, b).moved
    assert moved["kind"].to_list() == ["measure", "layer", "count"]
    assert measures_of(moved)["measure"].to_list() == ["mean_cosine"]


def test_a_row_is_shown_once_with_the_number_of_its_other_measures() -> None:
    """Median and spread follow the mean; they are counted, not listed again."""
    a = frame(run=["x@c"], mean_cosine=[0.5], median_cosine=[0.5], mean_MAE=[1.0])
    b = frame(run=["x@c"], mean_cosine=[0.4], median_cosine=[0.1], mean_MAE=[1.1])
    lines = measures_of(compare_table("intra_run_report", SPEC, a, b).moved)
    assert lines[["measure", "more"]].to_numpy().tolist() == [["mean_cosine", 2]]


def test_a_change_is_held_against_the_larger_spread() -> None:
    """Times is the change over the wider of both sides' spreads; without a spread there is none."""
    column = SPREAD + "mean_cosine"
    a = frame(run=["x@c", "y@c"], mean_cosine=[0.5, 0.5], **{column: [0.1, math.nan]})
    b = frame(run=["x@c", "y@c"], mean_cosine=[0.4, 0.3], **{column: [0.2, math.nan]})
    moved = compare_table("intra_run_report", SPEC, a, b).moved.set_index("key")["times"]
    assert moved["run=x@c source=hidden_out"] == pytest.approx(-0.5)
    assert np.isnan(moved["run=y@c source=hidden_out"])


def test_spreads_come_from_intervals_and_unrelated_states(made: Any, tmp_path: Path) -> None:
    """Intervals of -0.2 to 0.2 give 0.2, backgrounds 0.1; pairs across checkpoints have none."""
    frames = read_compared(made.write(tmp_path) / "results/tables", None)
    assert frames["discrimination"][SPREAD + "centred_discrimination"].to_list() == pytest.approx(
        [0.2] * 8
    )
    assert frames["role_averages"][SPREAD + "difference"].to_numpy() == pytest.approx(0.2)
    assert frames["intra_run_report"][SPREAD + "mean_cosine"].to_numpy() == pytest.approx(0.1)
    assert frames["checkpoints"][SPREAD + "centred_cosine"].to_numpy() == pytest.approx(0.1)
    pairs = frames["comparison_report"]
    within = pairs["run_a"].str.split("@").str[1] == pairs["run_b"].str.split("@").str[1]
    assert pairs[SPREAD + "mean_cosine"].notna().to_list() == within.to_list()
    assert within.sum() == 8


def test_snapshots_are_averaged_over_messages_positions_and_layers(
    made: Any, tmp_path: Path
) -> None:
    """The mean over a run's rows for one reference and source, summed here by hand."""
    tables = made.write(tmp_path) / "results/tables"
    lines = (tables / "snapshot_reference.csv").read_text().splitlines()
    names = lines[0].split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    mine = [
        float(row["cosine"])
        for row in rows
        if (row["run"], row["reference"], row["source"]) == ("news@late", "joy", "hidden_in")
    ]
    found = read_compared(tables, None)["snapshot_reference"]
    assert len(mine) == 4
    value = found.query("run == 'news@late' and reference == 'joy' and source == 'hidden_in'")
    assert value["cosine"].item() == pytest.approx(sum(mine) / len(mine))


def test_single_rows_that_differ_under_equal_averages_are_noted(made: Any, tmp_path: Path) -> None:
    """Nothing is called equal that is not: two swapped rows leave the averages, and a note."""
    for name in ("a", "b"):
        made.write(tmp_path / name)
    path = tmp_path / "b/results/tables/snapshot_reference.csv"
    table = pd.read_csv(path, dtype=str)
    first = (table["run"] == "news@late") & (table["reference"] == "joy")
    rows = table.index[first & (table["source"] == "hidden_in")]
    table.loc[rows, "layer"] = table.loc[rows, "layer"].to_list()[::-1]
    table.to_csv(path, index=False)
    notes = compare(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path).notes
    assert notes == ("snapshot_reference: no average moved, but single rows differ",)


def test_a_turned_pair_is_the_same_pair(made: Any, tmp_path: Path) -> None:
    """With the checkpoints in another order a pair's runs change places, not its numbers."""
    for name in ("a", "b"):
        made.write(tmp_path / name)
    path = tmp_path / "b/results/tables/comparison_report.csv"
    table = pd.read_csv(path, dtype=str)
    table = table.rename(columns={"run_a": "run_b", "run_b": "run_a"})
    table.to_csv(path, index=False)
    found = compare(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path)
    assert (found.moved, found.one_sided) == (0, 0)


def test_metrics_are_flattened_and_compared_exactly() -> None:
    """Dotted paths, nulls as gaps, keys of one side apart."""
    a = {"c": {"x": 1.5, "y": None, "z": None, "gone": 1}, "counts": {"runs": 3}}
    b = {"c": {"x": 1.25, "y": None, "z": 2.0, "new": 1}, "counts": {"runs": 5}}
    found = compare_metrics(a, b)
    assert found.moved["key"].to_list() == ["c.x", "c.z", "counts.runs"]
    assert found.moved["change"].to_list()[0::2] == [-0.25, 2.0]
    assert (found.numbers, found.only_a, found.only_b) == (4, ("c.gone",), ("c.new",))


def test_missing_tables_compare_nothing(tmp_path: Path) -> None:
    """A side without tables shares no number, and that is not called equal."""
    for name in ("a", "b"):
        (tmp_path / name / "results/runs").mkdir(parents=True)
    found = compare(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path)
    assert found.numbers == 0
    assert {table.table for table in found.tables} == set(TABLES)
