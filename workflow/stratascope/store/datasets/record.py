"""From a record of named fields to a row, or to the reason why it is none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from stratascope.errors import StratascopeError
from stratascope.store.datasets.rows import BadRow, Row
from stratascope.study.dataset import Dataset
from stratascope.study.names import nearest
from stratascope.study.schema import Message

ROLES = get_args(Message.model_fields["role"].annotation)
NOT_UTF8 = "not valid UTF-8"


class UnreadableError(ValueError):
    """Why a row cannot be read; it becomes a ``BadRow``."""


def content_field(dataset: Dataset) -> tuple[str, str]:
    """Which kind of content a row has (text, messages, input_ids), and the field it stands in."""
    for kind in ("text", "messages", "input_ids"):
        if name := getattr(dataset, kind):
            return kind, name
    return "text", "text"


def wanted_fields(dataset: Dataset) -> dict[str, str]:
    """The fields to read, and the key of the dataset that asks for each."""
    kind, name = content_field(dataset)
    fields = {name: kind}
    if dataset.span:
        fields.setdefault(dataset.span, "span")
    for key, names in (("labels", dataset.labels), ("groups", dataset.groups)):
        for name in names:
            fields.setdefault(name, key)
    return fields


def check_fields(dataset: Dataset, known: Iterable[str]) -> None:
    """Refuse a dataset without a field that was asked for.

    Raises:
        StratascopeError: with the fields that are there.
    """
    there = sorted(set(known))
    for name, key in wanted_fields(dataset).items():
        if name not in there:
            near = nearest(name, there)
            guess = f"; did you mean `{near}`?" if near else ""
            listed = ", ".join(there[:40]) or "none"
            raise StratascopeError(
                f"{dataset.data}: no field `{name}` for {key}{guess} (fields there: {listed})"
            )


def to_row(dataset: Dataset, line: int, record: Mapping[str, Any]) -> Row | BadRow:
    """The row that a record holds: its content, its span, its labels and groups.

    ``record`` maps field names to plain Python values; those that were not asked for do not matter.
    """
    kind, name = content_field(dataset)
    try:
        content = CONTENT[kind](_value(record, name), name)
        span = None
        if dataset.span:
            span = SPANS[kind](_value(record, dataset.span), dataset.span, content)
        fields = {name: _label(record, name) for name in (*dataset.labels, *dataset.groups)}
    except UnreadableError as error:
        return BadRow(line, str(error))
    return Row(line, span=span, fields=fields, **{_ATTRIBUTES[kind]: content})


def _value(record: Mapping[str, Any], name: str) -> Any:
    value = record.get(name)
    if value is None:
        raise UnreadableError(f"`{name}` is {'null' if name in record else 'missing'}")
    return value


def _kind(value: object) -> str:
    kinds = {str: "a text", bool: "a boolean", int: "a number", float: "a number", bytes: "bytes"}
    kinds |= {list: "a list", dict: "an object"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _string(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise UnreadableError(f"`{name}` is {_kind(value)}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        raise UnreadableError(f"`{name}` is {NOT_UTF8}") from None
    return value


def _text(value: object, name: str) -> str:
    text = _string(value, name)
    if not text.strip():
        raise UnreadableError(f"`{name}` is empty")
    return text


def _messages(value: object, name: str) -> tuple[Message, ...]:
    value = _parsed(value)
    if not isinstance(value, list) or not value:
        raise UnreadableError(f"`{name}` is not a list of messages with `role` and `content`")
    messages = tuple(_message(item, f"{name}[{i}]") for i, item in enumerate(value))
    if not any(message.content.strip() for message in messages):
        raise UnreadableError(f"`{name}` is empty: no message has any content")
    return messages


def _message(value: object, name: str) -> Message:
    if not isinstance(value, dict) or not {"role", "content"} <= set(value):
        raise UnreadableError(f"`{name}` is not a message with `role` and `content`")
    role = value["role"]
    if role not in ROLES:
        raise UnreadableError(f"`{name}` has the role {role!r}; known are {', '.join(ROLES)}")
    return Message(role=role, content=_string(value["content"], f"{name}.content"))


def _ids(value: object, name: str) -> Any:
    import numpy as np

    value = _parsed(value)
    if not isinstance(value, list):
        raise UnreadableError(f"`{name}` is {_kind(value)}, not a list of token ids")
    if not value:
        raise UnreadableError(f"`{name}` is empty")
    if set(map(type, value)) != {int}:
        raise UnreadableError(f"`{name}` holds what is no integer")
    if min(value) < 0 or max(value) >= 2**63:
        raise UnreadableError(f"`{name}` holds {min(value)}..{max(value)}: no token ids")
    return np.array(value, dtype=np.int64)


CONTENT = {"text": _text, "messages": _messages, "input_ids": _ids}
_ATTRIBUTES = {"text": "text", "messages": "messages", "input_ids": "ids"}


def _parsed(value: object) -> object:
    """Lists in a CSV file are written as JSON."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _span_of_text(value: object, name: str, text: str) -> tuple[int, int]:
    if isinstance(value, str):
        start = text.find(value)
        if not value or start < 0:
            raise UnreadableError(f"`{name}` does not occur in the text")
        if text.find(value, start + 1) >= 0:
            raise UnreadableError(f"`{name}` occurs more than once in the text; give [start, end]")
        return start, start + len(value)
    return _ends(value, name, len(text), "neither a part of the text nor", "characters")


def _span_of_messages(value: object, name: str, messages: tuple[Message, ...]) -> str:
    """The part itself: where it lies in what a model reads, its chat template decides."""
    found = _string(value, name)
    count = sum(message.content.count(found) for message in messages) if found else 0
    if count != 1:
        times = "occurs more than once" if count else "does not occur"
        raise UnreadableError(f"`{name}` {times} in the messages; it has to, once")
    return found


def _span_of_ids(value: object, name: str, ids: Any) -> tuple[int, int]:
    return _ends(_parsed(value), name, len(ids), "not", "tokens")


def _ends(value: object, name: str, length: int, is_no: str, unit: str) -> tuple[int, int]:
    if not isinstance(value, list) or list(map(type, value)) != [int, int]:
        raise UnreadableError(f"`{name}` is {is_no} [start, end]")
    start, end = value
    if not 0 <= start < end <= length:
        raise UnreadableError(f"`{name}` is [{start}, {end}], but there are {length} {unit}")
    return start, end


SPANS: dict[str, Callable[[object, str, Any], tuple[int, int] | str]] = {
    "text": _span_of_text,
    "messages": _span_of_messages,
    "input_ids": _span_of_ids,
}


def _label(record: Mapping[str, Any], name: str) -> str | int | float | bool:
    value = record.get(name)
    blank = isinstance(value, str) and not value.strip()
    if value is None or blank or (isinstance(value, float) and math.isnan(value)):
        raise UnreadableError(f"`{name}` is absent")
    if isinstance(value, str):
        return _string(value, name)
    if not isinstance(value, bool | int | float):
        raise UnreadableError(f"`{name}` is {_kind(value)}; a label is a text, number or boolean")
    if isinstance(value, float) and math.isinf(value):
        raise UnreadableError(f"`{name}` is infinite")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise UnreadableError(f"`{name}` does not fit into 64 bits")
    return value
