"""Reading datasets: every format gives the rows that were written, from any place, in any order."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratascope.errors import StratascopeError
from stratascope.store.datasets import (
    BadRow,
    Row,
    Source,
    jsonfile,
    open_dataset,
    textfile,
)
from stratascope.study.dataset import Dataset

# Any text that UTF-8 can hold and that is not blank; a label must not look like a number.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda t: t.strip())
LABELS = TEXTS.map(lambda text: "label " + text)
Open = Callable[..., Source]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="session")
def opened(folder: Path) -> Open:
    """``opened("name.csv", content, **keys of the dataset)``: the file written and opened."""

    def get(name: str, content: str | bytes, **keys: Any) -> Source:
        raw = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(raw)
        return open_dataset(Dataset(data=name, **keys), folder)

    return get


def rows_of(source: Source) -> list[Row]:
    """All rows, none of which is bad; also read from every place and backwards."""
    rows = list(source.read(0, source.count()))
    assert len(rows) == source.count()
    for start in range(len(rows) - 1, -1, -2):
        part = list(source.read(start, start + 2))
        assert repr(part) == repr(rows[start : start + 2])  # arrays do not compare by ==
    assert not list(source.read(len(rows), len(rows) + 5))
    assert all(isinstance(row, Row) for row in rows), rows
    return rows  # type: ignore[return-value]


def error(opened: Open, name: str, content: str | bytes, **keys: Any) -> str:
    with pytest.raises(StratascopeError) as caught:
        opened(name, content, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@given(
    rows=st.lists(st.tuples(TEXTS, LABELS), min_size=1),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
@settings(max_examples=150, deadline=None)
def test_csv_gives_back_what_was_written(
    opened: Open, rows: list[tuple[str, str]], delimiter: str, end: str, mark: str
) -> None:
    """Delimiters, quotes and line breaks inside fields survive; lines are those of an editor."""
    stream = io.StringIO()
    # Python 3.11 writes a carriage return bare unless it ends the lines; then no reader can tell.
    quoting = (
        csv.QUOTE_ALL
        if end == "\n" and any("\r" in field for row in rows for field in row)
        else csv.QUOTE_MINIMAL
    )
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(["label", "text"])
    lines = []
    for text, label in rows:
        lines.append(stream.getvalue().count("\n") + 1)
        writer.writerow([label, text])
    with mock.patch.object(textfile, "EVERY", 3):
        read = rows_of(opened("any.csv", mark + stream.getvalue(), labels=("label",)))
    assert [(row.text, row.fields["label"]) for row in read] == rows
    assert [row.line for row in read] == lines


VALUES = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), LABELS) | st.floats(
    allow_nan=False, allow_infinity=False
)


@given(
    rows=st.lists(st.tuples(TEXTS, VALUES), min_size=1),
    ascii_only=st.booleans(),
    blank=st.sampled_from(["", "\n", " \r\n"]),
)
@settings(max_examples=100, deadline=None)
def test_json_lines_give_back_what_was_written(
    opened: Open, rows: list[tuple[str, Any]], ascii_only: bool, blank: str
) -> None:
    """Texts and labels come back with their types; blank lines are no rows but count as lines."""
    texts = [
        json.dumps({"text": text, "y": y, "other": [{}]}, ensure_ascii=ascii_only) + "\n"
        for text, y in rows
    ]
    with mock.patch.object(textfile, "EVERY", 2):
        read = rows_of(opened("any.jsonl", blank.join(texts), labels=("y",)))
    assert [(row.text, row.fields["y"]) for row in read] == rows
    assert [type(row.fields["y"]) for row in read] == [type(y) for _, y in rows]
    step = 2 if blank else 1
    assert [row.line for row in read] == [1 + step * i for i in range(len(rows))]


@given(
    rows=st.lists(TEXTS, min_size=1), indent=st.sampled_from([None, 3]), chunk=st.integers(1, 40)
)
@settings(max_examples=100, deadline=None)
def test_a_json_list_is_read_piece_by_piece(
    opened: Open, rows: list[str], indent: int | None, chunk: int
) -> None:
    """One list of objects is read as the same rows, however small the pieces read at a time."""
    content = json.dumps([{"text": text} for text in rows], indent=indent, ensure_ascii=False)
    with mock.patch.object(textfile, "EVERY", 2), mock.patch.object(jsonfile, "CHUNK", chunk):
        read = rows_of(opened("any.json", content + "\n"))
    assert [(row.line, row.text) for row in read] == list(enumerate(rows, start=1))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('[{"text": "a"}, {"text": ', "Expecting value"),
        ('[{"text": "a"} {"text": "b"}]', r"expected , or ], found {"),
        ('[{"text": "a"}] x', "something follows the list"),
        ('[{"text": "a"},]', "Expecting value"),
    ],
)
def test_a_broken_json_list_is_named(opened: Open, content: str, told: str) -> None:
    """Where a list breaks no row can be told from the next: an error with the byte."""
    with pytest.raises(StratascopeError, match="not a list of JSON objects") as caught:
        opened("broken.json", content).count()
    assert told in str(caught.value)


def test_a_json_list_of_something_else(opened: Open) -> None:
    """What is no object is a bad row each, wherever the pieces read end."""
    for chunk in range(1, 9):
        with mock.patch.object(jsonfile, "CHUNK", chunk):
            rows = list(opened("numbers.json", "[12345, 67,\n null]").read(0, 9))
        assert rows == [BadRow(i, "not a JSON object") for i in (1, 2, 3)]


def test_conversations_ids_and_spans(opened: Open) -> None:
    """Messages, token ids and spans are read from JSON Lines, and as JSON inside of a CSV file."""
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "x": 1}]
    for name, content in {
        "a.jsonl": json.dumps({"talk": talk, "ids": [3, 0, 2**40]}),
        "a.csv": f"talk|ids\n{json.dumps(talk)}|[3, 0, {2**40}]\n",
    }.items():
        (row,) = rows_of(opened(name, content, messages="talk"))
        assert [(m.role, m.content) for m in row.messages or ()] == [
            ("user", "Hi"),
            ("assistant", "Ho"),
        ]
        (row,) = rows_of(opened(name, content, input_ids="ids"))
        assert row.ids is not None
        assert row.ids.dtype == np.int64
        assert row.ids.tolist() == [3, 0, 2**40]
    spans = [("un été à Łódź", "été"), ("aaa b", [0, 3]), ("x", "x"), ("xyz", [2, 3])]
    content = "\n".join(json.dumps({"text": text, "part": part}) for text, part in spans)
    marked = [row.span for row in rows_of(opened("s.jsonl", content, span="part"))]
    assert marked == [(3, 6), (0, 3), (0, 1), (2, 3)]
    (row,) = rows_of(opened("s.csv", "text;part\nhello there;[6, 11]\n", span="part"))
    assert row.span == (6, 11)
    talk = {
        "talk": [{"role": "user", "content": "Hi"}],
        "ids": [5, 6, 7],
        "part": "Hi",
        "some": [1, 3],
    }
    (row,) = rows_of(opened("t.jsonl", json.dumps(talk), messages="talk", span="part"))
    assert row.span == "Hi"
    (row,) = rows_of(opened("i.jsonl", json.dumps(talk), input_ids="ids", span="some"))
    assert row.span == (1, 3)


def test_columns_of_numbers_become_numbers(opened: Open) -> None:
    """In a CSV file a label column is integers or decimals if all of it is, and texts otherwise."""
    big = str(10**19 + 1)
    content = (
        "text,i,f,zip,word,mixed,big\n"
        f"a,1,1,007,x,1,1\nb,-20,2.5e3,123,y,two,{big}\nc,3,-0.5,5,z,3,2\n"
    )
    keys = {"labels": ("i", "f", "zip"), "groups": ("word", "mixed", "big")}
    rows = rows_of(opened("n.csv", content, **keys))
    assert [list(row.fields.values()) for row in rows] == [
        [1, 1.0, "007", "x", "1", "1"],
        [-20, 2500.0, "123", "y", "two", big],
        [3, -0.5, "5", "z", "3", "2"],
    ]
    assert [type(value) for value in rows[0].fields.values()] == [int, float, str, str, str, str]


def test_the_delimiter_is_the_one_that_fits(opened: Open) -> None:
    """Most frequent in the header, unless only another one gives the fields; one column needs none."""
    assert rows_of(opened("d.txt", "text;a, b, c\nx, y;z\n", labels=("a, b, c",)))[0].text == "x, y"
    assert rows_of(opened("d.csv", '"a;b;c",text\n1,x;y\n'))[0].text == "x;y"
    one = rows_of(opened("d.tsv", 'text\none, two; three\n"four ""4"""\n'))
    assert [row.text for row in one] == ["one, two; three", 'four "4"']


