"""The report's file: its bytes, what it refers to, what it says, what it leaves out."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stratascope.errors import StratascopeError
from stratascope.report.build import FILE_BUDGET
from stratascope.report.findings import findings
from stratascope.report.inputs import read_inputs
from stratascope.report.payload import numbers, significant
from stratascope.report.text import interval, joined, number, plot_text


def payload(html: str) -> dict[str, Any]:
    found = re.search(r'id="packed-data">([^<]*)<', html)
    assert found
    loaded: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return loaded


def outside(html: str) -> str:
    """The page without its packed parts and its script."""
    return re.sub(r"<script[^>]*>.*?</script>", "", html, flags=re.S)


def test_same_inputs_same_bytes(results: Any, report: Path, tmp_path: Path) -> None:
    """A report made twice from the same inputs is the same file."""
    again = results.build(tmp_path / "again.html")
    assert again.read_bytes() == report.read_bytes()


def test_no_clock_and_no_machine(report: Path) -> None:
    """What run.json says of when and where does not reach the report."""
    html = report.read_text(encoding="utf-8")
    assert "2001-02-03" not in html
    assert "created_at" not in json.dumps(payload(html))


def test_refers_to_nothing_outside(report: Path) -> None:
    """No element of the page has an address outside the page."""
    html = outside(report.read_text(encoding="utf-8"))
    addresses = re.findall(r'\b(?:src|href|action|data|poster|srcset)="([^"]*)"', html)
    assert addresses
    assert {address for address in addresses if not address.startswith("#")} == {"data:,"}
    assert "@import" not in html
    assert "url(" not in html


def test_policy_allows_only_the_embedded_scripts(report: Path) -> None:
    """The content policy forbids fetching and names the hashes of the two scripts that may run."""
    html = report.read_text(encoding="utf-8")
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1])  # type: ignore[index]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    own = re.findall(r"<script>(.*?)</script>", html, flags=re.S)
    packed = re.search(r'id="packed-plotly">([^<]*)<', html)[1]  # type: ignore[index]
    for script in (own[0].encode(), gzip.decompress(base64.b64decode(packed))):
        digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_hostile_texts_are_escaped(texts: Any, report: Path) -> None:
    """A text that looks like markup is text in the page and data in the payload."""
    html = report.read_text(encoding="utf-8")
    assert "<script>alert(" not in html
    assert "<img src=x" not in html
    assert len(re.findall(r"</script>", html)) == len(re.findall(r"<script[ >]", html)) == 3
    strings = payload(html)["strings"]
    assert texts.hostile in strings
    assert texts.long in strings


def test_hostile_labels_are_escaped_for_plotly(report: Path) -> None:
    """A reference called <b>grief</b> is spelled out in every figure's names."""
    figures = json.dumps(payload(report.read_text(encoding="utf-8"))["figures"])
    assert "&lt;b&gt;grief&lt;/b&gt;" in figures
    assert "<b>grief" not in figures


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("<a href='x'>&amp;", "&lt;a href='x'&gt;&amp;amp;"),
        ("two\nlines", "two lines"),
        ("%{y}", "%\u200b{y}"),
    ],
)
def test_plot_text(raw: str, shown: str) -> None:
    """Plotly's markup, line ends and templates lose their meaning."""
    assert plot_text(raw) == shown


