"""What the report says of probes is what was planted, and no more."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stratascope.measure.probes.scores import MEASURES
from stratascope.report.inputs import read_table
from stratascope.report.payload import packed_json
from stratascope.report.probing import LOSSES, best_rows, main_rows, since
from stratascope.report.readings import Conversation, Reading, readings_of
from stratascope.report.sections.axes import training_steps
from stratascope.report.sections.probe_tokens import left_out, token_labels, token_views
from stratascope.report.sections.probe_words import label_findings
from stratascope.report.sections.probes import build as probes_section
from stratascope.report.sections.probes import timelines
from stratascope.report.sections.summary import build as summary
from stratascope.report.text import MEASURE_NAMES


def payload(html: str) -> dict[str, Any]:
    found = re.search(r'id="packed-data">([^<]*)<', html)
    assert found
    loaded: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return loaded


@pytest.fixture(scope="module")
def probes(planted: Any) -> pd.DataFrame:
    return read_table(planted.root / "tables" / "probes.csv")


@pytest.fixture(scope="module")
def data(planted: Any) -> Any:
    return planted.read()


def test_the_best_layer_is_told_with_interval_and_baselines(probes: pd.DataFrame) -> None:
    """The planted emotion is found at layer 5, with n, interval, every baseline, and the first checkpoint."""
    found = {item.title: item for item in label_findings(probes)}
    emotion = found["feelings: emotion"]
    assert emotion.clear
    assert emotion.words == (
        "Emotion is decodable at layer 5 of step-1000: accuracy 0.91 (0.86 to 0.94, n = 80 texts in 50 "
        "groups). At step-0: 0.30 (0.27 to 0.33; layer 5), no better than shuffled labels (0.30) and "
        "the words alone (0.60)."
    )
    for part in ("Majority 0.25", "words alone 0.60", "control task 0.27", "The best of 6"):
        assert part in emotion.sure


def test_what_the_words_give_away_is_not_called_the_models(probes: pd.DataFrame) -> None:
    """A label above chance but not above a bag of words is not clear, and the words say why."""
    tense = {item.title: item for item in label_findings(probes)}["feelings: tense"]
    assert not tense.clear
    assert "no better than from the words alone (0.85)" in tense.words


def test_a_coin_is_not_decodable(probes: pd.DataFrame) -> None:
    """A label that the features do not hold is said not to be there, whatever its best layer."""
    coin = {item.title: item for item in label_findings(probes)}["feelings: coin"]
    assert not coin.clear
    assert coin.words.startswith("Coin is not decodable on step-1000: even at layer 5, the best")


def test_a_quantity_is_judged_by_r_squared(probes: pd.DataFrame) -> None:
    """Of a number there is no accuracy and no most frequent class."""
    warmth = {item.title: item for item in label_findings(probes)}["feelings: warmth"]
    assert warmth.clear
    assert "R² 1.00 (0.96 to 1.03" in warmth.words
    assert "majority" not in warmth.sure.casefold()


def test_one_checkpoint_one_layer_and_no_interval(probes: pd.DataFrame) -> None:
    """With one checkpoint nothing is said of a first; without an interval nothing is called decodable."""
    rows = probes[(probes["checkpoint"] == "step-1000") & (probes["layer"] == 5)]
    rows = rows.assign(lower=float("nan"), upper=float("nan"), p=float("nan"))
    emotion = label_findings(rows)[0]
    assert not emotion.clear
    assert "(no interval, n = 80 texts in 50 groups)" in emotion.words
    assert "At step" not in emotion.words
    assert "The best of" not in emotion.sure


def test_since_when_is_the_first_checkpoint_above_every_baseline(probes: pd.DataFrame) -> None:
    """Emotion since step-500 at layers 2 and up; tense above chance only, as the words do better."""
    table = {row["label"]: row for row in timelines(probes)[0]["rows"]}
    emotion = table["emotion"]["since"]
    assert [layer for layer, found in emotion.items() if found] == [2, 3, 4, 5]
    assert emotion[2] == {"checkpoint": "step-500", "always": True, "early": pytest.approx(2 / 3)}
    assert table["tense"]["since"][2] == {"checkpoint": "step-500", "always": True, "early": None}
    assert not any(table["coin"]["since"].values())
    assert table["tense"]["bar"] == pytest.approx(0.85)


def test_a_label_that_is_lost_again_is_marked(probes: pd.DataFrame) -> None:
    """Decodable at one checkpoint and not at a later one is not 'since'."""
    rows = main_rows(probes)
    rows = rows[(rows["label"] == "emotion") & (rows["layer"] == 3)].reset_index(drop=True)
    rows.loc[2, "decodable"] = False
    found = since(rows, list(rows["checkpoint"]))
    assert found is not None
    assert (found.checkpoint, found.always) == ("step-500", False)


def test_layers_are_drawn_from_the_table(planted: Any, planted_report: Path) -> None:
    """The cubes behind the figures are probes.csv, checkpoint by layer."""
    sets = payload(planted_report.read_text(encoding="utf-8"))["arrays"]["probes"]["sets"]
    table = pd.read_csv(planted.root / "tables" / "probes.csv")
    by_label = {item["label"]: item for item in sets}
    for row in table.iloc[::17].itertuples():
        found = by_label[row.label]
        cubes = next(m for m in found["measures"] if m["name"] == row.measure)["sites"][
            "hidden_out"
        ]
        place = found["checkpoints"].index(row.checkpoint)
        assert cubes["estimate"][place][row.layer] == pytest.approx(row.estimate, abs=6e-5)
        assert cubes["lower"][place][row.layer] == pytest.approx(row.lower, abs=6e-5)


def test_mistakes_carry_their_texts_once(planted: Any, planted_report: Path) -> None:
    """The surest mistakes of a checkpoint come with the dataset's texts, each text stored once."""
    found = payload(planted_report.read_text(encoding="utf-8"))["arrays"]["mistakes"]
    table = pd.read_csv(planted.root / "tables" / "probe_predictions.csv")
    rows = table[(table["label"] == "emotion") & (table["checkpoint"] == "step-0")]
    wrong = rows[rows["truth"] != rows["predicted"]]
    shown = next(item for item in found["sets"] if item["label"] == "emotion")["found"]["step-0"]
    assert shown["wrong"] == len(wrong)
    assert sum(map(sum, shown["counts"])) == len(rows)
    surest = wrong.sort_values("probability", ascending=False).iloc[0]
    line, place, truth, predicted, _ = shown["worst"][0]
    assert (line, truth, predicted) == (surest["line"], surest["truth"], surest["predicted"])
    assert f"Text number {line}." in found["texts"][place]
    assert len(set(found["texts"])) == len(found["texts"])


