"""Which layers are compared, and what is said of layers that are alike, and of noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratascope.analyses.similarity import Layer, measure_similarity, wanted_pairs
from stratascope.errors import StratascopeError
from stratascope.measure.similarity import SIMILARITIES
from stratascope.store.features import Features
from stratascope.study.analyses import SimilarityJob

Job = Callable[..., SimilarityJob]
NAMES = ("first", "middle", "last")
MEASURES = ("linear_cka_debiased", "procrustes")


def index_of(job: SimilarityJob, place: Path, folder: Path) -> dict[str, Any]:
    target = folder / f"{job.name}.json"
    measure_similarity(job, place, target)
    content: dict[str, Any] = json.loads(target.read_text())
    return content


@pytest.fixture(scope="module")
def index(
    place: Path, similarity_job: Job, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    job = similarity_job(NAMES, *MEASURES)
    return index_of(job, place, tmp_path_factory.mktemp("similarity"))


def test_wanted_pairs_of_four_checkpoints() -> None:
    """All layers within, to the next, and first to last; the same layer to the first and to the last."""
    layers = [Layer(f"c{order}", order, layer) for order in range(4) for layer in range(3)]
    found = {
        (layers[i].order, layers[i].layer, layers[j].order, layers[j].layer)
        for i, j in np.argwhere(wanted_pairs(layers, 4))
    }
    within = {(c, i, c, j) for c in range(4) for i, j in ((0, 1), (0, 2), (1, 2))}
    whole = {
        (a, i, b, j)
        for a, b in ((0, 1), (1, 2), (2, 3), (0, 3))
        for i in range(3)
        for j in range(3)
    }
    drift = {(a, i, b, i) for a, b in ((0, 2), (1, 3)) for i in range(3)}
    assert found == within | whole | drift
    assert not {(c, j, a, i) for a, i, c, j in found} & found, "no pair is compared twice"


def test_wanted_pairs_of_one_and_of_two_checkpoints() -> None:
    """One checkpoint: its layers with each other. Two: all of both, once."""
    one = [Layer("c", 0, layer) for layer in range(3)]
    assert wanted_pairs(one, 1).tolist() == np.triu(np.ones((3, 3), bool), 1).tolist()
    two = [Layer(name, order, layer) for order, name in enumerate("ab") for layer in range(2)]
    assert wanted_pairs(two, 2).sum() == 1 + 1 + 4


def test_alike_is_one_and_noise_is_within_its_null(index: dict[str, Any]) -> None:
    """Equal layers of two checkpoints: similarity 1, distance 0, p as small as it gets; noise: neither."""
    rows = {
        (r["measure"], r["checkpoint_a"], r["layer_a"], r["checkpoint_b"], r["layer_b"]): r
        for r in index["rows"]
    }
    for measure in MEASURES:
        same = rows[measure, "middle", 1, "last", 1]
        assert same["value"] == pytest.approx(SIMILARITIES[measure].same, abs=1e-6)
        assert same["p"] == pytest.approx(1 / 50)
    for ends in (("first", 0, "last", 0), ("first", 1, "middle", 1), ("middle", 0, "last", 0)):
        noise = rows["linear_cka_debiased", *ends]
        assert abs(noise["value"]) < 0.15
        assert noise["value"] < noise["null_upper"]
        assert noise["p"] > 0.05
        assert noise["lower"] < 0 < noise["upper"]


def test_every_row_is_over_the_texts_that_all_have(index: dict[str, Any]) -> None:
    """One checkpoint lacks a text: none is compared on it, and rows stay aligned."""
    assert index["texts"] == 59
    assert {(row["n"], row["groups"]) for row in index["rows"]} == {(59, 30)}
    assert index["undefined"] == []
    assert len(index["rows"]) == len(MEASURES) * (3 + 3 * 4)


def test_the_value_is_that_of_the_measure_alone(
    index: dict[str, Any], place: Path, similarity_job: Job
) -> None:
    """A value equals the measure's own function on the rows that both have, aligned here by hand."""
    sets = [Features.open(place / item.folder) for item in similarity_job(NAMES).sets]
    a, b = sets[1].matrix("layer_00/hidden_out"), sets[2].matrix("layer_01/hidden_out")
    a = np.delete(a, 6, axis=0)
    (row,) = (
        r
        for r in index["rows"]
        if (r["measure"], r["checkpoint_a"], r["layer_a"], r["checkpoint_b"], r["layer_b"])
        == ("procrustes", "middle", 0, "last", 1)
    )
    assert row["value"] == pytest.approx(SIMILARITIES["procrustes"].function(a, b), abs=1e-6)