def test_significant_digits() -> None:
    """Numbers are shortened alike one by one and in arrays, and gaps become null."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.standard_normal(500) * 10.0 ** rng.integers(-7, 7, 500), [0, 1]])
    for value, short in zip(values, numbers(values), strict=True):
        assert short == significant(float(value))
        assert short == pytest.approx(value, rel=5.1e-4)
        assert len(repr(float(short)).replace("-", "")) <= 11
    assert numbers(np.array([[np.nan, 0.5], [np.inf, 1.0]])) == [[None, 0.5], [None, 1.0]]


def test_numbers_as_words() -> None:
    """Numbers have real minus signs, gaps an en dash, small ones a digit that is not 0."""
    assert number(-0.12345) == "\u22120.123"
    assert number(None) == "\u2013"
    assert number(float("nan")) == "\u2013"
    assert number(-0.00041) == "\u22120.0004"
    assert interval(-0.1, 0.2, 1) == "\u22120.1 to 0.2"
    assert joined(["a"]) == "a"
    assert joined(["a", "b", "c"]) == "a, b and c"


def test_payload_has_the_tables_numbers(results: Any, report: Path) -> None:
    """The numbers behind the heatmaps are those of intra_run_cosines.csv."""
    data = payload(report.read_text(encoding="utf-8"))
    table = pd.read_csv(results.root / "tables" / "intra_run_cosines.csv")
    labels = [run["label"] for run in data["runs"]]
    for row in table.iloc[::7].itertuples():
        kept = data["arrays"][f"intra/cosine/{row.source}"][labels.index(row.run)]
        assert kept[data["layers"].index(row.layer)] == pytest.approx(row.cosine, rel=6e-4)


def test_payload_has_the_snapshots_numbers(results: Any, report: Path) -> None:
    """The cosines behind the messages' layer curves are those of snapshot_reference.csv."""
    data = payload(report.read_text(encoding="utf-8"))
    table = pd.read_csv(results.root / "tables" / "snapshot_reference.csv")
    runs = {run["label"]: run["references"] for run in data["runs"]}
    for row in table.iloc[::101].itertuples():
        found = runs[row.run]
        place = (
            data["positions"].index(row.position),
            data["sources"].index(row.source),
            found["messages"].index(row.message),
            found["names"].index(row.reference),
            data["layers"].index(row.layer),
        )
        kept = np.array(found["layers"]["cosine"], dtype=float)[place] / 10_000
        assert kept == pytest.approx(row.cosine, abs=5.1e-5)


def test_a_whole_study_weighs_less_than_5_mb(make: Callable[..., Any], tmp_path: Path) -> None:
    """Four checkpoints of eleven scenarios, ten messages each, stay below 5 MB."""
    rng = np.random.default_rng(1)
    words = [f"word{i}" for i in range(2000)]
    conversations = {
        f"scenario_{i:02d}": tuple(
            (("user", "assistant")[j % 2], " ".join(rng.choice(words, 20))) for j in range(10)
        )
        for i in range(11)
    }
    built = make(tmp_path, 4, conversations, ("joy", "grief", "calm", "anger", "fear"), 6)
    out = built.build()
    assert out.stat().st_size < 5_000_000


def test_what_does_not_fit_is_left_out_and_named(
    results: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With less room the report leaves out detail, and says which table holds it."""
    monkeypatch.setattr("stratascope.report.build.FILE_BUDGET", FILE_BUDGET // 100)
    html = results.build(tmp_path / "small.html").read_text(encoding="utf-8")
    assert "snapshot_reference.csv holds them" in outside(html)
    runs = payload(html)["runs"]
    assert all(run["references"]["layers"] == {} for run in runs)
    assert all(run["references"]["mean"]["cosine"] for run in runs)


def test_a_single_run_has_no_section_between_runs(
    texts: Any, make: Callable[..., Any], tmp_path: Path
) -> None:
    """With one run there is no pair and no checkpoint to compare: the sections are not there."""
    one = {"one": texts.conversations["good_news"]}
    html = make(tmp_path, 1, one).build().read_text(encoding="utf-8")
    assert 'id="within"' in html
    assert 'id="pairs"' not in html
    assert 'href="#pairs"' not in html
    assert 'id="checkpoints"' not in html


def test_without_references_their_sections_are_hidden(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    """A study without references has no section, block or finding about them."""
    html = make(tmp_path, 2, references=()).build().read_text(encoding="utf-8")
    assert 'id="pairs"' in html
    assert 'id="references"' not in html
    assert 'id="run-references"' not in html
    assert "Where references come apart" not in html


def test_the_best_layer_is_found(results: Any) -> None:
    """The references of the made study pull on layer 3, and the summary says so."""
    found = {finding.title: finding for finding in findings(_data(results))}
    apart = found["Where references come apart"]
    assert "Layer 3 of step-1000" in apart.words
    assert apart.clear
    assert "13 distinct messages from 4 conversations" in apart.sure


def test_an_interval_that_covers_zero_is_no_difference(results: Any, tmp_path: Path) -> None:
    """Whatever the estimate, a difference whose interval covers 0 is called not clear."""
    metrics = json.loads((results.root / "metrics.json").read_text())
    last = metrics["checkpoints"]["step-1000"]
    for item in last["user_minus_assistant"].values():
        item |= {"difference": 0.9, "lower": -0.01, "upper": 1.0}
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(metrics))
    found = {item.title: item for item in findings(_data(results, path))}["User and assistant"]
    assert not found.clear
    assert found.words.startswith("No clear difference between user and assistant messages")
    assert "resemble" not in found.words


def test_a_layer_below_its_null_is_not_called_clear(results: Any, tmp_path: Path) -> None:
    """The best layer's spread counts only when its interval lies above the null."""
    metrics = json.loads((results.root / "metrics.json").read_text())
    best = metrics["checkpoints"]["step-1000"]["best_discriminating_layer"]
    best["null"] = (best["lower"] + best["value"]) / 2
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(metrics))
    found = {item.title: item for item in findings(_data(results, path))}
    assert not found["Where references come apart"].clear
    assert found["Where references come apart"].words.startswith("No layer of step-1000 clearly")


