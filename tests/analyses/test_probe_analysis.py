"""The probes of a feature set: what is planted is found, what is not is not, and files agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from stratascope.analyses.probes import fit_probes
from stratascope.errors import StratascopeError
from stratascope.store.features import Features
from stratascope.store.hashes import sha256
from stratascope.store.probes import load_probes
from stratascope.study.analyses import ProbeJob

Job = Callable[..., ProbeJob]
LABELS = ("mood", "coin", "warmth")


def rows_of(target: Path, **where: Any) -> list[dict[str, Any]]:
    found = json.loads(target.read_text())["rows"]
    return [row for row in found if all(row[key] == value for key, value in where.items())]


def one(target: Path, **where: Any) -> dict[str, Any]:
    (row,) = rows_of(target, **where)
    return row


def fitted(job: ProbeJob, place: Path, folder: Path) -> Path:
    target = folder / f"{job.name}.json"
    fit_probes(job, place, target)
    return target


@pytest.fixture(scope="module")
def index(place: Path, probe_job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All labels of the middle checkpoint, probed."""
    return fitted(probe_job("middle", LABELS), place, tmp_path_factory.mktemp("probes"))


def test_the_planted_layer_is_found(index: Path) -> None:
    """The mood and the number are decodable at layer 1 and nowhere else; the coin nowhere."""
    found = one(index, label="mood", layer=1, measure="accuracy")
    assert found["estimate"] > 0.95
    assert found["lower"] > 0.8
    assert found["p"] == pytest.approx(1 / 20)
    assert (found["n"], found["groups"], found["majority"]) == (60, 30, 0.5)
    assert one(index, label="warmth", layer=1, measure="r2")["estimate"] > 0.9
    for label, layer in (("mood", 0), ("coin", 0), ("coin", 1)):
        row = one(index, label=label, layer=layer, measure="accuracy")
        assert row["lower"] < 0.5 < row["upper"], (label, layer)
    assert one(index, label="warmth", layer=0, measure="r2")["estimate"] < 0.2


def test_baselines_stay_low_where_only_the_features_know(index: Path) -> None:
    """Words, random labels for first words and shuffled labels do not give the mood away."""
    found = one(index, label="mood", layer=1, measure="accuracy")
    for name in ("bag_of_tokens", "control", "shuffled_mean"):
        assert found[name] < 0.75, name
    assert found["selectivity"] == pytest.approx(found["estimate"] - found["control"])
    assert found["selectivity_lower"] > 0.1
    assert found["difference_of_means"] > 0.95


def test_shuffles_are_kept_by_their_best_layer(index: Path) -> None:
    """The best of both layers in each shuffle: no layer has more shuffles as good as it is than these."""
    content = json.loads(index.read_text())
    for label, measures in content["shuffled_best"].items():
        for measure, best in measures.items():
            assert len(best) == 19
            sign = -1 if measure in ("brier", "calibration_error") else 1
            rows = rows_of(index, label=label, measure=measure)
            counts = [
                sum(sign * (value - row["estimate"]) >= -1e-12 for value in best) for row in rows
            ]
            own = [round(row["p"] * 20) - 1 for row in rows]
            assert all(a >= b for a, b in zip(counts, own, strict=True))
            assert sign * np.mean(best) >= max(sign * row["shuffled_mean"] for row in rows) - 1e-12


def test_predictions_agree_with_the_accuracy(index: Path, truth: dict[str, list[Any]]) -> None:
    """Every text is predicted at every layer, under its true label; the share right is the score."""
    table = pyarrow.parquet.read_table(index.with_suffix(".parquet")).to_pylist()
    assert len(table) == len(LABELS) * 2 * 60
    for label in ("mood", "coin"):
        for layer in (0, 1):
            some = [row for row in table if (row["label"], row["layer"]) == (label, layer)]
            assert [row["line"] for row in some] == list(range(1, 61))
            assert [row["truth"] for row in some] == truth[label]
            assert [row["group"] for row in some] == truth["pair"]
            right = np.mean([row["truth"] == row["predicted"] for row in some])
            row = one(index, label=label, layer=layer, measure="accuracy")
            assert right == pytest.approx(row["estimate"])
            assert all(0.5 <= row["probability"] <= 1 for row in some)
    numbers = [row for row in table if (row["label"], row["layer"]) == ("warmth", 1)]
    said, true = (np.array([float(row[key]) for row in numbers]) for key in ("predicted", "truth"))
    r2 = 1 - np.square(said - true).sum() / np.square(true - true.mean()).sum()
    assert r2 == pytest.approx(
        one(index, label="warmth", layer=1, measure="r2")["estimate"], abs=0.01
    )
    assert {row["probability"] for row in numbers} == {None}