def test_the_same_bytes_twice(
    index: dict[str, Any], place: Path, similarity_job: Job, tmp_path: Path
) -> None:
    """The index is equal byte by byte."""
    again = index_of(similarity_job(NAMES, *MEASURES), place, tmp_path)
    assert json.dumps(again) == json.dumps(index)


def test_nothing_to_compare_is_no_error(
    made: Any, similarity_job: Job, truth: dict[str, list[Any]], tmp_path: Path
) -> None:
    """One layer of one checkpoint, beside modules that have no layer: an index without rows."""
    rng = np.random.default_rng(0)
    names = ("layer_00/hidden_out", "module/lm_head", "final_norm")
    matrices = {name: rng.normal(size=(60, 3)).astype(np.float32) for name in names}
    features = made(matrices, truth)
    assert index_of(similarity_job([features]), tmp_path, tmp_path / "out")["rows"] == []


def test_a_constant_layer_is_said_to_be_undefined(
    made: Any, similarity_job: Job, truth: dict[str, list[Any]], tmp_path: Path
) -> None:
    """Features that never change have no similarity: no number, and a sentence that names the layer."""
    rng = np.random.default_rng(0)
    matrices = {
        f"layer_{i:02d}/hidden_out": rng.normal(size=(60, 3)).astype(np.float32) for i in range(3)
    }
    matrices["layer_01/hidden_out"][:] = 1
    content = index_of(
        similarity_job([made(matrices, truth)], bootstrap=0, permutations=0),
        tmp_path,
        tmp_path / "out",
    )
    assert [(row["layer_a"], row["layer_b"]) for row in content["rows"]] == [(0, 2)]
    assert {row[key] for row in content["rows"] for key in ("p", "lower", "upper")} == {None}
    (said,) = content["undefined"]
    assert said["site"] == "hidden_out"
    assert "first, layer 1" in said["why"]


def test_too_few_texts_is_an_error_that_names_the_dataset(
    made: Any, similarity_job: Job, tmp_path: Path
) -> None:
    """Three texts are too few for the debiased measure: dataset, site and measure are named."""
    matrices = {f"layer_{i:02d}/hidden_out": np.eye(3, dtype=np.float32) for i in range(2)}
    features = made(matrices, {}, ["a", "b", "c"], labels=(), groups=())
    with pytest.raises(StratascopeError, match="talks: similarity of hidden_out: linear_cka_deb"):
        index_of(similarity_job([features]), tmp_path, tmp_path / "out")


def test_no_common_text_is_an_error(
    made: Any, similarity_job: Job, truth: dict[str, list[Any]], said: list[str], tmp_path: Path
) -> None:
    """Checkpoints that read no text in common cannot be compared."""
    rng = np.random.default_rng(0)
    sets = []
    for name, place in (("first", 0), ("last", 30)):
        matrices = {"layer_00/hidden_out": rng.normal(size=(30, 3)).astype(np.float32)}
        sets.append(made(matrices, {k: v[:30] for k, v in truth.items()}, said[:30], name))
        if place:  # lines 31 to 60
            import pyarrow.parquet

            path = tmp_path / sets[-1].folder / "index.parquet"
            table = pyarrow.parquet.read_table(path)
            lines = pyarrow.array(range(31, 61), pyarrow.int64())
            pyarrow.parquet.write_table(table.set_column(1, "line", lines), path)
    with pytest.raises(StratascopeError, match="no text was read by every checkpoint"):
        index_of(similarity_job(sets), tmp_path, tmp_path / "out")
