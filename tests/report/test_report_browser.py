"""The report in a real browser: it draws, obeys, and keeps its hands to itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

DRAWN = "document.querySelectorAll('figure.fig[data-drawn] .plot.js-plotly-plot').length"


def scroll_through(watched: Any) -> None:
    """Go down the page as a reader would, until its end stays where it is."""
    page, place = watched.page, 0
    while place < page.evaluate("document.body.scrollHeight"):
        page.evaluate("y => scrollTo({top: y, behavior: 'instant'})", place)
        page.wait_for_timeout(50)
        place += 600


def test_every_figure_draws_and_nothing_goes_wrong(report: Path, watch: Callable[..., Any]) -> None:
    """All figures draw when scrolled to; no error, no dialog, no request but the file."""
    watched = watch(report)
    page = watched.page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    scroll_through(watched)
    figures = page.evaluate("document.querySelectorAll('figure.fig').length")
    missing = page.evaluate(
        "[...document.querySelectorAll('figure.fig')]"
        ".filter(f => !f.querySelector('.main-svg')).map(f => f.id)"
    )
    assert figures > 30
    assert missing == []
    assert watched.troubles == []


def test_figures_wait_until_they_are_near(report: Path, watch: Callable[..., Any]) -> None:
    """At the top of the page the figures far below are not drawn yet."""
    watched = watch(report)
    assert watched.page.evaluate(DRAWN) < 5


@pytest.mark.parametrize(("width", "touch"), [(375, True), (768, True), (1280, False)])
def test_nothing_sticks_out(
    report: Path, watch: Callable[..., Any], width: int, touch: bool
) -> None:
    """No width makes the page scroll sideways, long words and all."""
    watched = watch(report, width, 800, has_touch=touch, is_mobile=touch)
    page = watched.page
    page.evaluate("location.hash = '#run-2'")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    scroll_through(watched)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert watched.troubles == []


def test_hostile_texts_are_shown_as_they_are(
    texts: Any, report: Path, watch: Callable[..., Any]
) -> None:
    """A message made of markup stands in the chat letter by letter, and runs nothing."""
    watched = watch(report)
    page = watched.page
    page.evaluate("location.hash = '#run-2'")
    page.wait_for_function("document.querySelector('#run-title').textContent.startsWith('hostile')")
    words = page.eval_on_selector_all("#run-chat .words", "nodes => nodes.map(n => n.textContent)")
    assert words[0] == texts.hostile
    assert words[1] == texts.long
    assert words[-1] == texts.hostile
    watched.plotted("fig-ref-heat")
    scroll_through(watched)
    legend = page.text_content("#fig-ref-hidden_out .legend")
    assert "<b>grief</b>" in legend
    assert page.locator("main img, main script, main b").count() == 0
    assert watched.troubles == []


def test_a_script_that_slips_in_does_not_run(report: Path, watch: Callable[..., Any]) -> None:
    """Even markup that was not escaped could neither run nor fetch: the policy forbids it."""
    watched = watch(report)
    watched.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">');"
        "const s = document.createElement('script'); s.textContent = 'window.ran = 2';"
        "document.body.append(s)"
    )
    watched.page.wait_for_timeout(100)
    assert watched.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in trouble for trouble in watched.troubles)


def test_the_run_explorer_by_keyboard(report: Path, watch: Callable[..., Any]) -> None:
    """It opens on the last checkpoint; next, previous, search and select change the run."""
    watched = watch(report)
    page = watched.page
    last = page.inner_text("#run-select option:last-child").rsplit("@")[-1]
    assert page.inner_text("#run-title").endswith(f"@{last}")
    page.select_option("#run-select", "0")
    first = watched.plotted("fig-run-cosine")["data"][0]["y"]
    page.focus("#run-next")
    page.keyboard.press("Enter")
    assert page.inner_text("#run-title") == "bad_news@step-0"
    assert watched.plotted("fig-run-cosine")["data"][0]["y"] != first
    page.keyboard.press("k")
    assert page.inner_text("#run-title") == "good_news@step-0"
    page.fill("#run-search", "one_line@step-500")
    assert page.inner_text("#run-title") == "one_line@step-500"
    assert "No text was generated." in page.inner_text("#run-chat")
    page.fill("#run-search", "no such run")
    assert page.is_visible("#run-empty")
    assert watched.troubles == []


def test_the_step_slider(report: Path, watch: Callable[..., Any]) -> None:
    """Arrow keys on the slider move through the steps and name each step's tokens."""
    watched = watch(report)
    page = watched.page
    page.select_option("#run-select", "0")
    watched.at("#run-steps")
    assert page.inner_text("#step-label") == "Step 0 of 7"
    page.focus("#step-slider")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#step-label") == "Step 1 of 7"
    assert "\u2423sun" in page.inner_text("#step-top tbody tr:first-child")
    assert page.get_attribute("#step-tokens button:nth-child(2)", "aria-pressed") == "true"