def test_parquet_row_groups(folder: Path, opened: Open) -> None:
    """Several files follow one another; any range is read; types and nested messages are kept."""
    table = pa.table(
        {
            "text": [f"text {i}" for i in range(23)],
            "y": [i % 3 == 0 for i in range(23)],
            "talk": [[{"role": "user", "content": f"{i}"}] for i in range(23)],
            "ids": [[i, i + 1] for i in range(23)],
        }
    )
    (folder / "many").mkdir()
    pq.write_table(table.slice(10), folder / "many" / "b.parquet", row_group_size=4)
    pq.write_table(table.slice(0, 10), folder / "many" / "a.parquet", row_group_size=7)
    for keys in ({"data": "many/*.parquet"}, {"data": "many", "format": "parquet"}):
        rows = rows_of(open_dataset(Dataset(labels=("y",), **keys), folder))
        assert [(r.line, r.text, r.fields["y"]) for r in rows] == [
            (i + 1, f"text {i}", i % 3 == 0) for i in range(23)
        ]
    source = open_dataset(Dataset(data="many/*.parquet", messages="talk"), folder)
    assert [row.messages[0].content for row in rows_of(source) if row.messages] == [
        f"{i}" for i in range(23)
    ]
    source = open_dataset(Dataset(data="many/a.parquet", input_ids="ids"), folder)
    assert [row.ids.tolist() for row in rows_of(source) if row.ids is not None] == [
        [i, i + 1] for i in range(10)
    ]
    assert "cannot be read as Parquet" in error(opened, "no.parquet", b"PAR1 nothing")


