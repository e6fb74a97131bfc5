"""`stratascope probe`: features and labels of any origin in, a row for each layer and measure out."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import save_file

from stratascope.cli import cli
from stratascope.errors import StratascopeError
from stratascope.measure.probes import ProbeWeights, Settings, design, probe, token_counts
from stratascope.store.features import FORMAT
from stratascope.store.probes import load_probes

N = 60
WORDS = {"joy": ["happy", "glad"], "fear": ["afraid", "shy"]}


def drawn() -> tuple[dict[str, np.ndarray], list[str], list[str], list[int]]:
    """Three layers, the last of which holds the label; texts that hint at it; authors."""
    rng = np.random.default_rng(0)
    authors = np.repeat(np.arange(N // 2), 2)
    labels = rng.permutation(np.arange(N // 2) % 2)[authors]
    names = np.array(sorted(WORDS))[labels]
    layers = {
        f"layer_{i:02d}/{site}": rng.standard_normal((N, 6)) + 1.5 * i * scale * labels[:, None]
        for i in range(3)
        for site, scale in (("hidden_out", 1.0), ("attn_out", 0.0))
    }
    texts = [
        f"{rng.choice([*'abc'])} {rng.choice([*WORDS[name], 'x'])} {rng.choice([*'defgh'])}"
        for name in names
    ]
    return layers, names.tolist(), texts, authors.tolist()


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, ["probe", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows(*arguments: object) -> list[dict[str, Any]]:
    found = run(*arguments, "--format", "json", "--permutations", 25, "--bootstrap", 60)
    assert found.exit_code == 0, found.output
    return list(json.loads(found.stdout)["rows"])


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Layers and labels of others, in one NPZ file."""
    layers, names, _, authors = drawn()
    path = tmp_path / "mine.npz"
    np.savez(path, **layers, emotion=np.array(names), author=np.array(authors))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Labels and texts in a CSV file."""
    _, names, texts, authors = drawn()
    path = tmp_path / "labels.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["mood", "text", "author", "score"])
        writer.writerows(zip(names, texts, authors, np.arange(N) / 7, strict=True))
    return path


def folder_of(path: Path, tokens: int = 1, unlabelled: int = 0) -> Path:
    """Features as `extract` leaves them, with ``tokens`` rows a text."""
    layers, names, texts, authors = drawn()
    path.mkdir()
    rng = np.random.default_rng(1)
    several = {
        name: (np.repeat(x, tokens, axis=0) + 0.1 * rng.standard_normal((N * tokens, 6))).astype(
            "f4"
        )
        for name, x in layers.items()
    }
    save_file(several, path / "features-00000.safetensors")
    index = [
        {"text": texts[i], "line": i + 1, "shard": 0, "row": i * tokens, "rows": tokens, "tokens": 3,
         "emotion": names[i] if i >= unlabelled else None, "author": authors[i]}
        for i in range(N)
    ]  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(index), path / "index.parquet")
    info = {
        "format": FORMAT, "shapes": dict.fromkeys(sorted(several), 6), "rows": N * tokens,
        "shards": [{"file": "features-00000.safetensors", "rows": N * tokens, "texts": N}],
        "layers": [0, 1, 2], "sites": ["attn_out", "hidden_out"],
        "position": "last" if tokens == 1 else "all",
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(info))
    return path


def test_rows_are_those_of_the_functions(arrays: Path) -> None:
    """Each site, layer and measure has a row with exactly what `probe` gives, and adjusted p-values."""
    layers, names, _, authors = drawn()
    found = rows(arrays, "--label", "emotion", "--group", "author", "--seed", 3)
    plan = design(names, groups=authors, permutations=25, resamples=60, seed=3)
    assert len(found) == 6 * 5
    for row in found:
        expected = probe(layers[f"layer_{row['layer']:02d}/{row['site']}"], plan)
        measured = expected.measures[row["measure"]]
        for name in ("estimate", "lower", "upper", "n", "groups", "majority", "p", "shuffled_95"):
            assert row[name] == pytest.approx(getattr(measured, name)), name
        assert row["p"] <= row["p_bh"] <= row["p_holm"] <= 1
        assert row["p"] <= row["p_max"] <= 1
        assert row["control"] is row["bag_of_tokens"] is None
    best = next(r for r in found if (r["site"], r["layer"]) == ("hidden_out", 2))
    assert (best["measure"], best["n"], best["groups"]) == ("accuracy", 60, 30)
    assert best["estimate"] > 0.9 > best["majority"]
    assert [r["layer"] for r in found if r["measure"] == "auroc"] == [0, 1, 2] * 2


def test_labels_of_a_file_bring_texts_and_controls(arrays: Path, table: Path) -> None:
    """With --labels the words' own score stands beside each layer's, and a control task of a field."""
    _, names, texts, _ = drawn()
    found = rows(
        arrays, "--label", "mood", "--labels", table, "--sites", "hidden_out", "--layers", "1-2",
        "--control", "first_word",
    )  # fmt: skip
    assert {(row["site"], row["layer"]) for row in found} == {("hidden_out", 1), ("hidden_out", 2)}
    plan = design(names, groups=texts, permutations=25, resamples=60)
    words = probe(token_counts(texts), plan, Settings(standardise=False)).measures
    for row in found:
        assert row["bag_of_tokens"] == pytest.approx(words[row["measure"]].estimate)
        assert row["bag_of_tokens_lower"] == pytest.approx(words[row["measure"]].lower)
        assert row["selectivity"] == pytest.approx(row["estimate"] - row["control"])
    assert 0.55 < words["accuracy"].estimate < 0.95
    ridge = rows(arrays, "--label", "score", "--labels", table, "--control", "author")
    assert {row["measure"] for row in ridge} == {"r2"}
    assert all(row["difference_of_means"] is None for row in ridge)


def test_a_folder_of_extract(tmp_path: Path) -> None:
    """Its index has labels, groups and texts; rows without a label are left out, and this is said."""
    folder = folder_of(tmp_path / "features", unlabelled=4)
    result = run(
        folder, "--label", "emotion", "--layers", 2, "--sites", "hidden_out", "--format", "csv",
        "--permutations", 20, "--bootstrap", 20,
    )  # fmt: skip
    assert "4 of 60 rows have no emotion" in result.stderr
    found = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["n"] for row in found} == {"56"}
    assert float(found[0]["bag_of_tokens"]) > 0.5


def test_tokens_of_a_text_stay_together(tmp_path: Path) -> None:
    """With a row a token the groups are the texts, and a control task needs a field."""
    folder = folder_of(tmp_path / "features", tokens=3)
    found = rows(folder, "--label", "emotion", "--layers", "0,2", "--control", "author")
    assert {(row["n"], row["groups"]) for row in found} == {(180, 60)}
    with pytest.raises(StratascopeError, match="needs one text for each row"):
        run(folder, "--label", "emotion", "--control")


def test_saved_probes_can_be_applied(arrays: Path, tmp_path: Path) -> None:
    """--save leaves weights that, applied to the features, tell the classes apart; the same bytes again."""
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, threads in ((first, 1), (second, 3)):
        rows(arrays, "--label", "emotion", "--save", folder, "--threads", threads)
    assert (first / "probes.safetensors").read_bytes() == (
        second / "probes.safetensors"
    ).read_bytes()
    kept, about = load_probes(first / "probes.safetensors")
    layers, names, _, _ = drawn()
    assert kept.keys() == layers.keys()
    assert about == {
        "format": "stratascope-probes-1", "label": "emotion", "kind": "logistic",
        "classes": ["fear", "joy"],
    }  # fmt: skip
    parts = kept["layer_02/hidden_out"]
    again = ProbeWeights(about["kind"], tuple(about["classes"]), parts["weights"], parts["bias"])
    logits = again.apply(layers["layer_02/hidden_out"])
    assert logits.shape == (N, 1)
    assert ((logits[:, 0] > 0) == (np.array(names) == "joy")).mean() > 0.95
    (first / "probes.safetensors").write_bytes(b"no")
    with pytest.raises(StratascopeError, match="cannot be read as probes"):
        load_probes(first / "probes.safetensors")


def test_a_table_for_eyes(arrays: Path) -> None:
    """The table has a line a row and shows what a reader compares."""
    result = run(arrays, "--label", "emotion", "--permutations", 0, "--layers", 2)
    header, _, *lines = result.stdout.splitlines()
    assert header.split()[:6] == ["site", "layer", "measure", "estimate", "lower", "upper"]
    assert len(lines) == 10


BAD: dict[str, list[object]] = {
    "no field 'moood'; there are emotion, author": ["--label", "moood"],
    "no field 'who'": ["--label", "emotion", "--group", "who"],
    "no site 'mlp'; there are hidden_out, attn_out": ["--label", "emotion", "--sites", "mlp"],
    "none of these layers; there are \\[0, 1, 2\\]": ["--label", "emotion", "--layers", "7"],
    "neither a layer nor a range": ["--label", "emotion", "--layers", "a-b"],
    "first_word needs one text": ["--label", "emotion", "--control"],
    "these are text": ["--label", "emotion", "--kind", "ridge"],
}


@pytest.mark.parametrize("message", BAD)
def test_mistakes_are_told(arrays: Path, message: str) -> None:
    """A field, site, layer or kind that is not there is named, with those that are."""
    with pytest.raises(StratascopeError, match=message):
        run(arrays, *BAD[message])


def test_labels_must_be_a_row_a_row(arrays: Path, tmp_path: Path) -> None:
    """A file with another number of rows is named with both numbers."""
    path = tmp_path / "short.jsonl"
    path.write_text('{"mood": "a"}\n{"mood": "b"}\n')
    with pytest.raises(StratascopeError, match=r"short.jsonl: mood has 2 rows, .* have 60"):
        run(arrays, "--label", "mood", "--labels", path)
