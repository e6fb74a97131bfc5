"""The report's page of neurons: a planted one and one of noise, among texts that want to be markup."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stratascope.report.build import build_report
from stratascope.report.inputs import read_inputs
from stratascope.report.neurons import NeuronIndex
from stratascope.report.sections.neurons import build

HOSTILE = "</script><img src=x onerror=alert(2)> <b>%{x}</b>"
TOKENS = ["I", " am", " happy", HOSTILE, "."]
WIDTH = 4
ENDS = [-4.0, -2.0, -1.0, 0.0, 0.0, 1.0, 2.0, 4.0]


def example(rank: int, value: float, values: list[float] | None) -> dict[str, Any]:
    at = 2 if values else 3
    more = {"values": values} if values else {}
    return {
        "rank": rank, "value": value, "line": 10 + rank, "position": at, "token": TOKENS[at],
        "tokens": TOKENS, "at": at, **more,
    }  # fmt: skip


def index(checkpoint: str) -> dict[str, Any]:
    """Two layers of four neurons, two of each shown in full."""
    shown = [
        {
            "layer": layer, "neuron": neuron,
            "histogram": {"first": 1, "counts": [5, 20, 40, 30, 5]},
            "aurocs": [0.97, 0.4], "neighbours": [[3, 0.5]],
            "top": [example(r, 4.0 - r, [-1.0, 0.5, 4.0 - r, 0.1, -3.0]) for r in (1, 2)],
            "bottom": [example(r, -4.0 + r, None) for r in (1, 2)],
        }
        for layer in (0, 3)
        for neuron in (2, 1)
    ]  # fmt: skip
    return {
        "dataset": "feelings", "checkpoint": checkpoint, "digest": "0123456789ab",
        "neurons": "x", "site": "mlp_act", "pool": "mean", "texts": 80, "tokens": 100,
        "groups": 50, "widths": [[0, WIDTH], [3, WIDTH]], "permutations": 100, "tests": 16,
        "largest_95": 3.1, "discoveries": {"emotion": 3, "coin": 0},
        "contrasts": [["emotion", HOSTILE], ["coin", "tails"]],
        "bounds": [ENDS[:4] + ENDS[4:7], ENDS[1:4] + ENDS[4:]],
        "shown": shown,
    }  # fmt: skip


def rows(checkpoint: str) -> list[dict[str, Any]]:
    found = []
    for layer in (0, 3):
        for neuron in range(WIDTH):
            sure = neuron == 2
            found.append(
                {
                    "dataset": "feelings", "checkpoint": checkpoint, "site": "mlp_act",
                    "layer": layer, "neuron": neuron, "count": 100, "mean": 0.1, "std": 1.0,
                    "min": -3.0, "max": 3.5, "q01": -2, "q05": -1, "q25": 0, "median": 0.05,
                    "q75": 0.5, "q95": 2, "q99": 3, "firing_rate": 0.75, "kurtosis": 4.5,
                    "skewness": 0.2, "dead": int(neuron == 3), "silent": 0,
                    "property": "emotion" if sure else "coin",
                    "class": HOSTILE if sure else "tails", "auroc": 0.97 if sure else 0.6,
                    "correlation": 0.8, "mutual_information": 0.4, "z": 8.0 if sure else 1.5,
                    "p": 1e-12 if sure else 0.13, "q": 1e-10 if sure else 0.4,
                    "p_max": 0.0099 if sure else 0.8, "n": 80, "neighbour": 3,
                    "neighbour_correlation": 0.5,
                }
            )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def made(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a report is made from: the planted study, with neurons of its last checkpoint."""
    root = tmp_path_factory.mktemp("neurons")
    (root / "tables").mkdir()
    for path in (planted.root / "tables").glob("*.csv"):
        (root / "tables" / path.name).write_bytes(path.read_bytes())
    checkpoint = planted.results.study["checkpoints"][-1]
    pd.DataFrame(rows(checkpoint)).to_csv(root / "tables" / "neurons.csv", index=False)
    found = root / "feelings.json"
    found.write_text(json.dumps(index(checkpoint)), encoding="utf-8")
    results = planted.results
    return {
        "study": results.study,
        "tables": root / "tables",
        "states": results.states,
        "runs": results.root / "runs",
        "metrics": results.root / "metrics.json",
        "neurons": [found],
    }


