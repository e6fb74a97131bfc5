"""Which rows have features, and what is told of those that have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stratascope.capture.features import extract as extraction
from stratascope.errors import StratascopeError
from stratascope.store.datasets import BadRow, Row
from stratascope.study.schema import Message

TEXTS = [
    "The bear was happy, and the river sang all day long.",
    "The end.",
    "How are you today? I am well, thank you. I adore you deeply.",
    "bear",
    "Everything is hopeless and hollow.\nThe world is quiet and serene.",
    "Tell me a story about a small bear and a big river.",
    "river sang",
]
BAD: list[Row | BadRow] = [
    Row(1, text=TEXTS[0], fields={"mood": "good"}),
    BadRow(2, "not valid UTF-8"),
    Row(3, text="  ", fields={"mood": "good"}),
    Row(4, text="bear " * 600, fields={"mood": "good"}),
    Row(5, ids=np.array([1, 2, 4000]), fields={"mood": "good"}),
    Row(6, text=TEXTS[1]),
    Row(7, text="half \ud800", fields={"mood": "good"}),
    Row(8, ids=np.array([1, 2, 3]), fields={"mood": "bad"}),
]
REASONS = {
    2: "not valid UTF-8",
    3: "the text is empty",
    4: "tokens, but the model's context holds 512",
    5: "token 4000 is not one of the model's",
    6: "`mood` is absent",
    7: "the text is not valid Unicode",
}


def test_bad_rows_are_left_out_and_listed(loaded_model: Any, extract: Any, tmp_path: Path) -> None:
    """Each is listed with its line and why; the others are as if it had never been there."""
    loaded = loaded_model("llama")
    said: list[str] = []
    found = extract(
        loaded, tmp_path / "a", BAD, labels=("mood",), on_bad_row="skip", said=said, shard_texts=3
    )
    skipped = {row["line"]: row["reason"] for row in found.info["skipped"]}
    assert set(skipped) == set(REASONS)
    assert all(REASONS[line] in reason for line, reason in skipped.items())
    assert found.index.column("line").to_pylist() == [1, 8]
    assert found.index.column("text").to_pylist() == [TEXTS[0], None]
    assert [shard["texts"] for shard in found.info["shards"]] == [1, 0, 1]
    assert "(2 skipped)" in said[0]
    good = extract(loaded, tmp_path / "b", [BAD[0], BAD[-1]], labels=("mood",))
    for name in good.names:
        np.testing.assert_allclose(good.matrix(name), found.matrix(name), rtol=1e-4, atol=1e-6)


def test_bad_rows_are_an_error_with_their_lines(
    loaded_model: Any, extract: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """What reading alone shows is told before the model runs; at most ten are listed."""
    loaded = loaded_model("llama")
    rows = [*BAD, *(BadRow(line, "broken") for line in range(20, 40))]
    with monkeypatch.context() as patch:
        patch.setattr(extraction, "_probe", None)  # no model work
        with pytest.raises(StratascopeError) as error:
            extract(loaded, tmp_path, rows, labels=("mood",))
    assert "21 bad rows: line 2: not valid UTF-8; line 20: broken" in str(error.value)
    assert str(error.value).count("line ") == 10
    assert "and 11 more" in str(error.value)
    with pytest.raises(
        StratascopeError, match=r"5 bad rows: line 3: the text is empty; line 4: \d+ tok"
    ):
        extract(loaded, tmp_path, [row for row in BAD if isinstance(row, Row)], labels=("mood",))
    with pytest.raises(StratascopeError, match=r"every row is bad \(1\): line 2: not valid UTF-8"):
        extract(loaded, tmp_path / "bad", [BAD[1]], on_bad_row="skip")
    with pytest.raises(StratascopeError, match="the dataset has no texts"):
        extract(loaded, tmp_path / "none", [])


def test_labels_are_of_one_kind_and_have_room(
    loaded_model: Any, extract: Any, tmp_path: Path
) -> None:
    """A column takes whole and broken numbers together; texts among them, or a taken name, are refused."""
    loaded = loaded_model("llama")
    values = [1, 2.5, 3, 4]
    rows = [Row(i, text="bear", fields={"y": value}) for i, value in enumerate(values)]
    found = extract(loaded, tmp_path / "a", rows, labels=("y",), shard_texts=1)
    assert found.index.column("y").to_pylist() == values
    rows[3] = Row(3, text="bear", fields={"y": "four"})
    with pytest.raises(StratascopeError, match="'y' is a text in line 3, and a number in line 0"):
        extract(loaded, tmp_path / "b", rows, labels=("y",), shard_texts=1)
    extract(loaded, tmp_path / "c", rows, labels=("y",), shard_texts=1, part=(1, 4))
    extract(loaded, tmp_path / "c", rows, labels=("y",), shard_texts=1, part=(2, 4))
    extract(loaded, tmp_path / "c", rows, labels=("y",), shard_texts=1, part=(3, 4))
    with pytest.raises(
        StratascopeError, match="'y' is not a text, a number or a boolean in all rows"
    ):
        extract(loaded, tmp_path / "c", rows, labels=("y",), shard_texts=1, part=(4, 4))
    with pytest.raises(StratascopeError, match="the field 'tokens' has the name of a column"):
        extract(loaded, tmp_path / "d", rows, groups=("tokens",))


def test_conversations_are_rendered_as_runs_render_them(
    loaded_model: Any, extract: Any, tmp_path: Path
) -> None:
    """Messages go through the chat template, whose special tokens are not added twice; texts do not."""
    loaded = loaded_model("llama+chat")
    messages = (Message(role="user", content="Hello, how are you?"),)
    for prompt in (False, True):
        found = extract(
            loaded, tmp_path / str(prompt), [Row(1, messages=messages), Row(2, text="Hello")],
            generation_prompt=prompt,
        )  # fmt: skip
        text = loaded.tokenizer.apply_chat_template(
            [{"role": "user", "content": "Hello, how are you?"}],
            tokenize=False, add_generation_prompt=prompt,
        )  # fmt: skip
        assert found.index.column("text").to_pylist() == [text, "Hello"]
        ids = loaded.tokenizer(text, add_special_tokens=False).input_ids
        assert found.index.column("tokens").to_pylist() == [
            len(ids), len(loaded.tokenizer("Hello").input_ids),
        ]  # fmt: skip


def test_beginning_of_sequence_stands_once(
    loaded_model: Any, tokenizer: Any, chatml: str, extract: Any, tmp_path: Path
) -> None:
    """Plain texts get the tokenizer's own special tokens, chat template or not; two in front are bad."""
    messages = (Message(role="user", content="bear"),)
    for name, template in (("plain", None), ("chat", chatml)):
        loaded = replace(loaded_model("llama"), tokenizer=tokenizer(template, add_bos=True))
        length = len(loaded.tokenizer("bear", add_special_tokens=False).input_ids)
        rows = [Row(1, text="bear"), Row(2, text="<s>bear"), Row(3, messages=messages)]
        found = extract(loaded, tmp_path / name, rows, on_bad_row="skip")
        (bad,) = found.info["skipped"]
        assert (bad["line"], bad["reason"]) == (2, "two '<s>' in front; remove it from the text")
        rendered = found.index.column("text").to_pylist()[1]
        ids = loaded.tokenizer(rendered, add_special_tokens=template is None).input_ids
        assert found.index.column("tokens").to_pylist() == [length + 1, len(ids)]


