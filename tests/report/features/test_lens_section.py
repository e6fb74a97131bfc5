"""Logit lens and residual stream in the report: the tables' numbers, bounded, and safe to show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stratascope.report.payload import packed_json
from stratascope.report.sections import lens, residual
from stratascope.report.tables import TABLES


@pytest.fixture(scope="module")
def data(planted: Any) -> Any:
    return planted.read()


def test_planted_tables_are_those_of_the_tables_stage(data: Any) -> None:
    """The rows that these tests make have exactly the columns that a study's tables have."""
    for name in ("logit_lens", "residual"):
        assert tuple(data.table(name).columns) == TABLES[name].columns


def test_the_grid_is_the_table(data: Any) -> None:
    """Layers by tokens, each cell the table's row; texts are places in one list of words."""
    content = lens.build(data)
    assert content is not None
    grid, words = content.arrays["lens"]["grids"][1], content.arrays["lens"]["words"]
    assert (grid["run"], grid["checkpoint"]) == ("good_news", "step-500")
    assert grid["rank"].tolist() == [[11] * 3, [9] * 3, [7] * 3, [1] * 3, [1] * 3, [1] * 3]
    assert grid["kl"][0].tolist() == [2.0] * 3
    assert [words[place] for place in grid["top"][4][0]] == [" yes", " no", " <b>so</b>"]
    assert [column[:2] for column in grid["columns"]] == [[0, 7], [1, 8], [2, 9]]
    assert words[grid["columns"][2][3]] == ""
    settled = [
        (item["checkpoint"], item["layer"], item["n"]) for item in content.context["settled"]
    ]
    assert settled == [("step-0", None, 3), ("step-500", 3, 3), ("step-1000", 3, 3)]


def test_contributions_are_the_tables(data: Any) -> None:
    """Tokens by layers, heads below; parts of the whole once a token."""
    content = residual.build(data)
    assert content is not None
    talk = content.arrays["residual"][0]
    assert talk["attn_logit"][2].tolist() == pytest.approx([0.1 * layer for layer in range(6)])
    assert talk["heads"][0][4] == pytest.approx([0.2, 0.2])
    total = talk["attn_logit"].sum(1) + talk["mlp_logit"].sum(1) + talk["embedding_logit"]
    total += talk["norm_bias_logit"] + talk["unembed_bias_logit"] + talk["rest_logit"]
    assert total == pytest.approx(talk["logit"])


def test_a_large_study_stays_within_the_page(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound later tokens are left out, then conversations; how many is said."""
    monkeypatch.setattr(lens, "MOST_CELLS", 36)
    monkeypatch.setattr(residual, "MOST_NUMBERS", 500)
    for module, name in ((lens, "lens"), (residual, "residual")):
        content = module.build(data)
        assert content is not None
        held = content.arrays[name]["grids"] if name == "lens" else content.arrays[name]
        assert sum(len(item["columns"]) for item in held) == 9 - content.context["tokens_left_out"]
        assert content.context["tokens_left_out"] > 0
    monkeypatch.setattr(lens, "MOST_CELLS", 7)
    content = lens.build(data)
    assert content is not None
    assert len(content.arrays["lens"]["grids"]) == 1


def test_the_bounds_keep_the_file_small(data: Any) -> None:
    """As many cells and numbers as the page takes, all different, weigh less than 100 KB packed."""
    rng = np.random.default_rng(0)
    shape = (30, lens.MOST_CELLS // 30)
    numbers = {name: rng.normal(0, 5, shape) for name in lens.NUMBERS}
    top = rng.integers(0, 800, (*shape, lens.TOP)).tolist()
    words = [f" word{i}" for i in range(800)]
    chances = rng.normal(0, 5, (*shape, lens.TOP))
    grid = {**numbers, "top": top, "top_logprobs": chances, "words": words}
    assert len(packed_json(grid)) < 100_000
    assert len(packed_json({"all": rng.normal(0, 5, residual.MOST_NUMBERS)})) < 100_000


def test_nothing_asked_nothing_shown(data: Any) -> None:
    """Without these tables there are no sections."""
    empty = {name: data.table(name).iloc[:0] for name in ("logit_lens", "residual")}
    without = replace(data, tables={**data.tables, **empty})
    assert lens.build(without) is None
    assert residual.build(without) is None


def test_a_model_without_contributions_shows_sizes(data: Any) -> None:
    """Where no sum holds, contributions and heads are left out, sizes and cosines stay."""
    table = data.table("residual").copy()
    table[["attn_logit", "mlp_logit", *residual.WHOLE]] = np.nan
    table["head_logits"] = ""
    content = residual.build(replace(data, tables={**data.tables, "residual": table}))
    assert content is not None
    assert not content.context["with_logits"]
    assert not content.context["with_heads"]
    assert content.parts == (("residual-sizes", "Sizes and directions"),)


@pytest.mark.slow
def test_the_grid_in_a_browser(planted_report: Path, watch: Callable[..., Any]) -> None:
    """On a phone the grid scrolls in its own box; touching a cell reads it out; texts stay texts."""
    watched = watch(planted_report, 390, 850, has_touch=True, is_mobile=True)
    page = watched.page
    watched.at("#lens-box")
    assert page.locator("#lens-box tbody tr").count() == 7
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.getElementById('lens-box').scrollWidth") > 390
    page.locator("[data-cell='4,1']").evaluate("node => node.click()")
    said = page.inner_text("#lens-readout")
    assert "Layer 4 at token 8" in said
    assert "60.7 %" in said
    assert "is number 1 here" in said
    page.keyboard.press("Tab")
    page.focus("#lens-box")
    page.keyboard.press("ArrowUp")
    assert "Layer 3 at token 8" in page.inner_text("#lens-readout")
    page.select_option("#lens-panel [data-axis=from]", "2")
    assert page.locator("#lens-box thead th").count() == 2
    page.select_option("#lens-panel [data-axis=colour]", "rank")
    assert "last layer's token" in page.inner_text("#lens-legend")
    assert page.locator("#lens img, #lens script, #lens b, #residual b").count() == 0
    drawn = watched.plotted("fig-lens-curves")["data"]
    assert [line["name"] for line in drawn] == ["step-0", "step-500", "step-1000"]
    assert watched.troubles == []


@pytest.mark.slow
def test_contributions_in_a_browser(planted_report: Path, watch: Callable[..., Any]) -> None:
    """Bars are the contributions of the token chosen, and of what belongs to no layer; heads a map."""
    watched = watch(planted_report)
    bars = watched.plotted("fig-residual-logit")["data"]
    assert bars[0]["y"] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert dict(zip(bars[2]["x"], bars[2]["y"], strict=True)) == {
        "embedding": 0.25,
        "head's bias": -0.5,
    }
    heads = watched.plotted("fig-residual-heads")["data"][0]
    assert heads["z"][4] == pytest.approx([0.2, 0.2])
    watched.page.select_option("#residual-panel [data-axis=token]", "all")
    assert "mean over 3" in watched.page.inner_text("#residual-facts")
    assert len(watched.plotted("fig-residual-sizes")["data"]) == 4
    assert watched.troubles == []
