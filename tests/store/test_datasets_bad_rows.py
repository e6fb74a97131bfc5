"""Rows that cannot be read are told with their line; files that cannot be read are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stratascope.errors import StratascopeError
from stratascope.store.datasets import BadRow, Row, open_dataset
from stratascope.study.dataset import Dataset

GOOD = {
    "text": "a text",
    "y": "label",
    "g": 1,
    "talk": [{"role": "user", "content": "Hi"}],
    "ids": [1, 2],
    "part": "text",
    "quote": "Hi",
    "pair": [0, 1],
}
TEXT = {"labels": ("y",), "groups": ("g",)}
SPAN = {"span": "part"}
TALK = {"messages": "talk"}
IDS = {"input_ids": "ids"}
QUOTE = TALK | {"span": "quote"}
PAIR = IDS | {"span": "pair"}
# What is asked for, what the row changes (... takes the field away), and what is told.
BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (TEXT, {"text": ...}, "`text` is missing"),
    (TEXT, {"text": None}, "`text` is null"),
    (TEXT, {"text": ""}, "`text` is empty"),
    (TEXT, {"text": " \n\t\u3000"}, "`text` is empty"),
    (TEXT, {"text": 5}, "`text` is a number, not a text"),
    (TEXT, {"text": "half a pair: \ud83d"}, "`text` is not valid UTF-8"),
    (TEXT, {"y": ...}, "`y` is absent"),
    (TEXT, {"y": None}, "`y` is absent"),
    (TEXT, {"y": " "}, "`y` is absent"),
    (TEXT, {"y": float("nan")}, "`y` is absent"),
    (TEXT, {"y": float("inf")}, "`y` is infinite"),
    (TEXT, {"y": 2**63}, "`y` does not fit into 64 bits"),
    (TEXT, {"y": "\ud83d"}, "`y` is not valid UTF-8"),
    (TEXT, {"g": ["a"]}, "`g` is a list; a label is a text, number or boolean"),
    (SPAN, {"part": "b"}, "`part` does not occur in the text"),
    (SPAN, {"part": ""}, "`part` does not occur in the text"),
    (SPAN, {"text": "aXaXa", "part": "aXa"}, "`part` occurs more than once in the text"),
    (SPAN, {"part": [2, 7]}, "`part` is [2, 7], but there are 6 characters"),
    (SPAN, {"part": [3, 3]}, "`part` is [3, 3]"),
    (SPAN, {"part": [-1, 3]}, "`part` is [-1, 3]"),
    (SPAN, {"part": [True, 3]}, "neither a part of the text nor [start, end]"),
    (SPAN, {"part": {"start": 0}}, "neither a part of the text nor [start, end]"),
    (SPAN, {"part": ...}, "`part` is missing"),
    (QUOTE, {"quote": "Ho"}, "`quote` does not occur in the messages; it has to, once"),
    (QUOTE, {"quote": ""}, "`quote` does not occur in the messages"),
    (QUOTE, {"talk": 2 * GOOD["talk"]}, "`quote` occurs more than once in the messages"),
    (QUOTE, {"quote": [0, 1]}, "`quote` is a list, not a text"),
    (PAIR, {"pair": [1, 3]}, "`pair` is [1, 3], but there are 2 tokens"),
    (PAIR, {"pair": "1"}, "`pair` is not [start, end]"),
    (TALK, {"talk": []}, "`talk` is not a list of messages"),
    (TALK, {"talk": "Hi"}, "`talk` is not a list of messages"),
    (TALK, {"talk": [{"role": "user"}]}, "`talk[0]` is not a message"),
    (TALK, {"talk": [*GOOD["talk"], {"role": "tool", "content": ""}]}, "`talk[1]` has the role 'tool'"),
    (TALK, {"talk": [{"role": "user", "content": None}]}, "`talk[0].content` is a NoneType"),
    (TALK, {"talk": [{"role": ["user"], "content": "Hi"}]}, "`talk[0]` has the role ['user']"),
    (TALK, {"talk": [{"role": "user", "content": " "}]}, "`talk` is empty"),
    (IDS, {"ids": []}, "`ids` is empty"),
    (IDS, {"ids": [1, 2.0]}, "`ids` holds what is no integer"),
    (IDS, {"ids": [1, True]}, "`ids` holds what is no integer"),
    (IDS, {"ids": [1, -2]}, "`ids` holds -2..1: no token ids"),
    (IDS, {"ids": [2**63]}, "no token ids"),
    (IDS, {"ids": "one two"}, "`ids` is a text, not a list of token ids"),
]  # fmt: skip


def write(folder: Path, name: str, content: str | bytes) -> str:
    raw = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(raw)
    return name


@pytest.mark.parametrize(("keys", "change", "told"), BAD)
def test_a_bad_row_is_told_and_costs_no_other(
    tmp_path: Path, keys: dict[str, Any], change: dict[str, Any], told: str
) -> None:
    """Between two good rows a bad one gives its line and the reason."""
    bad = {name: value for name, value in (GOOD | change).items() if value is not ...}
    lines = "\n".join(json.dumps(row) for row in (GOOD, bad, GOOD))
    source = open_dataset(Dataset(data=write(tmp_path, "a.jsonl", lines), **keys), tmp_path)
    before, row, after = source.read(0, source.count())
    assert isinstance(before, Row)
    assert isinstance(after, Row)
    assert isinstance(row, BadRow)
    assert row.line == 2
    assert told in row.reason


def test_lines_that_are_no_json(tmp_path: Path) -> None:
    """Broken JSON, bytes that are no UTF-8, a list, deep nesting: each costs its own line."""
    good = json.dumps(GOOD).encode()
    lines = [good, b'{"text": "a"', b'{"text": "caf\xe9"}', b"[1]", b"[" * 100_000, b"NaN", good]
    name = write(tmp_path, "a.jsonl", b"\r\n".join(lines))
    rows = list(open_dataset(Dataset(data=name), tmp_path).read(0, 10))
    assert [type(row) for row in rows] == [Row, *[BadRow] * 5, Row]
    reasons = [(row.line, row.reason) for row in rows if isinstance(row, BadRow)]
    assert reasons[0][1].startswith("not JSON: Expecting ',' delimiter")
    assert reasons[1:3] == [
        (3, "not valid UTF-8 (byte 14 of the row)"),
        (4, "not a JSON object"),
    ]
    assert [line for line, _ in reasons[3:]] == [5, 6]


def test_lines_that_are_no_csv(tmp_path: Path) -> None:
    """A wrong number of fields, a stray quote, a quote never closed: each costs its own line."""
    lines = [
        b"text,y",
        b"good,1",
        b"too,many,2",
        b"few",
        b'"quoted" and more,3',
        b'"two',
        b'lines",4',
        b"caf\xe9,5",
        b"",
        b" ,6",
        b"none,",
        b'"never closed,7',
        b"good,8",
    ]
    name = write(tmp_path, "a.csv", b"\n".join(lines))
    rows = list(open_dataset(Dataset(data=name, labels=("y",)), tmp_path).read(0, 20))
    told = [
        (r.line, r.reason if isinstance(r, BadRow) else f"{r.text}={r.fields['y']}") for r in rows
    ]
    assert told == [
        (2, "good=1"),
        (3, "3 fields, but the header has 2"),
        (4, "1 field, but the header has 2"),
        (5, "not CSV: text follows a closing quote; a quote inside a quoted field stands twice"),
        (6, "two\nlines=4"),
        (8, "not valid UTF-8"),
        (10, "`text` is empty"),
        (11, "`y` is absent"),
        (12, "not CSV: a quote that is never closed"),
        (13, "good=8"),
    ]


def test_parquet_strings_that_are_no_utf8(tmp_path: Path) -> None:
    """Bytes in a string column of a Parquet file are checked, which its writer need not have done."""
    raw = pa.array([b"good", b"caf\xe9", None, b"last"], pa.binary())
    text = pa.StringArray.from_buffers(4, raw.buffers()[1], raw.buffers()[2], raw.buffers()[0])
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    rows = list(open_dataset(Dataset(data="a.parquet"), tmp_path).read(0, 4))
    assert [(row.line, getattr(row, "reason", None)) for row in rows] == [
        (1, None),
        (2, "not valid UTF-8"),
        (3, "`text` is null"),
        (4, None),
    ]


@pytest.mark.parametrize(
    ("name", "content", "keys", "told"),
    [
        ("a.jsonl", "", {}, "a.jsonl: an empty file"),
        ("a.jsonl", "\n \n", {}, "a.jsonl: holds no rows"),
        ("a.json", "[ ]", {}, "a.json: holds no rows"),
        ("a.csv", "text,y\n\n", {}, "a.csv: holds no rows below its header"),
        ("a.csv", "\n", {}, "a.csv: no header"),
        ("a.csv", "text,text\na,b\n", {}, "a.csv: the header has the field `text` twice"),
        ("a.csv", "text\na\n".encode("utf-16"), {}, "a.csv: is UTF-16; save it as UTF-8"),
        (
            "a.jsonl",
            '{"sentence": "a", "label": 1}',
            {},
            "a.jsonl: no field `text` for text (fields there: label, sentence)",
        ),
        (
            "a.csv",
            "text;label_name\na;b\n",
            {"labels": ("label",)},
            "a.csv: no field `label` for labels; did you mean `label_name`? "
            "(fields there: label_name, text)",
        ),
        ("a.xls", "x", {}, "a.xls: the suffix .xls says no one format"),
        ("a", "x", {}, "a: the suffix (none) says no one format"),
        ("a.jsonl", "{}", {"sequence": 5}, "a.jsonl: sequence: is for tokens datasets"),
        ("a.jsonl", "{}", {"subset": "en"}, "a.jsonl: subset: is for hub datasets"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, name: str, content: str | bytes, keys: dict[str, Any], told: str
) -> None:
    """What is wrong with a whole file is one line: its name, what is wrong, what is there instead."""
    write(tmp_path, name, content)
    with pytest.raises(StratascopeError) as caught:
        open_dataset(Dataset(data=name, **keys), tmp_path)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """A missing file, a pattern of none, and several files where one is meant are said so."""
    for name in ("a.csv", "b.csv"):
        write(tmp_path, name, "text\nx\n")
    for data, told in (
        ("c.csv", "c.csv: no such file (looked in "),
        ("x*.npy", "x*.npy: no such file"),
        ("*.csv", "*.csv: 2 files; csv is read from one: name it, or join them"),
    ):
        with pytest.raises(StratascopeError) as caught:
            open_dataset(Dataset(data=data), tmp_path)
        assert str(caught.value).startswith(told)
    assert open_dataset(Dataset(data="a*.csv"), tmp_path).count() == 1
