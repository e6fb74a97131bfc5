"""What follows from datasets in the plan: which digests change when what changes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stratascope.errors import StratascopeError
from stratascope.measure.similarity import SIMILARITIES
from stratascope.study.dataset import SIMILARITY_MEASURES
from stratascope.study.plan import Plan

Planner = Callable[[], Plan]
Names = dict[str, set[str]]
DATASETS = """\
datasets:
  talks:
    data: talks.jsonl
    labels: [mood, coin]
    groups: [pair]
    probes: {bootstrap: 100, transfer: [checkpoints]}
  tokens:
    data: tokens.jsonl
    position: all
    checkpoints: [late]
"""


@pytest.fixture
def config(study: Path) -> Path:
    """The config of a study with two datasets."""
    path = study / "config" / "config.yaml"
    path.write_text(path.read_text() + DATASETS)
    (study / "talks.jsonl").write_text("talks")
    (study / "tokens.jsonl").write_text("tokens")
    return path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def names(plan: Plan) -> Names:
    return {
        "features": {item.folder for item in plan.feature_sets},
        "extractions": {job.name for job in plan.features},
        "probes": {job.name for job in plan.probes},
        "transfer": {job.name for job in plan.transfers},
        "similarity": {job.name for job in plan.similarities},
        "tables": {plan.tables_digest},
        "report": {plan.report_digest},
    }


def changed(before: Names, after: Names) -> set[str]:
    return {kind for kind in before if before[kind] != after[kind]}


FOLLOW = {"tables", "report"}
ANALYSES = {"probes", "transfer", "similarity"}
EVERYTHING = {"features", "extractions"} | ANALYSES | FOLLOW


def test_what_a_study_computes_from_its_datasets(config: Path, plan: Planner) -> None:
    """Probes for each checkpoint, transfer and similarity for each dataset; token rows have none of them."""
    made = plan()
    assert [item.label for item in made.feature_sets] == [
        "talks@early",
        "talks@late",
        "tokens@late",
    ]
    assert [job.features.label for job in made.probes] == ["talks@early", "talks@late"]
    assert [(job.dataset, len(job.sets)) for job in made.transfers] == [("talks", 2)]
    assert [[item.label for item in job.sets] for job in made.similarities] == [
        ["talks@early", "talks@late"]
    ]
    (extraction,) = made.probes[1].after
    assert [part.features.label for part in extraction.parts] == ["talks@late", "tokens@late"]
    assert made.similarities[0].after == made.features


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("bootstrap: 100", "bootstrap: 100, permutations: 30", {"probes", "transfer"} | FOLLOW),
        ("transfer: [checkpoints]", "transfer: [checkpoints, layers]", {"transfer"} | FOLLOW),
        (", transfer: [checkpoints]", "", {"transfer"} | FOLLOW),
        ("groups: [pair]\n", "groups: [pair]\n    similarity: {seed: 1}\n", {"similarity"} | FOLLOW),
        ("groups: [pair]\n", "groups: [pair]\n    similarity: false\n", {"similarity"} | FOLLOW),
        ("transfer: [checkpoints]", "labels: [mood], transfer: [checkpoints]",
         {"probes", "transfer"} | FOLLOW),
        ("groups: [pair]\n", "groups: [pair]\n    jobs: 2\n", {"extractions"}),
        ("groups: [pair]\n", "groups: [pair]\n    shard_texts: 7\n", EVERYTHING),
        ("labels: [mood, coin]", "labels: [mood, coin, tense]", EVERYTHING),
        ("data: talks.jsonl", "data: ./talks.jsonl", set()),
        ("groups: [pair]\n", "groups: [pair]\n    layers: all\n", set()),
        ("position: all", "position: span\n    span: part", {"features", "extractions", "report"}),
    ],
)  # fmt: skip
def test_what_changes_what(
    config: Path, plan: Planner, old: str, new: str, expected: set[str]
) -> None:
    """A setting renews what it determines and what follows, and nothing before it."""
    before = names(plan())
    edit(config, old, new)
    assert changed(before, names(plan())) == expected


def test_a_changed_text_renews_its_dataset_alone(study: Path, config: Path, plan: Planner) -> None:
    """Other texts renew that dataset's features and what follows; the other's stay, and so do runs."""
    before = plan()
    (study / "tokens.jsonl").write_text("other tokens")
    after = plan()
    assert changed(names(before), names(after)) == {"features", "extractions", "report"}
    assert [item.folder for item in after.runs] == [item.folder for item in before.runs]
    kept = names(before)["features"] & names(after)["features"]
    assert {name.split("@")[0] for name in kept} == {"talks"}


def test_new_weights_renew_what_is_computed_from_them(
    study: Path, config: Path, plan: Planner
) -> None:
    """Probes of one checkpoint stay when another gets new weights; what compares both does not."""
    before = names(plan())
    (study / "models" / "late" / "weights").write_text("later")
    after = names(plan())
    assert {name.split("-")[0] for name in before["probes"] & after["probes"]} == {"talks@early"}
    assert not before["similarity"] & after["similarity"]
    assert not before["transfer"] & after["transfer"]


def test_jobs_share_the_shards(config: Path, plan: Planner) -> None:
    """With two jobs probes wait for both; the features that they fill are the same."""
    one = plan()
    edit(config, "groups: [pair]\n", "groups: [pair]\n    jobs: 2\n")
    two = plan()
    assert two.feature_sets[0].digest == one.feature_sets[0].digest
    assert [len(job.after) for job in two.probes] == [2, 2]
    late = [job for job in two.features if job.checkpoint.name == "late"]
    assert [[(p.features.name, p.number, p.of) for p in job.parts] for job in late] == [
        [("talks", 1, 2), ("tokens", 1, 1)],
        [("talks", 2, 2)],
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("checkpoints: [late]", "checkpoints: [lat]", "no checkpoint 'lat'; did you mean 'late'?"),
        ("checkpoints: [late]", "checkpoints: [late, late]", "checkpoints: late stands twice"),
        ("checkpoints: [late]", "checkpoints: []", "at least 1 item"),
        ("bootstrap: 100", "labels: [moods]", "probes.labels: no label 'moods'; did you mean 'mood'?"),
        ("groups: [pair]", "groups: [pair, pair]", "groups: pair stands twice"),
        ("position: all", "position: all\n    probes: {transfer: [layers]}", "a row a token"),
        ("position: all", "similarity: {measures: [linear_cak]}", "did you mean linear_cka?"),
        ("position: all", "similarity: {measures: [xyz]}", "known: linear_cka_debiased, linear_cka,"),
        ("bootstrap: 100", "folds: 2", "talks.probes.folds: input should be greater than or equal to 3"),
        ("bootstrap: 100", "fold: 5", "talks.probes.fold: unknown key; did you mean `folds`?"),
        ("position: all", "probes: true", "tokens.probes: should be a mapping, or `false`"),
        ("position: all", "similarity: 3", "tokens.similarity: should be a mapping, or `false`"),
    ],
)  # fmt: skip
def test_slips_are_named(config: Path, plan: Planner, old: str, new: str, message: str) -> None:
    """One line says which key of which dataset is wrong, and what would be right."""
    edit(config, old, new)
    with pytest.raises(StratascopeError) as caught:
        plan()
    assert message in str(caught.value)
    assert str(caught.value).startswith("config/config.yaml: ")
    assert "\n" not in str(caught.value)


def test_the_study_knows_every_measure() -> None:
    """The names that a config may list are those of the table of measures, in its order."""
    assert tuple(SIMILARITIES) == SIMILARITY_MEASURES


def test_probes_go_to_datasets_with_the_same_label(config: Path, plan: Planner) -> None:
    """`transfer: [datasets]` takes the others that have the label, and waits for their features."""
    text = config.read_text().replace("[checkpoints]", "[datasets]")
    config.write_text(text)
    with pytest.raises(StratascopeError, match=r"datasets.talks.probes.transfer: no other dataset"):
        _ = plan().transfers
    config.write_text(text + "  letters: {data: tokens.jsonl, labels: [coin], probes: false}\n")
    (job,) = plan().transfers
    assert [(item.name, item.checkpoint.name) for item in job.others] == [("letters", "late")]
    assert {part.features.name for made in job.after for part in made.parts} >= {"talks", "letters"}