def test_the_pair_explorer(results: Any, report: Path, watch: Callable[..., Any]) -> None:
    """Two chosen runs give the curves of comparison_cosines.csv."""
    import pandas as pd

    watched = watch(report)
    watched.at("#pairs-explorer")
    watched.page.select_option("#pair-a", "5")
    watched.page.select_option("#pair-b", "1")
    table = pd.read_csv(results.root / "tables" / "comparison_cosines.csv")
    labels = {"bad_news@step-0", "bad_news@step-500"}
    rows = table[
        table["run_a"].isin(labels)
        & table["run_b"].isin(labels)
        & (table["state"] == "final")
        & (table["source"] == "hidden_in")
    ]
    drawn = watched.plotted("fig-pair-cosine")["data"][0]["y"]
    assert drawn == pytest.approx(list(rows["cosine"]), rel=6e-4)
    watched.page.click("#pair-swap")
    assert watched.plotted("fig-pair-cosine")["data"][0]["y"] == drawn
    assert watched.troubles == []


def test_the_toolbox_acts_on_figures_and_tables(report: Path, watch: Callable[..., Any]) -> None:
    """Hide, show only, highlight, rename and reset reach heatmaps, lines, tables and lists."""
    watched = watch(report)
    page = watched.page
    page.click("#toolbox-button")
    page.fill("#rule-hide", "one_line")
    page.keyboard.press("Enter")
    assert page.inner_text("#toolbox-status") == "9 of 12 runs shown."
    rows = watched.plotted("fig-within-layers")["data"][0]["y"]
    assert len(rows) == 9
    assert not any("one_line" in row for row in rows)
    matrix = watched.plotted("fig-pairs-matrix")["data"][0]
    assert len(matrix["z"]) == len(matrix["z"][0]) == 9
    assert page.locator("#summary tbody tr:visible").count() == 9
    assert page.locator("#run-select option").count() == 9
    lines = watched.plotted("fig-checkpoints-within")["data"]
    assert [line["name"] for line in lines].count("one_line") == 0

    page.fill("#rule-highlight", "^bad_.*1000$")
    page.check("[data-rule=highlight] [name=regex]")
    page.press("#rule-highlight", "Enter")
    ticks = watched.plotted("fig-within-layers")["layout"]["yaxis"]["ticktext"]
    assert [tick for tick in ticks if tick.startswith("<b>")] == [
        '<b><span style="color:#d55e00">bad_news@step-1000</span></b>'
    ]
    assert page.locator("#summary tr.marked").count() == 1

    page.fill("#rule-rename", "good_news")
    page.fill("#rule-rename-to", "<i>glad</i>")
    page.press("#rule-rename-to", "Enter")
    assert "<i>glad</i>@step-0" in page.inner_text("#summary tbody")
    named = watched.plotted("fig-within-layers")["data"][0]["y"]
    assert named[0] == "&lt;i&gt;glad&lt;/i&gt;@step-0"

    page.uncheck("[data-checkpoint='0']")
    assert page.inner_text("#toolbox-status") == "6 of 12 runs shown."
    page.click("#toolbox-reset")
    assert page.inner_text("#toolbox-status") == "All 12 runs shown."
    assert page.locator("#summary tbody tr:visible").count() == 12
    assert watched.troubles == []


def test_a_wrong_expression_is_told_not_thrown(report: Path, watch: Callable[..., Any]) -> None:
    """A regular expression with an open bracket is refused in words, and hides nothing."""
    watched = watch(report)
    page = watched.page
    page.click("#toolbox-button")
    page.fill("#rule-hide", "one(")
    page.check("[data-rule=hide] [name=regex]")
    page.press("#rule-hide", "Enter")
    assert "not a regular expression" in page.inner_text("[data-rule=hide] .error")
    assert page.locator("#summary tbody tr:visible").count() == 12
    assert watched.troubles == []


def test_tables_sort(report: Path, watch: Callable[..., Any]) -> None:
    """A column's head sorts by number, turns round at the second press, and tells a screen reader."""
    watched = watch(report)
    page = watched.page
    head = page.locator("#summary th", has_text="Prompt tokens")
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    column = "rows => rows.map(r => Number(r.cells[3].dataset.value))"
    found = page.eval_on_selector_all("#summary tbody tr", column)
    assert found == sorted(found)
    head.locator("button").press("Enter")
    found = page.eval_on_selector_all("#summary tbody tr", column)
    assert found == sorted(found, reverse=True)


