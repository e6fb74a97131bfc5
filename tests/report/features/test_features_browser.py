"""Datasets, probes and similarity in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

PANEL = "#probes-panel [data-axis={}]"


def scroll_through(watched: Any) -> None:
    page, place = watched.page, 0
    while place < page.evaluate("document.body.scrollHeight"):
        page.evaluate("y => scrollTo({top: y, behavior: 'instant'})", place)
        page.wait_for_timeout(40)
        place += 700


def pick(watched: Any, label: str) -> None:
    watched.page.check(f"{PANEL.format('set')} input[value='{label}']", force=True)


@pytest.fixture(scope="module")
def probes(planted: Any) -> pd.DataFrame:
    return pd.read_csv(planted.root / "tables" / "probes.csv")


@pytest.mark.parametrize(("width", "touch"), [(375, True), (1280, False)])
def test_everything_draws_and_nothing_sticks_out(
    planted_report: Path, watch: Callable[..., Any], width: int, touch: bool
) -> None:
    """On a phone and on a screen each figure draws, without an error, within the width."""
    watched = watch(planted_report, width, 850, has_touch=touch, is_mobile=touch)
    page = watched.page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    scroll_through(watched)
    missing = page.evaluate(
        "[...document.querySelectorAll('#probes .fig, #similarity .fig, #lens .fig, #residual .fig')]"
        ".filter(f => !f.querySelector('.main-svg')).map(f => f.id)"
    )
    assert missing == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#probes img, #probes script, #datasets img, #probes b").count() == 0
    assert watched.troubles == []


def test_the_map_is_the_table(
    probes: pd.DataFrame, planted_report: Path, watch: Callable[..., Any]
) -> None:
    """Label and measure choose what is drawn; colours are anchored at the most frequent class."""
    watched = watch(planted_report)
    drawn = watched.plotted("fig-probes-map")["data"][0]
    assert (drawn["zmin"], drawn["zmax"]) == (0.25, 1)
    rows = probes[(probes["label"] == "emotion") & (probes["measure"] == "accuracy")]
    wanted = rows.pivot(index="checkpoint", columns="layer", values="estimate")
    assert drawn["y"] == ["step-0", "step-500", "step-1000"]
    for name, line in zip(drawn["y"], drawn["z"], strict=True):
        assert line == pytest.approx(list(wanted.loc[name]), abs=6e-5)
    pick(watched, "1")
    watched.page.select_option(PANEL.format("measure"), "brier")
    drawn = watched.plotted("fig-probes-map")["data"][0]
    assert (drawn["zmin"], drawn["zmax"]) == (0, 0.5)
    assert "less is better" in watched.page.inner_text("#probes-facts")
    assert watched.troubles == []


def test_a_measure_that_a_label_lacks_gives_way(
    planted_report: Path, watch: Callable[..., Any]
) -> None:
    """From macro F1 of a class to a number: the choice becomes R squared, and all is drawn."""
    watched = watch(planted_report)
    watched.page.select_option(PANEL.format("measure"), "macro_f1")
    pick(watched, "3")
    assert watched.page.input_value(PANEL.format("measure")) == "r2"
    said = watched.plotted("fig-probes-said")["data"]
    assert len(said[0]["x"]) == 80
    assert "n = 80 texts" in watched.page.inner_text("#probes-facts")
    assert watched.troubles == []


def test_curves_carry_bands_and_baselines(
    planted_report: Path, watch: Callable[..., Any], tmp_path: Path
) -> None:
    """The best layer over checkpoints with its interval, each baseline a line, steps on a true scale."""
    watched = watch(planted_report)
    data = watched.plotted("fig-probes-curve")["data"]
    names = [trace.get("name") for trace in data]
    assert names[1] == "layer 5"
    assert data[0]["fill"] == "toself"
    assert set(names[2:]) == {
        "most frequent class", "95 % of shuffled labels", "words alone", "difference of means",
        "control task",
    }  # fmt: skip
    assert data[1]["x"] == ["step-0", "step-500", "step-1000"]
    watched.page.select_option(PANEL.format("spacing"), "steps")
    assert watched.plotted("fig-probes-curve")["data"][1]["x"] == [0, 500, 1000]
    watched.page.select_option(PANEL.format("layer"), "all")
    lines = [item for item in watched.plotted("fig-probes-curve")["data"] if "fill" not in item]
    assert [line["name"] for line in lines[:6]] == [f"layer {layer}" for layer in range(6)]
    with watched.page.expect_download() as waiting:
        watched.page.click("#fig-probes-layers [data-export=csv]")
    path = tmp_path / "layers.csv"
    waiting.value.save_as(path)
    rows = path.read_text().splitlines()
    assert rows[0] == "series,x,y,value,lower,upper,label"
    assert rows[1].startswith("step-0,0,,0.3,0.26,0.33,")
    assert watched.troubles == []


def test_mistakes_and_transfer_follow_the_label(
    planted_report: Path, watch: Callable[..., Any]
) -> None:
    """Confusions and mistakes are of the chosen checkpoint; a measure without transfer says so."""
    watched = watch(planted_report)
    page = watched.page
    said = watched.plotted("fig-probes-said")["data"][0]
    assert said["x"][0] == "&lt;b&gt;grief&lt;/b&gt;"
    last = page.inner_text("#probes-said-facts")
    page.select_option(PANEL.format("said"), "step-0")
    assert page.inner_text("#probes-said-facts") != last
    assert "Text number" in page.inner_text("#probes-worst tbody tr:first-child")
    between = watched.plotted("fig-probes-transfer")["data"][0]["z"]
    assert between[0][1] == 0.4
    assert between[2][2] == pytest.approx(0.905)
    page.select_option(PANEL.format("transfer"), "layers")
    inside = watched.plotted("fig-probes-transfer")["data"][0]["z"]
    assert inside[0][5] == pytest.approx(0.45)
    page.select_option(PANEL.format("measure"), "brier")
    watched.at("#fig-probes-transfer")
    assert "Not computed" in page.text_content("#fig-probes-transfer .annotation-text")
    pick(watched, "1")
    assert not page.is_visible("#probes-elsewhere")
    assert watched.troubles == []


def test_tokens_are_coloured_and_read_out(planted_report: Path, watch: Callable[..., Any]) -> None:
    """Each token's colour is the chosen class's probability; keys move; markup stays text."""
    watched = watch(planted_report)
    page = watched.page
    watched.at("#probes-tokens")
    texts = page.eval_on_selector_all(
        "#token-text .scored", "nodes => nodes.map(n => n.textContent)"
    )
    assert texts[5] == " <b>glad</b>"
    page.select_option("#probes-tokens [data-axis=class]", "3")
    strength = "i => document.querySelector(`[data-token='${i}']`).style.getPropertyValue('--p')"
    assert page.evaluate(strength, 5) == "0.94"
    page.focus("#token-text")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.inner_text("#token-readout").endswith(
        "token 5: joy 0.94, <b>grief</b> 0.03, calm 0.02, anger 0.01"
    )
    page.hover("[data-token='8']")
    assert "token 8:" in page.inner_text("#token-readout")
    roles = page.eval_on_selector_all(
        "#token-text .badge", "nodes => nodes.map(n => n.textContent)"
    )
    assert roles == ["user", "generated"]
    assert len(watched.plotted("fig-probes-tokens")["data"]) == 3  # a line a checkpoint
    for label in ("1", "2"):  # two classes, then a number
        page.select_option("#probes-tokens [data-axis=set]", label)
        assert page.locator("#token-text .scored").count() == 10
    assert watched.troubles == []


def test_similarity_between_checkpoints(
    planted: Any, planted_report: Path, watch: Callable[..., Any]
) -> None:
    """A pair and a measure choose the map; of a distance the strongest colour is no difference."""
    watched = watch(planted_report)
    page = watched.page
    drawn = watched.plotted("fig-similarity-map")["data"][0]
    assert (drawn["zmin"], drawn["zmax"]) == (0, 1)
    page.select_option("#similarity-panel [data-axis=pair]", label="step-0 \u2192 step-1000")
    page.select_option("#similarity-panel [data-axis=measure]", "angular")
    drawn = watched.plotted("fig-similarity-map")["data"][0]
    assert drawn["z"][2][5] == pytest.approx(0.65)
    assert "n = 80 texts" in page.inner_text("#similarity-facts")
    lines = [t for t in watched.plotted("fig-similarity-drift")["data"] if "fill" not in t]
    assert lines[5]["y"] == pytest.approx([0, 0.3, 0.6])
    page.select_option("#similarity-panel [data-axis=lines]", "checkpoint")
    lines = [t for t in watched.plotted("fig-similarity-drift")["data"] if "fill" not in t]
    assert lines[2]["y"] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert watched.troubles == []


def test_the_toolbox_hides_checkpoints_here_too(
    planted_report: Path, watch: Callable[..., Any]
) -> None:
    """A checkpoint that the toolbox hides leaves maps, curves, pickers and the table of numbers."""
    watched = watch(planted_report)
    page = watched.page
    page.click("#toolbox-button")
    page.uncheck("[data-checkpoint='0']")
    assert watched.plotted("fig-probes-map")["data"][0]["y"] == ["step-500", "step-1000"]
    pairs = page.locator("#similarity-panel [data-axis=pair] option").all_inner_texts()
    assert not any("step-0" in pair.split() for pair in pairs)
    assert page.locator("#probes-numbers + details tbody tr:not([hidden])").count() == 8
    assert watched.troubles == []


def test_token_colours_follow_the_theme(planted_report: Path, watch: Callable[..., Any]) -> None:
    """Class colours are those of the theme, also after it is changed."""
    watched = watch(planted_report, color_scheme="light")
    page = watched.page
    watched.at("#probes-tokens")
    tint = "document.querySelector('#token-legend .chip').style.getPropertyValue('--tint')"
    light = page.evaluate(tint)
    page.click("#theme-button")
    page.click("#theme-button")
    assert page.inner_text("#theme-button") == "Theme: dark"
    assert page.evaluate(tint) != light
