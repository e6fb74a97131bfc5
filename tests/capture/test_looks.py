"""Stages lens and residual on a captured run: their index, and the tables that are made of it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stratascope.analyses.looks import look
from stratascope.analyses.readout import End
from stratascope.capture.run import capture_run
from stratascope.capture.vocabulary import vocabulary_of
from stratascope.capture.weights import open_weights
from stratascope.errors import StratascopeError
from stratascope.report.tables import TABLES
from stratascope.report.tables.frames import write_header, write_rows
from stratascope.study.looks import LookJob
from stratascope.study.microscope import Lens, Residual


@pytest.fixture(scope="module")
def captured(loaded_model: Any, make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A captured run of 4 steps, its folder, and the model's end."""
    loaded = loaded_model("gpt2+chat")
    run, folder = make_run(loaded), tmp_path_factory.mktemp("runs")
    (folder / run.folder).mkdir()
    capture_run(loaded, run, folder / run.folder)
    return loaded, run, folder, End.of(*open_weights(loaded.checkpoint))


def looked(captured: Any, spec: Any, target: Path) -> list[dict[str, Any]]:
    loaded, run, folder, end = captured
    part = type(spec).__name__.lower()
    job = LookJob(part, spec, loaded.checkpoint, (run,), ())
    look(job, folder, end, vocabulary_of(loaded.checkpoint).text, target)
    content = json.loads(target.read_text())
    assert (content["checkpoint"], content["digest"]) == (loaded.checkpoint.name, job.digest)
    rows: list[dict[str, Any]] = content["rows"]
    return rows


def test_rows_are_those_that_the_study_asks_for(captured: Any, tmp_path: Path) -> None:
    """Steps, positions, layers and sites choose the rows; the same job leaves the same bytes."""
    loaded = captured[0]
    rows = looked(captured, Lens(), tmp_path / "a.json")
    assert len(rows) == 4 * loaded.layers
    looked(captured, Lens(), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    spec = Lens(steps=(0, 2, 77), layers=(1,), sites=("hidden_in", "attn_out"), top_k=2)
    rows = looked(captured, spec, tmp_path / "c.json")
    assert [(r["site"], r["step"], r["layer"]) for r in rows] == [
        ("hidden_in", 0, 1), ("hidden_in", 2, 1), ("attn_out", 0, 1), ("attn_out", 2, 1),
    ]  # fmt: skip
    assert {len(row["top"]) for row in rows} == {2}
    every = looked(captured, Residual(positions="all", layers=(2,)), tmp_path / "d.json")
    assert [row["position"] for row in every] == list(range(len(every)))
    assert len(every) > 20


def test_tables_hold_every_row(captured: Any, tmp_path: Path) -> None:
    """The CSVs have the rows of the index, lists as JSON, texts that CSV must quote unharmed."""
    paths = {"lenses": (tmp_path / "lens.json",), "residuals": (tmp_path / "residual.json",)}
    lens = looked(captured, Lens(positions="all"), paths["lenses"][0])
    residual = looked(captured, Residual(positions="all"), paths["residuals"][0])
    study: Any = SimpleNamespace(analyses=SimpleNamespace(**paths))
    for name, rows in (("logit_lens", lens), ("residual", residual)):
        file = io.StringIO()
        write_header(file, TABLES[name].columns)
        for part in TABLES[name].build(study):
            write_rows(file, part[name][list(TABLES[name].columns)])
        found = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
        assert len(found) == len(rows)
        assert any("\n" in row["token"] for row in rows)
        for read, made in zip(found, rows, strict=True):
            for column, text in read.items():
                value = made[column]
                if isinstance(value, list):
                    assert json.loads(text) == value
                elif isinstance(value, str):
                    assert text == value
                else:
                    assert (float(text) if text else None) == pytest.approx(value, rel=1e-6)


def test_another_models_run_is_refused(captured: Any, loaded_model: Any, tmp_path: Path) -> None:
    """The end of a model with another number of layers does not read this run."""
    demo = Path(__file__).parents[2] / "models" / "demo" / "step-0"
    loaded, run, folder, _ = captured
    other = End.of(*open_weights(replace(loaded.checkpoint, source=str(demo))))
    job = LookJob("lens", Lens(), loaded.checkpoint, (run,), ())
    with pytest.raises(StratascopeError, match="it is another model's"):
        look(job, folder, other, str, tmp_path / "no.json")
    assert not (tmp_path / "no.json").exists()
