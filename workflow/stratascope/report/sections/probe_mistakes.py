"""What probes say of each text: classes taken for each other, and the surest mistakes."""

from __future__ import annotations

from typing import Any

import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.probing import PROBE
from stratascope.report.text import plot_text, source_name

# Of each label and checkpoint so many mistakes are shown, and of a text so many characters.
SHOWN, LETTERS = 8, 400
# More classes than this make a map that nobody reads, more points a scatter that nobody needs.
MOST_CLASSES, MOST_POINTS = 40, 1000


def mistakes(data: ReportData) -> dict[str, Any]:
    """``sets``: by dataset and label, ``checkpoint -> ...``; ``texts``, which they point into."""
    table = data.table("probe_predictions")
    if table.empty:
        return {"sets": [], "texts": []}
    texts: dict[str, int] = {}
    sets = []
    for (dataset, label), rows in table.groupby(PROBE, sort=False):
        quantity = bool(rows["probability"].isna().all())
        found = {
            str(name): _of_checkpoint(data, str(dataset), str(name), some, quantity, texts)
            for name, some in rows.groupby("checkpoint", sort=False)
        }
        sets.append({"dataset": dataset, "label": label, "found": found})
    return {"sets": sets, "texts": list(texts)}


def _of_checkpoint(
    data: ReportData,
    dataset: str,
    checkpoint: str,
    rows: pd.DataFrame,
    quantity: bool,
    texts: dict[str, int],
) -> dict[str, Any]:
    first = rows.iloc[0]
    wrong = _worst_numbers(rows) if quantity else _surest(rows)
    return {
        "n": len(rows),
        "site": source_name(first["site"]),
        "layer": first["layer"],
        **(_points(rows) if quantity else _confusion(rows)),
        "worst": [
            [int(row["line"]), place, row["truth"], row["predicted"], row["probability"]]
            for (_, row), place in zip(
                wrong.iterrows(), _places(data, dataset, checkpoint, wrong, texts), strict=True
            )
        ],
    }


def _surest(rows: pd.DataFrame) -> pd.DataFrame:
    wrong = rows[rows["truth"] != rows["predicted"]]
    return wrong.sort_values(["probability", "line"], ascending=[False, True]).head(SHOWN)


def _worst_numbers(rows: pd.DataFrame) -> pd.DataFrame:
    error = (rows["truth"].astype(float) - rows["predicted"].astype(float)).abs()
    ordered = rows.assign(error=error).sort_values(["error", "line"], ascending=[False, True])
    return ordered.head(SHOWN)


def _confusion(rows: pd.DataFrame) -> dict[str, Any]:
    """Counts, true classes x predicted ones."""
    names = sorted(set(rows["truth"]) | set(rows["predicted"]))
    wrong = int((rows["truth"] != rows["predicted"]).sum())
    if len(names) > MOST_CLASSES:
        return {"wrong": wrong}
    counts = pd.crosstab(rows["truth"], rows["predicted"])
    counts = counts.reindex(index=names, columns=names, fill_value=0)
    return {
        "wrong": wrong,
        "classes": [plot_text(name) for name in names],
        "counts": counts.to_numpy(),
    }


def _points(rows: pd.DataFrame) -> dict[str, Any]:
    some = rows.iloc[:: -(-len(rows) // MOST_POINTS)]
    return {
        "truth": some["truth"].astype(float).to_numpy(),
        "predicted": some["predicted"].astype(float).to_numpy(),
    }


def _places(
    data: ReportData, dataset: str, checkpoint: str, rows: pd.DataFrame, texts: dict[str, int]
) -> list[int | None]:
    """Where each row's text stands in ``texts``, which it joins; None for one without."""
    known: dict[int, str] = {}
    for item in data.features:
        if (item.dataset, item.checkpoint) == (dataset, checkpoint):
            known = item.texts(rows["line"])
    shown = [known.get(int(line)) for line in rows["line"]]
    return [None if text is None else texts.setdefault(_cut(text), len(texts)) for text in shown]


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