@pytest.mark.parametrize("kind", ["npy", "bin"])
def test_flat_token_files_are_cut(folder: Path, kind: str) -> None:
    """Files in the order of their names, each cut into sequences, with what is left over counted."""
    here = folder / f"flat_{kind}"
    here.mkdir()
    ids = {"b": np.arange(100, 123, dtype="<u4"), "a": np.arange(17, dtype="<u4")}
    for name, array in ids.items():
        np.save(here / name, array) if kind == "npy" else array.tofile(here / f"{name}.bin")
    for data in (here.name, f"{here.name}/*.{kind}"):
        source = open_dataset(Dataset(data=data, sequence=5, token_dtype="uint32"), folder)
        read = np.stack([row.ids for row in rows_of(source)])  # type: ignore[arg-type]
        expected = np.concatenate([ids["a"][:15], ids["b"][:20]]).reshape(-1, 5)
        np.testing.assert_array_equal(read, expected)
        assert source.dropped == 2 + 3  # type: ignore[attr-defined]


def test_token_files_that_do_not_fit(folder: Path, opened: Open) -> None:
    """Rows of a matrix are texts; floats, no length, fields and a negative id are told."""
    np.save(folder / "m.npy", np.array([[1, 2], [3, -4]]))
    good, bad = open_dataset(Dataset(data="m.npy"), folder).read(0, 2)
    assert isinstance(good, Row)
    assert good.ids is not None
    assert good.ids.tolist() == [1, 2]
    assert bad == BadRow(2, "holds -4, which is no token id")
    for keys, told in (
        ({"sequence": 3}, "expected (texts, tokens)"),
        ({"labels": ("y",)}, "labels: token ids come without fields such as `y`"),
    ):
        with pytest.raises(StratascopeError) as caught:
            open_dataset(Dataset(data="m.npy", **keys), folder)
        assert told in str(caught.value)
    np.save(folder / "f.npy", np.zeros((2, 2)))
    with pytest.raises(StratascopeError, match="float64; token ids are integers"):
        open_dataset(Dataset(data="f.npy"), folder)
    assert "say with `sequence`" in error(opened, "x.bin", b"\0" * 10)
    assert "no whole number of uint16" in error(opened, "x.bin", b"\0" * 11, sequence=2)
    assert "holds no text of 6 token ids" in error(opened, "x.bin", b"\0" * 10, sequence=6)