def test_saved_weights_say_the_same(
    index: Path, place: Path, probe_job: Job, truth: dict[str, list[Any]]
) -> None:
    """The weights apply to the features as they lie there, and lead where the labels are."""
    probes, about = load_probes(index.with_suffix(".safetensors"))
    assert about["labels"]["mood"] == {"kind": "logistic", "classes": ["calm", "glad"]}
    assert set(probes) == {f"{label}/layer_{i:02d}/hidden_out" for label in LABELS for i in (0, 1)}
    matrix = Features.open(place / probe_job("middle").features.folder).matrix(
        "layer_01/hidden_out"
    )
    fit = probes["mood/layer_01/hidden_out"]
    logits = matrix @ fit["weights"] + fit["bias"]
    glad = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1) == 1
    assert np.mean(glad == (np.array(truth["mood"]) == "glad")) > 0.95
    numbers = probes["warmth/layer_01/hidden_out"]
    said = (matrix @ numbers["weights"] + numbers["bias"])[:, 0]
    assert np.corrcoef(said, truth["warmth"])[0, 1] > 0.98


def test_the_same_bytes_twice(index: Path, place: Path, probe_job: Job, tmp_path: Path) -> None:
    """Index, predictions and weights are equal byte by byte, and the index holds the others' hashes."""
    again = fitted(probe_job("middle", LABELS), place, tmp_path)
    for end in (".json", ".parquet", ".safetensors"):
        assert again.with_suffix(end).read_bytes() == index.with_suffix(end).read_bytes(), end
    files = json.loads(index.read_text())["files"]
    assert files == {
        index.with_suffix(end).name: sha256(index.with_suffix(end))
        for end in (".parquet", ".safetensors")
    }


def test_an_unknown_label_is_named(place: Path, probe_job: Job, tmp_path: Path) -> None:
    """The error names the dataset, the checkpoint and the label, and nothing is left."""
    with pytest.raises(StratascopeError, match=r"talks@middle.*no field 'moood'.*mood"):
        fitted(probe_job("middle", ["moood"]), place, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_label_that_cannot_be_probed_is_named(made: Any, probe_job: Job, tmp_path: Path) -> None:
    """One class alone: the error says so, and of which label of which dataset."""
    rng = np.random.default_rng(0)
    features = made({"layer_00/hidden_out": rng.normal(size=(60, 3)).astype(np.float32)},
                    {"mood": ["glad"] * 60}, groups=())  # fmt: skip
    with pytest.raises(StratascopeError, match="talks@first: label 'mood': labels: only one class"):
        fitted(probe_job(features), tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("groups", "equal_texts", "leaks"),
    [
        (("pair",), False, False),
        (("own", "pair"), False, False),
        ((), True, False),
        ((), False, True),
    ],
)
def test_groups_never_stand_on_both_sides(
    made: Any,
    probe_job: Job,
    pairs: tuple[Any, list[str]],
    said: list[str],
    tmp_path: Path,
    groups: tuple[str, ...],
    equal_texts: bool,
    leaks: bool,
) -> None:
    """A label that each pair has by chance: only a probe that saw the other text of a pair can know it."""
    matrices, label = pairs
    carried = {
        "mood": label,
        "own": list(range(60)),
        "pair": [i // 2 for i in range(60)],
    }
    read = [said[i // 2 * 2] for i in range(60)] if equal_texts else said
    features = made(matrices, carried, read, groups=groups)
    target = fitted(probe_job(features), tmp_path, tmp_path / "out")
    row = one(target, measure="accuracy")
    assert (row["estimate"] > 0.7) == leaks
    assert row["groups"] == (60 if leaks else 30)


def test_too_few_words_for_a_control_task(made: Any, probe_job: Job, tmp_path: Path) -> None:
    """Two words and three moods: there is no control, and everything else is there."""
    rng = np.random.default_rng(0)
    label = ["calm", "glad", "sad"] * 20
    read = ["Yes" if i % 4 else "No" for i in range(60)]
    features = made({"layer_00/hidden_out": rng.normal(size=(60, 3)).astype(np.float32)},
                    {"mood": label, "own": list(range(60))}, read, groups=("own",))  # fmt: skip
    row = one(fitted(probe_job(features), tmp_path, tmp_path / "out"), measure="accuracy")
    assert row["control"] is None
    assert row["selectivity_upper"] is None
    assert 0 <= row["bag_of_tokens"] <= 1


def test_token_ids_have_no_words(made: Any, probe_job: Job, tmp_path: Path) -> None:
    """Without texts there is neither a control nor a probe of words, and every text stands alone."""
    rng = np.random.default_rng(0)
    features = made(
        {
            "layer_00/hidden_out": rng.normal(size=(60, 3)).astype(np.float32),
            "final_norm": rng.normal(size=(60, 4)).astype(np.float32),
        },
        {"mood": ["calm", "glad"] * 30},
        [None] * 60,
        groups=(),
    )
    target = fitted(probe_job(features, permutations=0), tmp_path, tmp_path / "out")
    for layer, site in ((0, "hidden_out"), (None, "final_norm")):
        row = one(target, layer=layer, site=site, measure="accuracy")
        assert row["groups"] == 60
        assert [row[k] for k in ("control", "bag_of_tokens", "p", "shuffled_mean")] == [None] * 4
    table = pyarrow.parquet.read_table(target.with_suffix(".parquet")).to_pylist()
    assert [row["group"] for row in table] == [str(row["line"]) for row in table]
