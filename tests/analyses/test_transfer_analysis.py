"""Probes judged elsewhere: where there is the same structure they are right, by texts they never saw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratascope.analyses.transfer import measure_transfer
from stratascope.errors import StratascopeError
from stratascope.study.analyses import TransferJob

Job = Callable[..., TransferJob]
NAMES = ("first", "middle", "last")


def judged(job: TransferJob, place: Path, folder: Path) -> list[dict[str, Any]]:
    target = folder / f"{job.name}.json"
    measure_transfer(job, place, target)
    rows: list[dict[str, Any]] = json.loads(target.read_text())["rows"]
    return rows


@pytest.fixture(scope="module")
def rows(
    place: Path, transfer_job: Job, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    job = transfer_job(NAMES, "checkpoints", "layers")
    return judged(job, place, tmp_path_factory.mktemp("transfer"))


def test_which_pairs_are_judged(rows: list[dict[str, Any]]) -> None:
    """Each checkpoint to the next, the first to the last, and back, at one layer; layers of the last."""
    ends = ("checkpoint_from", "layer_from", "checkpoint_to", "layer_to")
    found = [tuple(row[key] for key in ends) for row in rows if row["measure"] == "accuracy"]
    between = {(a, i, b, i) for a in NAMES for b in NAMES if a != b for i in (0, 1)}
    layers = {("last", 0, "last", 1), ("last", 1, "last", 0)}
    assert set(found) == between | layers
    assert len(found) == len(set(found))


def test_only_the_structure_transfers(rows: list[dict[str, Any]]) -> None:
    """Between the two trained checkpoints a probe of layer 1 is right; on noise none is.

    A probe of noise may be right or wrong about all of what is far apart elsewhere: not asked here.
    """
    alike = {("middle", 1, "last", 1), ("last", 1, "middle", 1)}
    for row in rows:
        if row["measure"] == "accuracy":
            ends = (
                row["checkpoint_from"],
                row["layer_from"],
                row["checkpoint_to"],
                row["layer_to"],
            )
            assert row["lower"] <= row["estimate"] <= row["upper"]
            if ends in alike:
                assert row["estimate"] > 0.9, ends
            elif ends[3] == 0 or ends[2] == "first":
                assert row["lower"] < 0.5 < row["upper"], ends
            # The text that one of them could not read is judged nowhere.
            assert (row["n"], row["groups"]) == (59, 30)
            assert row["majority"] == pytest.approx(0.5, abs=0.02)


def test_no_text_is_judged_by_a_probe_that_saw_its_group(
    made: Any, transfer_job: Job, pairs: tuple[Any, list[str]], tmp_path: Path
) -> None:
    """Features that know the pair, a label by chance: a probe that had seen the pair would be right."""
    matrices, label = pairs
    for groups, seen in ((("pair",), False), (("own",), True)):
        carried = {"mood": label, "pair": [i // 2 for i in range(60)], "own": list(range(60))}
        sets = [
            made(matrices, carried, checkpoint=name, groups=groups) for name in ("first", "last")
        ]
        found = judged(transfer_job(sets, "checkpoints"), tmp_path, tmp_path / "out")
        estimates = [row["estimate"] for row in found if row["measure"] == "accuracy"]
        assert len(estimates) == 2
        assert [estimate > 0.7 for estimate in estimates] == [seen, seen]


def test_other_widths_are_left_out(
    made: Any, transfer_job: Job, truth: dict[str, list[Any]], tmp_path: Path
) -> None:
    """A probe cannot be applied to layers of another width, so nothing is said about them."""
    rng = np.random.default_rng(0)
    sets = []
    for name, wide in (("first", 5), ("last", 6)):
        matrices = {
            "layer_00/hidden_out": rng.normal(size=(60, wide)).astype(np.float32),
            "layer_01/hidden_out": rng.normal(size=(60, 4)).astype(np.float32),
        }
        sets.append(made(matrices, truth, checkpoint=name))
    found = judged(
        transfer_job(sets, "checkpoints", "layers", labels=("coin",)), tmp_path, tmp_path / "out"
    )
    places = {(r["checkpoint_from"], r["layer_from"], r["checkpoint_to"]) for r in found}
    assert places == {("first", 1, "last"), ("last", 1, "first")}


def test_one_checkpoint_has_no_other(place: Path, transfer_job: Job, tmp_path: Path) -> None:
    """With one checkpoint there is nothing between checkpoints: an index without rows."""
    assert judged(transfer_job(["middle"], "checkpoints"), place, tmp_path) == []


def test_an_unknown_label_is_named(place: Path, transfer_job: Job, tmp_path: Path) -> None:
    """The error names the dataset and the label, and nothing is left."""
    with pytest.raises(StratascopeError, match=r"talks@first.*no field 'moood'"):
        judged(transfer_job(NAMES, "checkpoints", labels=("moood",)), place, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_between_datasets(
    made: Any, transfer_job: Job, truth: dict[str, list[Any]], tmp_path: Path
) -> None:
    """On another dataset, at each tensor of the last checkpoint: right where the direction is the same.

    Its groups are others, though some are called alike: every text is new to the probe.
    """

    def matrices(seed: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        found = {f"layer_0{i}/hidden_out": rng.normal(size=(60, 6)) for i in (0, 1)}
        found["layer_01/hidden_out"][:, 0] += [6.0 * (mood == "glad") for mood in truth["mood"]]
        return {name: each.astype(np.float32) for name, each in found.items()}

    sets = [made(matrices(i), truth, checkpoint=name) for i, name in enumerate(("first", "last"))]
    letters = made(matrices(2), truth, checkpoint="last", name="letters", groups=("coin",))
    job = transfer_job(sets, "datasets", others=(letters,))
    rows = judged(job, tmp_path, tmp_path / "out")
    accuracy = {row["layer_to"]: row for row in rows if row["measure"] == "accuracy"}
    assert set(accuracy) == {0, 1}
    assert accuracy[1]["estimate"] > 0.9
    assert 0.3 < accuracy[0]["estimate"] < 0.7
    for row in rows:
        assert (row["checkpoint_from"], row["checkpoint_to"]) == ("last", "last")
        assert (row["dataset_to"], row["n"], row["groups"]) == ("letters", 60, 2)