def test_one_of_two_classes_says_both() -> None:
    """The index has the second class of two; the conversation gets both, and its scenario's name."""
    talk = {"run": "a@b@step-1", "tokens": ["x"], "prompt": 1, "messages": [], "values": [[0.25]]}
    index = {
        "dataset": "d", "checkpoint": "step-1",
        "tokens": {"mood": {"site": "hidden_out", "layer": 2, "classes": ["bad", "good"],
                            "conversations": [talk]}},
    }  # fmt: skip
    (found,) = readings_of(index)
    assert found.conversations[0].values.tolist() == [[0.75], [0.25]]
    assert found.conversations[0].name == "a@b"
    assert list(readings_of({"dataset": "d", "checkpoint": "c", "tokens": {}})) == []


def test_tokens_where_a_probe_was_fitted_are_known(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a conversation so far ends as all texts of the dataset do, the probe is on known ground."""
    assert data.features[0].ending == "\nI feel it."
    tokens = ["Hi", ".\nI", " feel it", ".", " I feel it."]
    talk = Conversation("a", tokens, 5, [], np.zeros((1, 5)))
    reading = Reading("feelings", "step-0", "warmth", "hidden_out", 5, (), (talk,))
    only = replace(data, readings=(reading,))
    (found,) = token_views(only)["labels"]
    assert found["found"]["step-0"]["talks"][0]["fitted"] == [3]


def test_labels_of_tokens_stand_as_in_the_table(data: Any) -> None:
    """Readings come sorted by name; their labels stand as the probes' do, checkpoints as in the study."""
    only = replace(data, readings=tuple(reversed(data.readings)))
    assert [words for _, words in token_labels(only)] == ["emotion", "tense", "warmth"]
    assert [words for _, words in token_labels(data)] == ["emotion", "tense", "warmth"]
    assert token_views(data)["labels"][0]["checkpoints"] == ["step-0", "step-500", "step-1000"]


def test_conversations_that_do_not_fit_are_counted(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each label keeps at least one conversation, and the section knows how many it left out."""
    assert left_out(data) == 0
    monkeypatch.setattr("stratascope.report.sections.probe_tokens.MOST_NUMBERS", 10)
    assert left_out(data) == 1
    views = token_views(data)["labels"]
    assert {len(item["found"]["step-0"]["talks"]) for item in views} == {1}


def test_the_measures_that_decide_stay(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too many numbers the figures keep accuracy and R squared, and the section says so."""
    monkeypatch.setattr("stratascope.report.sections.probes.MOST_NUMBERS", 10)
    content = probes_section(data)
    assert content is not None
    assert content.context["left_out"]
    names = [[m["name"] for m in item["measures"]] for item in content.arrays["probes"]["sets"]]
    assert names == [["accuracy"], ["accuracy"], ["accuracy"], ["r2"]]


def test_the_summary_says_what_is_decodable(data: Any) -> None:
    """The summary has a sentence for the dataset and one for its drift."""
    found = {item.title: item for item in summary(data).context["findings"]}
    decoded = found["Decodable in feelings"]
    assert decoded.words.startswith(
        "Emotion (0.91, layer 5) and warmth (1.00, layer 5) can be decoded"
    )
    assert "tense no better than from the words alone; coin not at all" in decoded.words
    drift = found["Drift of feelings"]
    assert "changed most at layer 5 (0.40) and least at layer 0 (0.90)" in drift.words
    assert drift.clear


def test_hostile_texts_and_labels_are_escaped(planted_report: Path) -> None:
    """Markup in a dataset's texts, classes, tokens and reasons is text in the page."""
    html = planted_report.read_text(encoding="utf-8")
    outside = re.sub(r"<script[^>]*>.*?</script>", "", html, flags=re.S)
    assert "<script>alert(" not in html
    assert "<b>grief" not in outside
    assert "<img src=x" not in outside
    assert "&lt;b&gt;grief&lt;/b&gt; 20" in outside


def test_a_study_without_datasets_has_none_of_the_sections(report: Path) -> None:
    """No section, no definition, no file of data for what was not done."""
    html = report.read_text(encoding="utf-8")
    for name in ("datasets", "probes", "similarity"):
        assert f'id="{name}"' not in html
    assert "Control task, selectivity" not in html
    assert "probes" not in payload(html)["arrays"]


def test_without_predictions_tokens_and_transfer(planted: Any, tmp_path: Path) -> None:
    """Probes alone are shown alone: no block waits for tables that are not there."""
    copy = type(planted)(planted.results, tmp_path)
    shutil.copytree(planted.root / "tables", tmp_path / "tables")
    for name in ("probe_predictions", "probe_transfer", "similarity", "drift"):
        path = tmp_path / "tables" / f"{name}.csv"
        path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    html = copy.build().read_text(encoding="utf-8")
    assert 'id="probes-panel"' in html
    for name in ("probes-said", "fig-probes-transfer", "probes-tokens", "similarity", "datasets"):
        assert f'id="{name}"' not in html


def test_same_inputs_same_bytes(planted: Any, planted_report: Path, tmp_path: Path) -> None:
    """Datasets, probes and similarity included, a report made twice is the same file."""
    assert planted.build(tmp_path / "again.html").read_bytes() == planted_report.read_bytes()


def test_words_and_directions_follow_the_measures() -> None:
    """Every measure of a probe has a name for readers, and the losses are those that it calls so."""
    assert set(MEASURES) <= set(MEASURE_NAMES)
    assert {name for name, item in MEASURES.items() if not item.higher_is_better} == LOSSES


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["step-0", "step-80", "step-400"], [0, 80, 400]),
        (["step-0", "step-400", "step-80"], None),
        (["step-0", "step-80"], None),
        (["base", "tuned", "step-3"], None),
    ],
)
def test_training_steps(names: list[str], steps: list[int] | None) -> None:
    """Checkpoints are drawn at their steps only if each names one, in rising order, and they are three."""
    assert training_steps(names) == steps