def test_spans_need_offsets_and_tokens(loaded_model: Any, extract: Any, tmp_path: Path) -> None:
    """A span without tokens is a bad row; a tokenizer that knows no characters is an error."""
    loaded = loaded_model("llama")
    rows = [
        Row(1, text="The bear"),
        Row(2, text="The bear", span=(4, 8)),
        Row(3, ids=np.array([5])),
    ]
    found = extract(loaded, tmp_path / "a", rows, position="span_mean", span="s", on_bad_row="skip")
    assert found.info["skipped"] == [
        {"line": 1, "reason": "it has no span"},
        {"line": 3, "reason": "it has no span"},
    ]
    slow = SimpleNamespace(is_fast=False)
    with pytest.raises(StratascopeError, match="the tokenizer of llama gives no character offsets"):
        extract(replace(loaded, tokenizer=slow), tmp_path / "b", rows, position="span", span="s")


def test_spans_of_conversations_and_ids(loaded_model: Any, extract: Any, tmp_path: Path) -> None:
    """The quoted part of a conversation, and a range of token ids, are those rows of all tokens."""
    loaded = loaded_model("llama")
    talk = (
        Message(role="user", content="The bear sang."),
        Message(role="assistant", content="Why?"),
    )
    rows = [Row(1, messages=talk, span="bear")]
    asked = {"messages": "m", "generation_prompt": True}
    every = extract(loaded, tmp_path / "a", rows, position="all", **asked)
    found = extract(loaded, tmp_path / "b", rows, position="span", span="s", **asked)
    text = every.index.column("text").to_pylist()[0]
    start = text.index("bear")
    offsets = loaded.tokenizer(
        text, add_special_tokens=not loaded.tokenizer.chat_template, return_offsets_mapping=True
    )["offset_mapping"]
    kept = [i for i, (a, b) in enumerate(offsets) if a < start + 4 and b > start]
    name = "layer_01/hidden_out"
    assert 0 < len(kept) < len(offsets)
    np.testing.assert_array_equal(found.matrix(name), every.matrix(name)[kept])
    ids = np.array([5, 9, 30, 7, 11])
    every = extract(loaded, tmp_path / "c", [Row(1, ids=ids)], position="all", input_ids="i")
    found = extract(
        loaded, tmp_path / "d", [Row(1, ids=ids, span=(1, 3))],
        position="span", span="s", input_ids="i",
    )  # fmt: skip
    np.testing.assert_array_equal(found.matrix(name), every.matrix(name)[1:3])
    twice = [Row(1, messages=talk, span="a")]  # read from a file, it would have been refused there
    with pytest.raises(StratascopeError, match="does not leave the span 'a' there once"):
        extract(loaded, tmp_path / "e", twice, position="span", span="s", messages="m")
