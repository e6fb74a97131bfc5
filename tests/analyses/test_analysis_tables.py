"""The tables of probes, transfer and similarity: their columns, what they adjust, and what they choose."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet
import pytest

from stratascope.analyses.probes import fit_probes
from stratascope.analyses.similarity import measure_similarity
from stratascope.analyses.transfer import measure_transfer
from stratascope.report.tables import TABLES, write_tables
from stratascope.report.tables.probes import probes, transfers
from stratascope.report.tables.similarity import similarity
from stratascope.report.tables.states import Analyses, Study

NAMES = ("first", "middle", "last")
OWN = ("probes", "probe_predictions", "probe_transfer", "similarity", "drift")
Frames = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def analyses(
    place: Path,
    probe_job: Callable[..., Any],
    transfer_job: Callable[..., Any],
    similarity_job: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Analyses:
    """The indices of a study with three checkpoints."""
    folder = tmp_path_factory.mktemp("analyses")
    indices = []
    for name in ("first", "middle"):
        indices.append(folder / f"probes-{name}.json")
        fit_probes(probe_job(name, ("mood", "warmth")), place, indices[-1])
    transferred, compared = folder / "transfer.json", folder / "similarity.json"
    measure_transfer(transfer_job(NAMES, "checkpoints"), place, transferred)
    measure_similarity(similarity_job(NAMES, "linear_cka_debiased", "angular"), place, compared)
    return Analyses(tuple(indices), (transferred,), (compared,))


@pytest.fixture(scope="module")
def frames(analyses: Analyses) -> Frames:
    study = Study((), (), analyses)
    found: dict[str, list[pd.DataFrame]] = {}
    for build in (probes, transfers, similarity):
        for part in build(study):
            for name, frame in part.items():
                found.setdefault(name, []).append(frame)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in found.items()}


def test_each_table_has_its_columns(frames: Frames) -> None:
    """What the builders yield has the columns that the table promises, and no others."""
    assert set(frames) == set(OWN)
    for name, frame in frames.items():
        assert sorted(frame.columns) == sorted(TABLES[name].columns), name


def test_every_look_at_a_label_counts(frames: Frames, analyses: Analyses) -> None:
    """p_max is the share of shuffles in which some layer of some checkpoint is at least as good."""
    table = frames["probes"]
    contents = [json.loads(path.read_text()) for path in analyses.probes]
    for (label, measure), rows in table.groupby(["label", "measure"], observed=True):
        assert len(rows) == 2 * 2, label
        sign = -1 if measure in ("brier", "calibration_error") else 1
        both = [content["shuffled_best"][label][measure] for content in contents]
        best = [max(sign * value for value in shuffle) for shuffle in zip(*both, strict=True)]
        for row in rows.itertuples():
            as_good = sum(value >= sign * row.estimate - 1e-12 for value in best)
            assert row.p_max == pytest.approx((1 + as_good) / (1 + len(best))), (label, measure)
            assert row.p_max >= row.p - 1e-12
    planted = table[(table["label"] == "mood") & (table["measure"] == "accuracy")]
    found = planted.loc[planted["p_max"].idxmin()]
    assert (found["checkpoint"], found["layer"]) == ("middle", 1)
    assert found["p_max"] == pytest.approx(1 / 20)


def test_a_measure_without_permutations_has_no_p(
    place: Path, probe_job: Callable[..., Any], tmp_path: Path
) -> None:
    """What was not asked for is empty in the table, not zero and not one."""
    fit_probes(probe_job("middle", permutations=0), place, tmp_path / "x.json")
    (table,) = (
        part["probes"]
        for part in probes(Study((), (), Analyses((tmp_path / "x.json",))))
        if "probes" in part
    )
    empty = table[["p", "p_max", "shuffled_mean", "shuffled_upper"]]
    assert empty.isna().all(axis=None)
    assert table["lower"].notna().any()


def test_predictions_are_those_of_the_best_layer(frames: Frames, analyses: Analyses) -> None:
    """For each label and checkpoint the layer with the best score, every text of it, as in the file."""
    table, scores = frames["probe_predictions"], frames["probes"]
    for path in analyses.probes:
        checkpoint = json.loads(path.read_text())["checkpoint"]
        every = pyarrow.parquet.read_table(path.with_suffix(".parquet")).to_pandas()
        for label, measure in (("mood", "accuracy"), ("warmth", "r2")):
            mine = scores[(scores["checkpoint"] == checkpoint) & (scores["label"] == label)]
            mine = mine[mine["measure"] == measure]
            best = int(mine.loc[mine["estimate"].idxmax(), "layer"])
            said = table[(table["checkpoint"] == checkpoint) & (table["label"] == label)]
            assert said["layer"].unique().tolist() == [best]
            want = every[(every["label"] == label) & (every["layer"] == best)]
            for column in ("line", "group", "truth", "predicted"):
                assert said[column].astype(str).tolist() == want[column].astype(str).tolist()


def test_drift_is_each_layer_against_the_first_and_the_last(frames: Frames) -> None:
    """Of three checkpoints each is held against the first and the last, as in the table of similarity."""
    drift, whole = frames["drift"], frames["similarity"]
    keys = ["checkpoint", "against", "against_checkpoint", "layer", "measure"]
    found = {tuple(row) for row in drift[keys].itertuples(index=False)}
    pairs = {("middle", "first", "first"), ("last", "first", "first"),
             ("first", "last", "last"), ("middle", "last", "last")}  # fmt: skip
    measures = ("linear_cka_debiased", "angular")
    assert found == {(*pair, layer, m) for pair in pairs for layer in (0, 1) for m in measures}
    assert len(drift) == len(found)
    for row in drift.itertuples():
        a, b = sorted((row.checkpoint, row.against_checkpoint), key=NAMES.index)
        (value,) = whole.loc[
            (whole["checkpoint_a"] == a) & (whole["checkpoint_b"] == b)
            & (whole["layer_a"] == row.layer) & (whole["layer_b"] == row.layer)
            & (whole["measure"] == row.measure), "value"
        ]  # fmt: skip
        assert value == row.value


def test_similarity_holds_every_pair_once(frames: Frames) -> None:
    """No pair of layers stands twice, either way round; checkpoints stand in the study's order."""
    table = frames["similarity"]
    table = table[table["measure"] == "angular"]
    ends = [
        ((row.checkpoint_a, row.layer_a), (row.checkpoint_b, row.layer_b))
        for row in table.itertuples()
    ]
    assert len({frozenset(pair) for pair in ends}) == len(ends) == 3 + 3 * 4
    assert all(NAMES.index(a[0]) <= NAMES.index(b[0]) for a, b in ends)
    assert set(pairwise(NAMES)) <= {(a[0], b[0]) for a, b in ends}


def read(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        yield from csv.DictReader(stream)


def test_tables_are_written_whole(analyses: Analyses, frames: Frames, tmp_path: Path) -> None:
    """The CSV files hold the rows; what is empty is an empty cell; a study without datasets has headers."""
    write_tables([], tmp_path / "with", analyses=analyses)
    for name in OWN:
        rows = list(read(tmp_path / "with" / f"{name}.csv"))
        assert len(rows) == len(frames[name])
        assert tuple(rows[0]) == TABLES[name].columns
    some = next(read(tmp_path / "with" / "probe_predictions.csv"))
    assert (some["line"], some["group"], some["label"]) == ("1", "pair 0", "mood")
    ridge = [r for r in read(tmp_path / "with" / "probes.csv") if r["label"] == "warmth"]
    assert {row["difference_of_means"] for row in ridge} == {""}
    write_tables([], tmp_path / "without")
    for name in OWN:
        text = (tmp_path / "without" / f"{name}.csv").read_text()
        assert text == ",".join(TABLES[name].columns) + "\n"