def test_ties_go_to_the_first_layer(probes: pd.DataFrame) -> None:
    """Of equally good layers the lowest is named."""
    rows = main_rows(probes.assign(estimate=0.5))
    assert set(best_rows(rows)["layer"]) == {0}


def test_a_large_study_stays_small(data: Any, probes: pd.DataFrame) -> None:
    """Ten checkpoints, 32 layers, 8 labels and 5 measures of random numbers weigh less than 400 kB."""
    rng = np.random.default_rng(0)
    levels = {
        "checkpoint": [f"step-{1000 * i}" for i in range(10)],
        "label": [f"label {i}" for i in range(8)],
        "layer": range(32),
        "measure": ["accuracy", "macro_f1", "auroc", "brier", "calibration_error"],
    }
    rows = pd.MultiIndex.from_product(levels.values(), names=list(levels)).to_frame(index=False)
    rows = rows.assign(dataset="large", site="hidden_out")
    for name in probes.columns.difference(rows.columns):
        rows[name] = rng.random(len(rows))
    study = replace(data, tables={**data.tables, "probes": rows})
    content = probes_section(study)
    assert content is not None
    assert not content.context["left_out"]
    assert len(packed_json(content.arrays["probes"])) < 400_000


def test_other_datasets_are_a_table_of_their_own(data: Any) -> None:
    """What a probe gets right on another dataset is told, and is no cell of the other figure."""
    content = probes_section(data)
    assert content is not None
    (row,) = content.context["datasets"]
    assert (row["dataset_to"], row["estimate"], row["n"]) == ("<letters>", 0.61, 40)
    layers = content.arrays["probes"]["sets"][0]["transfer"]["layers"]["layers"]
    assert layers == sorted(layers)
