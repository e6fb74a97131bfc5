"""Tables for a notebook: plain lists of dicts that also show themselves well."""

from __future__ import annotations

import csv
import html
import io
from typing import Any

from stratascope.rows import render


class Rows(list[dict[str, Any]]):
    """Rows that share their keys: ``pandas.DataFrame(rows)`` takes them as they are."""

    def __repr__(self) -> str:
        return render(self, "table").rstrip("\n") or "no rows"

    def _repr_html_(self) -> str:
        """As Jupyter shows it; texts are escaped, for they come from models and files."""
        if not self:
            return "<p>no rows</p>"
        head, *lines = csv.reader(io.StringIO(render(self, "csv")))
        body = "".join(f"<tr>{_cells('td', line)}</tr>" for line in lines)
        return f"<table><thead><tr>{_cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"


def _cells(tag: str, texts: list[str]) -> str:
    return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)