def test_a_missing_run_is_named(results: Any, tmp_path: Path) -> None:
    """A run folder that is gone is an error with its path, and no file is left behind."""
    copy = type(results)(tmp_path, results.study, results.states)
    for name in ("tables", "runs"):
        shutil.copytree(results.root / name, tmp_path / name)
    shutil.copy(results.root / "metrics.json", tmp_path / "metrics.json")
    gone = next((tmp_path / "runs").iterdir())
    shutil.rmtree(gone)
    with pytest.raises(StratascopeError, match=re.escape(gone.name)):
        copy.build()
    assert not list(tmp_path.glob("*.html"))


def _data(results: Any, metrics: Path | None = None) -> Any:
    root = results.root
    return read_inputs(
        results.study,
        root / "tables",
        results.states,
        root / "runs",
        metrics or root / "metrics.json",
    )


def test_a_large_study_shows_some_runs_and_counts_all(
    texts: Any, make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many runs some scenarios are shown, on every checkpoint; statistics are over all of them."""
    monkeypatch.setattr("stratascope.report.shown.MOST_RUNS", 6)
    monkeypatch.setattr("stratascope.study.pairs.MOST_PAIRS", 8)
    conversations = {f"talk_{i}": texts.conversations["good_news"] for i in range(9)}
    built = make(tmp_path, 2, conversations, layers=2)
    html = built.build().read_text(encoding="utf-8")
    runs = payload(html)["runs"]
    labels = [f"{name}@step-{step}" for step in (0, 500) for name in ("talk_0", "talk_3", "talk_6")]
    assert [run["label"] for run in runs] == labels
    assert all(run["steps"]["token"] and run["references"] for run in runs)
    assert "Of 18 runs this file shows 6 one by one" in html
    counts = json.loads((tmp_path / "metrics.json").read_text())["counts"]
    assert counts["pairs"] + counts["pairs_left_out"] == 18 * 17 // 2
    assert f"compared for {counts['pairs']} pairs" in html
    assert f"{counts['pairs_left_out']} further pairs were not compared" in html
    assert "stratascope page SCENARIO" in html
    within = html.split('id="within-overview"')[1].split("</table>")[0]
    assert 'data-value="18"' in html.split('id="within"')[1].split('id="pairs"')[0]
    assert "talk_1@" not in within


def test_a_page_shows_the_scenarios_named(
    texts: Any, make: Callable[..., Any], tmp_path: Path
) -> None:
    """A page has all detail of the scenarios named and of no other; sums are those of the report."""
    conversations = {f"talk_{i}": texts.conversations["good_news"] for i in range(3)}
    built = make(tmp_path, 2, conversations, layers=2)
    whole = payload(built.build().read_text(encoding="utf-8"))
    html = built.build(tmp_path / "page.html", chosen=["talk_1"]).read_text(encoding="utf-8")
    page = payload(html)
    assert [run["label"] for run in page["runs"]] == ["talk_1@step-0", "talk_1@step-500"]
    assert "Of 6 runs this file shows 2 one by one." in html
    # What is over all runs is what the report says; figures with a line a run have fewer.
    for name in ("fig-checkpoints-drift", "fig-references-layers", "fig-checkpoints-roles"):
        assert page["figures"][name] == whole["figures"][name]
    assert page["figures"]["fig-within-layers"] != whole["figures"]["fig-within-layers"]
    with pytest.raises(StratascopeError, match=r"talk_9: no scenario .* did you mean talk_"):
        built.build(tmp_path / "page.html", chosen=["talk_9"])