def test_switches_change_a_figure(report: Path, watch: Callable[..., Any]) -> None:
    """A figure's switches are radio buttons that the arrow keys move."""
    watched = watch(report)
    page = watched.page
    before = watched.plotted("fig-within-layers")["data"][0]
    page.focus("#fig-within-layers [data-axis=measure] input:checked")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    after = watched.plotted("fig-within-layers")["data"][0]
    assert page.input_value("#fig-within-layers [data-axis=measure] input:checked") == "MAE"
    assert after["z"] != before["z"]
    assert after["colorscale"] != before["colorscale"]


def test_figures_export(report: Path, watch: Callable[..., Any], tmp_path: Path) -> None:
    """Each figure saves as PNG, as SVG and as numbers; a text that looks like a formula is quoted."""
    watched = watch(report)
    page = watched.page
    watched.plotted("fig-references-roles")
    starts = {"png": b"\x89PNG", "svg": b"<svg", "csv": b"series,x,y"}
    for kind, start in starts.items():
        with page.expect_download() as waiting:
            page.click(f"#fig-references-roles [data-export={kind}]")
        path = tmp_path / f"figure.{kind}"
        waiting.value.save_as(path)
        assert waiting.value.suggested_filename == f"references-roles_step-1000_centred.{kind}"
        assert path.read_bytes().startswith(start)
    rows = (tmp_path / "figure.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * 3
    assert rows[1].endswith(",joy")
    assert watched.troubles == []


def test_light_and_dark(report: Path, watch: Callable[..., Any]) -> None:
    """The page follows the system until its button is pressed; figures change with it."""
    watched = watch(report, color_scheme="dark")
    page = watched.page
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    dark_ink = watched.plotted("fig-run-cosine")["layout"]["font"]["color"]
    page.click("#theme-button")
    assert page.inner_text("#theme-button") == "Theme: light"
    light = page.evaluate(background)
    light_ink = watched.plotted("fig-run-cosine")["layout"]["font"]["color"]
    assert sum(_rgb(dark)) < 120
    assert sum(_rgb(light)) > 700
    assert dark_ink != light_ink
    page.click("#theme-button")
    assert page.inner_text("#theme-button") == "Theme: dark"
    assert page.evaluate(background) == dark


def test_it_prints(report: Path, watch: Callable[..., Any], tmp_path: Path) -> None:
    """Printing draws every figure first, in light colours even on a dark screen."""
    watched = watch(report, color_scheme="dark")
    page = watched.page
    document = page.pdf(format="A4", print_background=True)
    assert document.startswith(b"%PDF")
    assert len(document) > 200_000
    figures = page.evaluate("document.querySelectorAll('figure.fig').length")
    assert page.evaluate(DRAWN) == figures
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.is_visible("#nav")
    assert watched.troubles == []


def test_everything_has_a_name(report: Path, watch: Callable[..., Any]) -> None:
    """Every control and every figure has an accessible name, every id is there once."""
    watched = watch(report)
    page = watched.page
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, select, input:not([type=hidden]), .plot')]
        .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() ||
                       (e.labels && [...e.labels].some(l => l.textContent.trim()))))
        .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    ids = page.eval_on_selector_all("[id]", "nodes => nodes.map(n => n.id)")
    own = [
        name for name in ids if not name.startswith(("clip", "topdefs", "defs", "legend", "grad"))
    ]
    assert len(own) == len(set(own))
    levels = page.eval_on_selector_all(
        "h1, h2, h3, h4, h5", "nodes => nodes.map(n => +n.tagName[1])"
    )
    assert levels[0] in (1, 2)
    assert levels.count(1) == 1


def test_the_first_tab_skips_the_contents(report: Path, watch: Callable[..., Any]) -> None:
    """The first thing that the keyboard reaches is a link to the summary, which becomes visible."""
    watched = watch(report)
    page = watched.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0


def test_contents_open_on_a_phone(report: Path, watch: Callable[..., Any]) -> None:
    """On a phone the contents are behind a button, and close once a place is chosen."""
    watched = watch(report, 375, 800, has_touch=True, is_mobile=True)
    page = watched.page
    assert not page.is_visible("#nav")
    page.tap("#nav-button")
    assert page.is_visible("#nav")
    page.tap("#nav a[href='#methods']")
    assert not page.is_visible("#nav")
    page.tap("#toolbox-button")
    assert page.is_visible("#toolbox")
    page.keyboard.press("Escape")
    assert not page.is_visible("#toolbox")


def test_small_studies_draw_too(
    texts: Any, make: Callable[..., Any], watch: Callable[..., Any], tmp_path: Path
) -> None:
    """One run without references draws everything that it has, without an error."""
    one = {"one": texts.conversations["one_line"]}
    watched = watch(make(tmp_path, 1, one, ()).build())
    scroll_through(watched)
    assert watched.page.evaluate(DRAWN) >= 5
    assert watched.troubles == []


def _rgb(colour: str) -> list[int]:
    return [int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
