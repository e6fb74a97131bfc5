"""The forms of a difference: text, CSV, JSON, Markdown and a page."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stratascope.compare.diff import diff
from stratascope.compare.markdown import cell, code


@pytest.fixture
def sides(made: Any, hostile: str, tmp_path: Path) -> tuple[str, str, Path]:
    """A study, and the same with a hostile text, other versions and moved numbers."""
    made.write(tmp_path / "a")
    made.but(
        texts={"news": hostile, "loss": made.texts["loss"]},
        answers={"news": hostile},
        torch=hostile,
        shifts={"news@early": 0.25, "loss@late": -0.5},
    ).write(tmp_path / "b")
    return str(tmp_path / "a"), str(tmp_path / "b"), tmp_path


def test_text_sends_no_control_characters(sides: tuple[str, str, Path]) -> None:
    """A study's texts cannot recolour, clear or reorder a terminal."""
    text = diff(*sides, top=1000)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "in all 2 changed runs: prompt.messages[1].content:" in text
    assert "WARNING: environments differ: torch:" in text
    assert "-2.50x" in text  # -0.5 against an interval of -0.2 to 0.2


def test_the_list_is_limited_and_says_so(sides: tuple[str, str, Path]) -> None:
    """--top N shows N rows and counts the rest; the same total whatever N."""
    totals = set()
    for top in (1, 3):
        text = diff(*sides, top=top)
        found = re.search(r"\((\d+) more rows with (\d+) numbers left out; --top\)", text)
        assert found
        totals.add(int(found[1]) + top)
    assert len(totals) == 1


def test_csv_and_json_hold_every_number(sides: tuple[str, str, Path]) -> None:
    """Both hold the same rows; each number that moved has its table, key, measure and change."""
    parsed = json.loads(diff(*sides, form="json"))["rows"]
    lines = list(csv.DictReader(io.StringIO(diff(*sides, form="csv"))))
    assert [row["kind"] for row in lines] == [row["kind"] for row in parsed]
    assert not [row for row in parsed if row["kind"] == "left_out"]
    moved = [row for row in parsed if row["kind"] == "measure"]
    shifts = {round(row["change"], 6) for row in moved if row["table"] == "intra_run_report"}
    assert shifts == {0.25, -0.5}
    limited = json.loads(diff(*sides, form="json", top=2))["rows"]
    assert len([row for row in limited if row["kind"] == "measure"]) == 2
    (left,) = [row for row in limited if row["kind"] == "left_out"]
    kinds = {"measure", "secondary", "layer", "count"}
    assert left["count"] + 2 == len([row for row in parsed if row["kind"] in kinds])


def test_markdown_keeps_hostile_texts_in_code_spans(sides: tuple[str, str, Path]) -> None:
    """Rendered as GitHub does it: no link, no HTML, one table with the cells that it should have."""
    markdown_it = pytest.importorskip("markdown_it")
    text = diff(*sides, form="markdown")
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(text)
    inner = [child for token in tokens for child in token.children or []]
    assert {child.type for child in inner} <= {
        "text", "code_inline", "strong_open", "strong_close", "softbreak",
    }  # fmt: skip
    assert not [token for token in tokens if token.type == "html_block"]
    shown = [child.content for child in inner if child.type == "text"]
    assert not [words for words in shown if "@" in words or "evil" in words]
    assert [child for child in inner if child.type == "code_inline" and "evil" in child.content]
    assert len([token for token in tokens if token.type == "table_open"]) == 1
    assert len([token for token in tokens if token.type == "tr_open"]) == 11
    assert len([token for token in tokens if token.type == "td_open"]) == 60


@pytest.mark.parametrize("text", ["a|b", "`", "``x`", "\\|", " ", "", "a\nb|c", "x\\"])
def test_a_cell_stays_one_cell(text: str) -> None:
    """Whatever the text, a Markdown table's row has its three cells, the middle one a code span."""
    markdown_it = pytest.importorskip("markdown_it")
    table = f"| a | b | c |\n|---|---|---|\n| 1 | {cell(text)} | 3 |\n"
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(table)
    cells = [t.children for t in tokens if t.type == "inline"][3:]
    assert [cells[0][0].content, cells[2][0].content, len(cells)] == ["1", "3", 3]
    assert [child.type for child in cells[1]] == ["code_inline"]
    outside = markdown_it.MarkdownIt("commonmark").parse(code(text))[1].children
    assert [child.type for child in outside] == ["code_inline"]


class _Page(HTMLParser):
    """Every tag and every attribute that could load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.risky: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            outside = name in ("src", "href", "action") and not (value or "").startswith("#")
            if (outside and value != "data:,") or name.startswith("on"):
                self.risky.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_stands_alone_and_runs_nothing(sides: tuple[str, str, Path], hostile: str) -> None:
    """No script, no reference to elsewhere; hostile texts are text; the same bytes again."""
    paths = [sides[2] / "one.html", sides[2] / "two.html"]
    for path in paths:
        diff(*sides, html=path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    html = paths[0].read_text()
    page = _Page()
    page.feed(html)
    assert "script" not in page.tags
    assert page.risky == []
    assert not re.search(r"url\(|@import", html)
    assert "default-src 'none'" in html
    shown = " ".join(page.words)
    assert "</script><b>x|y</b>" in shown
    assert "Environments differ" in shown
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_the_page_draws_the_largest_change_longest(sides: tuple[str, str, Path]) -> None:
    """The first bar spans its half of the column, and bars go left for what fell."""
    path = sides[2] / "page.html"
    diff(*sides, html=path)
    table = path.read_text().split("What moved, largest first")[1].split("</table>")[0]
    widths = [float(w) for w in re.findall(r"width: ([\d.]+)%", table)]
    assert widths[0] == 50
    assert widths[0] == max(widths)
    rows = table.split("<tr>")[2:]
    assert all(
        ('class="down"' in row) == (re.search(r'num">-', row.split("</th>")[1]) is not None)
        for row in rows
    )


def test_equal_sides_say_so_in_every_form(made: Any, tmp_path: Path) -> None:
    """Nothing moved, with the count, as text, Markdown and page."""
    made.write(tmp_path)
    page = tmp_path / "page.html"
    sides = (str(tmp_path), str(tmp_path), tmp_path)
    sentence = re.search(r"Nothing moved: all [\d,]+ numbers are equal", diff(*sides, html=page))
    assert sentence
    assert sentence[0] in diff(*sides, form="markdown")
    assert sentence[0] in page.read_text()
