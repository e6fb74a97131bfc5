"""Reading YAML that a person wrote: safely, and strictly enough that a slip is an error."""

from __future__ import annotations

from pathlib import Path

import yaml

from stratascope.errors import StratascopeError

MAX_BYTES = 20_000_000
# Aliases may repeat a block, but not multiply into more than a person could have written out.
MAX_NODES = 1_000_000

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_mapping(path: Path, shown: str | None = None) -> dict[str, object]:
    """The mapping in a YAML file.

    ``shown`` is the name that errors use for the file. Raises ``StratascopeError`` if the file is
    missing, is not UTF-8, is not YAML, holds something else than one mapping, has a key twice, or
    has aliases that expand to more than a million nodes.
    """
    shown = shown or str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise StratascopeError(f"{shown}: larger than {MAX_BYTES // 10**6} MB; split it")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StratascopeError(f"{shown}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StratascopeError(
            f"{shown}: not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    return parse_mapping(text, shown)


def parse_mapping(text: str, shown: str) -> dict[str, object]:
    """The mapping in a YAML text; see ``read_mapping``."""
    try:
        # CSafeLoader and SafeLoader construct only plain Python values.
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                _check(node, shown)
            data = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise StratascopeError(f"{shown}: not valid YAML: {_one_line(error)}") from error
    except RecursionError as error:
        raise StratascopeError(f"{shown}: nested too deeply") from error
    if not isinstance(data, dict):
        found = "empty" if data is None else f"a {type(data).__name__}"
        raise StratascopeError(f"{shown}: must be a mapping of keys to values, but is {found}")
    wrong = [key for key in data if not isinstance(key, str)]
    if wrong:
        raise StratascopeError(f"{shown}: the key {wrong[0]!r} must be text; put it in quotes")
    return data


def _check(root: yaml.Node, shown: str) -> None:
    """Refuse keys that stand twice, and aliases that contain themselves or multiply."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            raise StratascopeError(f"{shown}: {_place(node)}: an alias that contains itself")
        if known:
            return known
        sizes[id(node)] = None
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, shown)
            total = 1 + sum(size(key) + size(value) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            total = 1 + sum(size(item) for item in node.value)
        else:
            total = 1
        if total > MAX_NODES:
            raise StratascopeError(
                f"{shown}: {_place(node)}: aliases expand to more than {MAX_NODES} values; write it out"
            )
        sizes[id(node)] = total
        return total

    size(root)


def _check_keys(node: yaml.MappingNode, shown: str) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in seen:
                raise StratascopeError(
                    f"{shown}: {_place(key)}: the key {key.value!r} stands twice"
                )
            seen.add(key.value)


def _place(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + " ".join(str(problem).split())
