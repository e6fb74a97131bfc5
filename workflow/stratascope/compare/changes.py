"""What differs between two parsed documents, key by key, and how to show it in a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What stands for a key that one side does not have.
ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "(absent)"})()
WIDTH = 60


@dataclass(frozen=True, order=True)
class Change:
    """One key with two values, shortened to where they begin to differ."""

    path: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.path}: {self.a} -> {self.b}"


def changes(a: object, b: object) -> tuple[Change, ...]:
    """Every place where two parsed documents differ, in the order of ``a``'s keys.

    Paths are as a person would write them: ``prompt.messages[3].content``.
    """
    return tuple(Change(path, *shortened(old, new)) for path, old, new in differing(a, b))


def differing(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """``(path, value in a, value in b)`` of each deepest place that differs; `ABSENT` is none."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            below = f"{path}.{key}" if path else str(key)
            yield from differing(a.get(key, ABSENT), b.get(key, ABSENT), below)
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        for i in range(max(len(a), len(b))):
            yield from differing(_item(a, i), _item(b, i), f"{path}[{i}]")
    elif a != b or isinstance(a, bool) != isinstance(b, bool):
        yield path, a, b


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """``(dotted path, value)`` of everything in a document that is no mapping and no list."""
    if isinstance(value, Mapping):
        for key in value:
            yield from leaves(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from leaves(item, f"{path}[{i}]")
    else:
        yield path, value


def shortened(a: object, b: object) -> tuple[str, str]:
    """Both values as short text; of long ones, the part where they begin to differ."""
    if isinstance(a, str) and isinstance(b, str):
        start = _first_difference(a, b)
        return _window(a, start), _window(b, start)
    return _short(a), _short(b)


def plain(text: object) -> str:
    """Text that a terminal shows in one line and does not obey: what is not printable, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def _item(values: Sequence[Any], i: int) -> Any:
    return values[i] if i < len(values) else ABSENT


def _first_difference(a: str, b: str) -> int:
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def _window(text: str, start: int) -> str:
    """At most `WIDTH` characters around ``start``, with dots where text was left out."""
    if len(text) <= WIDTH:
        return plain(f'"{text}"')
    first = max(0, min(start - WIDTH // 3, len(text) - WIDTH))
    left, right = "..." if first else "", "..." if first + WIDTH < len(text) else ""
    return plain(f'"{left}{text[first : first + WIDTH]}{right}"')


def _short(value: object) -> str:
    if value is ABSENT:
        return "(absent)"
    if isinstance(value, str):
        return _window(value, 0)
    text = json.dumps(value, ensure_ascii=False, default=str)
    return plain(text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}...")
