"""Datasets: which labelled texts were read, how their labels are spread, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.extracted import Extracted
from stratascope.report.figure import Content
from stratascope.report.text import number, source_name

# Of each dataset so many texts are shown, and of a text so many characters.
EXAMPLES, LETTERS = 5, 300
# So many skipped rows are named; a label with more classes than this is summed up.
SKIPPED, CLASSES = 12, 24


def build(data: ReportData) -> Content | None:
    """The section; None for a study without datasets."""
    if not data.features:
        return None
    sets = [[item for item in data.features if item.dataset == name] for name in data.dataset_names]
    return Content(
        context={
            "datasets": [_dataset(some) for some in sets],
            "pooled": all(item.features.pooled for item in data.features),
        },
        parts=(
            ("datasets-overview", "Overview"),
            ("datasets-labels", "Labels"),
        ),
    )


def _dataset(items: Sequence[Extracted]) -> dict[str, Any]:
    """One dataset on all its checkpoints; texts are counted on the first."""
    first = items[0]
    info = first.info
    names = list(dict.fromkeys([*first.labels, *first.groups]))
    columns = first.columns(["line", "tokens", *names])
    return {
        "name": first.dataset,
        "file": info["dataset"]["data"],
        "checkpoints": [item.checkpoint for item in items],
        "texts": sorted({int(item.info["texts"]) for item in items}),
        "rows": sorted({int(item.info["rows"]) for item in items}),
        "position": _position(info["position"]),
        "sites": [source_name(site) for site in [*info["sites"], *info["modules"]]],
        "layers": len(info["layers"]),
        "tokens": (int(columns["tokens"].median()), int(columns["tokens"].max())),
        "labels": [_label(name, columns[name]) for name in first.labels],
        "groups": [(name, int(columns[name].nunique())) for name in first.groups],
        "skipped": _skipped(items),
        "noise": max(_noise(item) for item in items),
        "examples": _examples(first, columns, names),
        "fields": names,
    }


def _position(position: str | int) -> str:
    words = {
        "last": "last token",
        "mean": "mean of tokens",
        "all": "every token",
        "span": "every token of the span",
        "span_mean": "mean of the span",
    }
    return words.get(str(position), f"token {position}")


def _label(name: str, values: pd.Series) -> dict[str, Any]:
    """Classes with their counts, the most frequent first; of a quantity its range."""
    known = values.dropna()
    counts = Counter(map(str, known))
    quantity = pd.api.types.is_numeric_dtype(known) and len(counts) > CLASSES
    return {
        "name": name,
        "missing": int(values.isna().sum()),
        "range": f"{number(known.min())} to {number(known.max())}" if quantity else None,
        "classes": len(counts),
        "counts": sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:CLASSES],
        "most": max(counts.values(), default=0) / max(1, len(known)),
    }


def _skipped(items: Sequence[Extracted]) -> dict[str, Any]:
    """Rows that were bad; a checkpoint may skip others than the next."""
    reasons = {
        (int(row["line"]), str(row["reason"])) for item in items for row in item.info["skipped"]
    }
    listed = sorted(reasons)
    return {"count": len({line for line, _ in listed}), "rows": listed[:SKIPPED]}


def _noise(item: Extracted) -> float:
    return float(item.info["noise_floor"]["largest_relative_difference"])


def _examples(item: Extracted, columns: pd.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    """The first texts, with their labels and groups."""
    head = columns.head(EXAMPLES)
    texts = item.texts(head["line"])
    return [
        {
            "line": int(row["line"]),
            "text": _cut(texts.get(int(row["line"]))),
            "fields": [row[name] for name in names],
        }
        for row in head.to_dict("records")
    ]


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= LETTERS else text[: LETTERS - 1] + "…"