@pytest.fixture(scope="module")
def neuron_report(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("neuron_report") / "report.html"
    build_report(out=out, **made)
    return out


def test_the_section_says_what_was_found_and_what_not(made: dict[str, Any]) -> None:
    """Discoveries by label, dead neurons, the null; the surest neuron leads the table."""
    content = build(read_inputs(**made))
    assert content is not None
    (finding,) = content.context["findings"]
    assert "emotion (3)" in finding.words
    assert "On coin, none does." in finding.words
    assert "2 never above 0" in finding.sure
    assert "2 neurons lie beyond the best of all neurons in 95 % of 100 shuffles" in finding.sure
    assert finding.clear
    first = content.context["rows"][0]
    assert (first["layer"], first["neuron"], first["property"]) == (0, 2, "emotion")
    assert build(read_inputs(**{**made, "neurons": []})) is None


def test_the_histogram_spreads_buckets_evenly() -> None:
    """All tokens are in it; a bucket that is twice as wide as a bar gives each of two bars half."""
    content = index("x")
    found = NeuronIndex(content).density(content["shown"][0], -2.0, 4.0, 6)
    # -2 to -1: 5, -1 to 0: 20, zero: 40, 0 to 1: 30, 1 to 2: 5.
    np.testing.assert_allclose(found, [5, 20, 70, 5, 0, 0])


def test_nothing_hostile_reaches_the_markup(neuron_report: Path) -> None:
    """A token or class that is markup stands in the page escaped, or inside the packed data."""
    html = neuron_report.read_text(encoding="utf-8")
    assert "<img src=x onerror" not in html
    assert "&lt;img src=x onerror" in html


@pytest.mark.slow
@pytest.mark.parametrize(("width", "touch"), [(390, True), (1280, False)])
def test_neurons_in_a_browser(
    neuron_report: Path, watch: Callable[..., Any], width: int, touch: bool
) -> None:
    """Search, buttons and texts work; the caveat comes where the null is as good; nothing sticks out."""
    watched = watch(neuron_report, width, 850, has_touch=touch, is_mobile=touch)
    page = watched.page
    watched.at("#fig-neurons-spread")
    watched.at("#fig-neurons-classes")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.inner_text("#neuron-facts").startswith(
        "Layer 0, neuron 2 (mlp_act): above 0 at 75.0 %"
    )
    assert "No more than chance" not in page.inner_text("#neuron-caveat")
    tokens = page.locator("#neuron-top li").first.locator(".scored")
    assert tokens.all_inner_texts()[2].strip() == "happy"
    assert "peak" in str(tokens.nth(2).get_attribute("class"))
    assert page.locator("#neurons img, #neurons script, #neurons .words b").count() == 0
    page.fill("#neuron-search", "3:1")
    page.press("#neuron-search", "Enter")
    assert page.inner_text("#neuron-facts").startswith("Layer 3, neuron 1")
    assert page.inner_text("#neuron-caveat").startswith("No more than chance")
    page.fill("#neuron-search", "3:0")
    page.press("#neuron-search", "Enter")
    assert "--neuron 3:0" in page.inner_text("#neuron-facts")
    page.locator("[data-neuron='0/0:2']").click()
    assert page.inner_text("#neuron-facts").startswith("Layer 0, neuron 2")
    drawn = watched.plotted("fig-neurons-spread")["data"][0]
    assert len(drawn["x"]) == 48
    assert watched.troubles == []
