"""Rows as text: an aligned table, CSV, or one JSON object with ``rows``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any


def render(rows: Sequence[Mapping[str, Any]], form: str) -> str:
    """``rows`` (which share their keys) as ``table``, ``csv`` or ``json``, with a final newline."""
    if form == "json":
        return json.dumps({"rows": list(rows)}, indent=1, ensure_ascii=False) + "\n"
    if not rows:
        return ""
    header = list(rows[0])
    cells = [[_cell(row[key]) for key in header] for row in rows]
    if form == "csv":
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([header, *cells])
        return stream.getvalue()
    widths = [max(len(line[i]) for line in [header, *cells]) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in [header, rule, *cells]
    ]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
