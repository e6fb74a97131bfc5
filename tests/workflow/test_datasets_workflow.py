"""Datasets in a real study: extracted once, probed and compared, and only what changed made again."""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]
Hashed = Callable[..., dict[str, str]]
CONFIG = """\
checkpoints:
  last: {id: models/last}
defaults:
  model: {dtype: float32, device: cpu}
  generation: {max_new_tokens: 2}
datasets:
  talks:
    data: talks.jsonl
    labels: [mood, number]
    groups: [pair]
    layers: [0, 5]
    shard_texts: 10
    jobs: 2
    probes: {folds: 3, bootstrap: 20, permutations: 5, transfer: [layers]}
    similarity: {bootstrap: 10, permutations: 5}
    neurons: {top_k: 3, permutations: 5, layers: [0, 5]}
  plain:
    data: plain.jsonl
    layers: [0, 5]
    similarity: {bootstrap: 0, permutations: 5}
capture: {threads: 1}
"""
TALK = """\
name: talk
prompt:
  messages:
    - {role: user, content: I passed the exam! I am so happy.}
"""
FEELINGS = {
    "glad": "My dog found my {} and I am so happy.",
    "sad": "My dog lost my {} and I cried.",
}
THINGS = ("keys", "ring", "book", "letter", "shoes")
FEATURES = "results/features/*/*"
MADE = ("results/probes/*", "results/transfer/*", "results/similarity/*", "results/neurons/*")
NOTHING = "Nothing to be done"


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def table(study: Path, name: str) -> list[dict[str, str]]:
    path = study / "results" / "tables" / f"{name}.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_study(folder: Path, model: Path) -> None:
    (folder / "config").mkdir(parents=True)
    (folder / "scenarios").mkdir()
    (folder / "config" / "config.yaml").write_text(CONFIG)
    (folder / "scenarios" / "talk.yaml").write_text(TALK)
    shutil.copytree(model, folder / "models" / "last")
    chosen = random.Random(0)
    talks = [
        {"text": FEELINGS[mood].format(chosen.choice(THINGS)), "mood": mood,
         "number": chosen.random(), "pair": i // 2}
        for i in range(30) for mood in [("glad", "sad")[i % 2]]
    ]  # fmt: skip
    lines(folder / "talks.jsonl", talks)
    lines(folder / "plain.jsonl", [{"text": f"I have {i} {THINGS[i % 5]}."} for i in range(12)])


@pytest.fixture(scope="module")
def done(made_once: Callable[..., Path], demo: list[Path], snakemake: Command) -> Path:
    def make(folder: Path) -> None:
        write_study(folder, demo[-1])
        made = snakemake(folder)
        assert made.returncode == 0, said(made)

    return made_once("datasets", make)


@pytest.fixture
def study(done: Path, tmp_path: Path) -> Path:
    """A copy of the finished study, as a fresh clone sees it: without Snakemake's records."""
    folder = tmp_path / "study"
    shutil.copytree(done, folder, ignore=shutil.ignore_patterns(".snakemake", "logs"))
    return folder


def test_a_dataset_leaves_all_it_promises(done: Path, stratascope: Command) -> None:
    """Features of two jobs, all that follows from them, and its tables; verify finds all as recorded."""
    results = done / "results"
    kinds = ("features", "extractions", "probes", "transfer", "similarity", "neurons")
    found = {
        kind: sorted(
            p.name.rsplit("-", 1)[0] + p.suffix * p.is_file() for p in (results / kind).iterdir()
        )
        for kind in kinds
    }
    assert found == {
        "features": ["plain@last", "talks.neurons@last", "talks@last"],
        "extractions": ["last.1of2.json", "last.2of2.json"],
        "probes": ["talks@last.json", "talks@last.parquet", "talks@last.safetensors"],
        "transfer": ["talks.json"],
        "similarity": ["plain.json", "talks.json"],
        "neurons": ["talks@last.json", "talks@last.parquet"],
    }
    probes = {(r["label"], r["layer"], r["measure"]): r for r in table(done, "probes")}
    mood = probes["mood", "5", "accuracy"]
    assert (mood["dataset"], mood["checkpoint"], mood["n"], mood["groups"]) == (
        "talks", "last", "30", "15",
    )  # fmt: skip
    assert float(mood["estimate"]) > 0.9
    assert ("number", "0", "r2") in probes
    assert len(table(done, "probe_predictions")) == 2 * 30
    layers = {(row["layer_from"], row["layer_to"]) for row in table(done, "probe_transfer")}
    assert layers == {("0", "5"), ("5", "0")}
    similar = {row["dataset"]: row for row in table(done, "similarity")}
    assert {name: row["n"] for name, row in similar.items()} == {"talks": "30", "plain": "12"}
    assert similar["plain"]["lower"] == ""
    assert table(done, "drift") == [], "one checkpoint has not drifted"
    neurons = table(done, "neurons")
    assert {row["layer"] for row in neurons} == {"0", "5"}
    assert {row["property"] for row in neurons} <= {"mood", "number"}
    assert {row["n"] for row in neurons} == {"30"}
    examples = table(done, "neuron_examples")
    assert len(examples) == 2 * 20 * 2 * 3, "layers, neurons, top and bottom, texts"
    assert all(f"«{row['token']}»" in row["text"] for row in examples)
    verified = stratascope(done, "verify")
    assert verified.returncode == 0, said(verified)
    assert [p for p in results.rglob("*") if p.name.startswith(".")] == []


def test_a_clone_has_nothing_to_do(study: Path, snakemake: Command) -> None:
    """Without Snakemake's records nothing is extracted, probed or compared again."""
    assert NOTHING in said(snakemake(study, "-n"))


def test_one_changed_row_renews_its_dataset_alone(
    study: Path, snakemake: Command, stratascope: Command, hashed: Hashed
) -> None:
    """That dataset is extracted and compared again, no other; what is no longer used can be pruned."""
    before = hashed(study, FEATURES, *MADE)
    plain = study / "plain.jsonl"
    plain.write_text(plain.read_text().replace("I have 3 letter", "I had 3 letter"))
    done = snakemake(study)
    assert done.returncode == 0, said(done)
    after = hashed(study, FEATURES, *MADE)
    assert {name: after[name] for name in before} == before
    new = {name.split("/")[2].rsplit("-", 1)[0] for name in after if name not in before}
    assert new == {"plain@last", "plain"}
    assert "Comparing representations of talks" not in said(done)
    assert "Fitting linear probes" not in said(done)
    listed = stratascope(study, "prune", "--format", "json")
    rows = json.loads(listed.stdout)["rows"]
    unused = {row["path"] for row in rows if row["what"] == "unused"}
    assert {path.split("/")[1] for path in unused} == {"features", "extractions", "similarity"}
    assert {p.split("/")[2].split("@")[0] for p in unused if "/features/" in p} == {"plain"}


def test_a_lost_manifest_extracts_nothing(study: Path, snakemake: Command, hashed: Hashed) -> None:
    """Without a job's manifest its shards are found where they lie, and no model is loaded."""
    features = hashed(study, FEATURES)
    manifest = next((study / "results" / "extractions").glob("last.1of2-*.json"))
    content = manifest.read_bytes()
    manifest.unlink()
    done = snakemake(study)
    assert done.returncode == 0, said(done)
    assert "Extracting features last.1of2" in said(done)
    assert "Fitting linear probes" not in said(done)
    assert "texts/s" not in said(done), "a shard was extracted again"
    assert hashed(study, FEATURES) == features
    listed, before = json.loads(manifest.read_text()), json.loads(content)
    assert [item["shards"] for item in listed["features"]] == [
        item["shards"] for item in before["features"]
    ]


def test_lost_shards_are_missed_and_made_again(
    study: Path, stratascope: Command, hashed: Hashed
) -> None:
    """A probe of features that are gone says what to do; doing it brings back the same bytes."""
    folder = next((study / "results" / "features").glob("talks@last-*"))
    shards = hashed(folder, "*.safetensors", "index.parquet")
    (folder / "features-00001.safetensors").unlink()
    probes = next((study / "results" / "probes").glob("*.json"))
    done = stratascope(study, "probes", probes.relative_to(study))
    assert done.returncode == 1
    assert "extracted once, and gone since, or part of it; delete the manifests" in said(done)
    for number in (1, 2):
        manifest = next((study / "results" / "extractions").glob(f"last.{number}of2-*.json"))
        manifest.unlink()
        again = stratascope(study, "features", manifest.relative_to(study))
        assert again.returncode == 0, said(again)
    assert hashed(folder, "*.safetensors", "index.parquet") == shards
    verified = stratascope(study, "verify")
    assert verified.returncode == 0, said(verified)


def test_a_flipped_bit_is_found(study: Path, stratascope: Command) -> None:
    """verify knows every file of features and of what is computed from them."""
    results = study / "results"
    damaged = [
        next((results / "features").glob("talks@last-*")) / "features-00001.safetensors",
        next((results / "features").glob("plain@last-*")) / "index.parquet",
        next((results / "features").glob("talks.neurons@last-*")) / "neurons-00002.safetensors",
        next((results / "neurons").glob("*.parquet")),
        next((results / "probes").glob("*.parquet")),
        next((results / "similarity").glob("talks-*.json")),
    ]
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    found = stratascope(study, "verify", "--format", "json")
    assert found.returncode == 1
    bad = {r["file"] for r in json.loads(found.stdout)["rows"] if r["state"] == "damaged"}
    assert {path.relative_to(study).as_posix() for path in damaged} == bad


def test_a_bad_row_costs_no_other_dataset(study: Path, snakemake: Command, hashed: Hashed) -> None:
    """The error names dataset, line and reason; other datasets are extracted, and nothing there is lost."""
    kept = hashed(study, FEATURES, *MADE, "results/tables/*.csv", "results/runs/*/*")
    plain = (study / "plain.jsonl").read_text().splitlines()
    (study / "plain.jsonl").write_text("\n".join([*plain[:4], '{"text": 5}', *plain[5:]]) + "\n")
    lines(study / "more.jsonl", [{"text": f"I see {i} dogs."} for i in range(8)])
    config = study / "config" / "config.yaml"
    more = "  more: {data: more.jsonl, layers: [0], similarity: false}\ncapture:"
    config.write_text(config.read_text().replace("capture:", more))
    done = snakemake(study)
    assert done.returncode != 0
    assert "plain@last: 1 bad row: line 5: `text` is a number, not a text" in said(done)
    assert "the others are kept" in said(done)
    assert "Traceback" not in said(done)
    after = hashed(study, FEATURES, *MADE, "results/tables/*.csv", "results/runs/*/*")
    assert {name: after.get(name) for name in kept} == kept
    assert [p.parent.name.split("@")[0] for p in study.glob("results/features/*/run.json")].count(
        "more"
    ) == 1
