"""The curves for `dvc plots` are the tables' numbers, averaged as they say."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

import pytest

from stratascope.curves import write_curves
from stratascope.errors import StratascopeError

CHECKPOINTS = """\
checkpoint,order,source,layer,cosine,centred_cosine,drift_first_cosine,drift_first_centred_cosine
null,0,hidden_in,0,0.5,0.1,,
null,0,hidden_in,1,0.6,0.2,,
1e5,1,hidden_in,0,0.7,,0.9,0.8
1e5,1,hidden_in,1,0.8,0.4,0.95,0.85
"""
HEADER = "run,message,role,reference,position,source,layer,cosine,centred_cosine"
# One conversation, run at each of its messages, so that its first message appears twice; and another.
SIMILARITY = [
    ("talk_msg01@null", 0, "joy", "generation_prompt", "hidden_out", 1, 0.5, 0.2),
    ("talk_msg02@null", 0, "joy", "generation_prompt", "hidden_out", 1, 0.5000001, 0.2000001),
    ("talk_msg02@null", 1, "joy", "generation_prompt", "hidden_out", 1, 0.3, 0.1),
    ("calm@null", 0, "joy", "generation_prompt", "hidden_out", 1, 0.9, 0.6),
    ("calm@null", 0, "joy", "generation_prompt", "hidden_out", 0, -1.0, -1.0),
    ("calm@null", 0, "joy", "turn_end", "hidden_out", 1, -1.0, -1.0),
    ("calm@null", 0, "joy", "generation_prompt", "attn_out", 1, -1.0, -1.0),
]


PROBES = """\
dataset,checkpoint,label,layer,measure,estimate,lower,upper,bag_of_tokens
talks,null,mood,0,accuracy,0.5,0.4,0.6,0.5
talks,null,mood,1,accuracy,0.7,0.6,0.8,0.5
talks,null,mood,2,brier,0.9,0.8,1,0.5
talks,1e5,mood,0,accuracy,0.9,0.8,1,0.5
talks,1e5,warmth,0,r2,,,,
"""


@pytest.fixture
def curves(tmp_path: Path) -> dict[str, list[dict[str, str]]]:
    tables = tmp_path / "results" / "tables"
    tables.mkdir(parents=True)
    (tables / "checkpoints.csv").write_text(CHECKPOINTS)
    rows = [",".join(map(str, (*row[:2], "user", *row[2:]))) for row in SIMILARITY]
    (tables / "snapshot_reference.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (tables / "probes.csv").write_text(PROBES)
    written = write_curves(tmp_path)
    return {path.stem: list(csv.DictReader(path.open())) for path in written}


def test_layers(curves: dict[str, list[dict[str, str]]]) -> None:
    """A line a checkpoint, a panel a source; a value that is not there is left out, not drawn as 0."""
    points = [(row["panel"], row["line"], row["layer"]) for row in curves["layers"]]
    assert points == [
        ("hidden_in", "null", "0"),
        ("hidden_in", "null", "1"),
        ("hidden_in", "1e5", "1"),
    ]
    assert [row["centred_cosine"] for row in curves["layers"]] == ["0.1", "0.2", "0.4"]


def test_references(curves: dict[str, list[dict[str, str]]]) -> None:
    """At the last layer, the first position and hidden_out; a shared beginning counts once."""
    first, second = curves["references"]
    assert (first["panel"], first["line"], first["message"]) == ("null", "joy", "0")
    assert float(first["cosine"]) == pytest.approx(statistics.mean([0.5, 0.9]))
    assert float(first["centred_cosine"]) == pytest.approx(statistics.mean([0.2, 0.6]))
    assert (second["message"], second["cosine"]) == ("1", "0.3")


def test_drift(curves: dict[str, list[dict[str, str]]]) -> None:
    """Checkpoints in the study's order; the first one is where it is: cosine 1 with itself."""
    points = [(row["line"], row["checkpoint"], row["centred_cosine"]) for row in curves["drift"]]
    assert points == [
        ("layer 00", "null", "1"),
        ("layer 01", "null", "1"),
        ("layer 00", "1e5", "0.8"),
        ("layer 01", "1e5", "0.85"),
    ]


def test_probes(curves: dict[str, list[dict[str, str]]], tmp_path: Path) -> None:
    """The best layer of each label and checkpoint by the deciding measure; nothing without probes."""
    points = [(row["line"], row["checkpoint"], row["estimate"]) for row in curves["probes"]]
    assert points == [("mood", "null", "0.7"), ("mood", "1e5", "0.9")]
    (tmp_path / "results" / "tables" / "probes.csv").unlink()
    (path,) = (path for path in write_curves(tmp_path) if path.stem == "probes")
    assert path.read_text() == "panel,line,checkpoint,estimate,lower,upper,bag_of_tokens\n"


def test_without_tables(tmp_path: Path) -> None:
    """Before the first run there is nothing to draw, and the error says what to do."""
    with pytest.raises(StratascopeError, match="run snakemake first"):
        write_curves(tmp_path)
