"""A model's modules as text: what to show someone who must name modules by hand."""

from __future__ import annotations

from torch import nn


def _describe(module: nn.Module) -> str:
    weight = module._parameters.get("weight")
    name = type(module).__name__
    return name if weight is None else f"{name} {' x '.join(map(str, weight.shape))}"


def _lines(module: nn.Module) -> list[str]:
    """The module's children, indented; numbered children that look alike share one entry."""
    lines: list[str] = []
    alike: list[str] = []  # the numbers of the entry being gathered
    body: list[str] = []

    def flush() -> None:
        if alike:
            numbers = alike[0] if len(alike) == 1 else f"{alike[0]}..{alike[-1]}"
            lines.append(f"{numbers}: {body[0]}")
            lines.extend(body[1:])
            alike.clear()

    for name, child in module.named_children():
        entry = [_describe(child), *(f"  {line}" for line in _lines(child))]
        if name.isdigit():
            if entry != body:
                flush()
            alike.append(name)
            body = entry
        else:
            flush()
            lines.append(f"{name}: {entry[0]}")
            lines.extend(entry[1:])
    flush()
    return lines


def module_tree(model: nn.Module, limit: int | None = None) -> str:
    """The module tree, one line a module: its name, its class, its weight's shape.

    Repeated numbered layers are folded into one entry such as ``0..31``. Works on a model without
    weights (on the meta device). ``limit`` cuts after that many lines and says so.
    """
    lines = [type(model).__name__, *(f"  {line}" for line in _lines(model))]
    if limit is not None and len(lines) > limit:
        lines = [*lines[:limit], f"  ... {len(lines) - limit} more lines: `stratascope layers`"]
    return "\n".join(lines)
