"""Turning Pydantic's findings into one line: the file, the key, what is wrong, what is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from stratascope.errors import StratascopeError
from stratascope.study.names import nearest

M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], data: Mapping[str, object], shown: str, prefix: str = "") -> M:
    """``data`` as a ``model``, or a ``StratascopeError`` that names ``shown`` and the key.

    ``prefix`` stands in front of every key in the message, as ``defaults.`` does.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        items = _without_false([dict(item) for item in error.errors()])
        found = [_describe(model, data, item, prefix) for item in items[:3]]
        more = f" (and {len(items) - 3} more)" if len(items) > 3 else ""
        raise StratascopeError(f"{shown}: {'; '.join(found)}{more}") from error


def _without_false(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is wrong with a mapping that may also be ``false``: not that it is not ``false``.

    Pydantic reports both branches of such a union, and names each after its type.
    """
    unions = [item["loc"][:-1] for item in items if item["loc"][-1:] == ("literal[False]",)]
    found = []
    for item in items:
        loc = item["loc"]
        union = next((place for place in unions if loc[: len(place)] == place), None)
        if union is None:
            found.append(item)
        elif item["type"] == "model_type":
            found.append({**item, "loc": union, "msg": "should be a mapping, or `false`"})
        elif loc != (*union, "literal[False]"):
            found.append({**item, "loc": (*union, *loc[len(union) + 1 :])})
    return found


def _describe(
    model: type[BaseModel], data: Mapping[str, object], item: dict[str, object], prefix: str
) -> str:
    raw = item["loc"]
    assert isinstance(raw, tuple)
    loc = tuple(part for part in raw if not _is_branch(part))
    key = prefix + _dotted(_as_written(loc, data))
    if item["type"] == "extra_forbidden":
        known = _known_keys(model.model_json_schema(), loc[:-1])
        near = nearest(str(loc[-1]), known)
        remedy = f"did you mean `{near}`?" if near else f"known here: {', '.join(sorted(known))}"
        return f"{key}: unknown key; {remedy}"
    if item["type"] == "missing":
        return f"{key}: missing; it is required"
    message = str(item["msg"]).removeprefix("Value error, ")
    value = item.get("input")
    shown = (
        ""
        if isinstance(value, dict | list) or item["type"] == "value_error"
        else f" (found {value!r})"
    )
    return f"{key}: {message[:1].lower() + message[1:]}{shown}" if key else message


def _is_branch(part: object) -> bool:
    """Pydantic names the branch of a union, as in ``layers.tuple[...]``; nobody wrote that."""
    return isinstance(part, str) and (part.startswith(("tuple[", "literal[", "constrained-")))


def _as_written(loc: tuple[object, ...], data: Mapping[str, object]) -> tuple[object, ...]:
    # A single prompt is read as a list of one: its index is not in the file.
    if loc[:2] == ("prompt", 0) and isinstance(data.get("prompt"), dict):
        return ("prompt", *loc[2:])
    return loc


def _dotted(loc: tuple[object, ...]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def _known_keys(schema: dict[str, object], loc: tuple[object, ...]) -> list[str]:
    """The keys that the JSON Schema allows at a place."""
    definitions = schema.get("$defs", {})
    nodes: list[object] = [schema]
    for part in (*loc, None):
        expanded: list[dict[str, object]] = []
        while nodes:
            node = nodes.pop()
            if not isinstance(node, dict):
                continue
            if "$ref" in node:
                nodes.append(definitions[str(node["$ref"]).rsplit("/", 1)[-1]])  # type: ignore[index]
            nodes.extend(node.get("anyOf", []))
            expanded.append(node)
        if part is None:
            return [key for node in expanded for key in node.get("properties", {})]  # type: ignore[attr-defined]
        for node in expanded:
            if isinstance(part, int):
                nodes.append(node.get("items"))
            else:
                properties = node.get("properties", {})
                nodes.append(properties.get(part) or node.get("additionalProperties"))  # type: ignore[attr-defined]
    return []
