"""The logit lens: what each layer would say, as a grid of layers and tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.figure import Content
from stratascope.report.text import source_name

# Above this many cells (a layer at a token) the page leaves out later tokens, and then later
# conversations: the table has them. A cell takes about 60 bytes of the file.
MOST_CELLS = 1_500
# So many of a cell's likeliest tokens are in the page.
TOP = 5
COLUMN = ["step", "position", "token", "next_token", "final_token"]
NUMBERS = {
    "logprob": "argmax_logprob",
    "entropy": "entropy",
    "kl": "kl_from_final",
    "rank": "rank_of_final",
    "chance": "logprob_of_final",
}


def build(data: ReportData) -> Content | None:
    """The section; None for a study without the lens."""
    table = data.table("logit_lens")
    if table.empty:
        return None
    whole = [some for _, some in table.groupby(["run", "site"], sort=False)]
    kept, columns = shown(whole)
    words: dict[str, int] = {}
    grids = [_grid(some, columns, words) for some in kept]
    return Content(
        context={
            "settled": settled(data, table),
            "tokens_left_out": sum(len(_columns(some)) for some in whole)
            - sum(len(grid["columns"]) for grid in grids),
        },
        arrays={"lens": {"grids": grids, "words": list(words)}},
        parts=(("lens-grid", "Layers and tokens"), ("lens-curves", "Layer by layer")),
    )


def shown(grids: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], int]:
    """The grids of runs and sites that the page has room for, and of each at most so many tokens."""
    kept: list[pd.DataFrame] = []
    layers = 0
    for some in grids:
        layers += some["layer"].nunique()
        if kept and layers > MOST_CELLS:
            break
        kept.append(some)
    tall = sum(some["layer"].nunique() for some in kept)
    return kept, max(1, MOST_CELLS // max(1, tall))


def settled(data: ReportData, table: pd.DataFrame) -> list[dict[str, Any]]:
    """For each checkpoint: from which layer on the last layer's token leads at half the tokens or more.

    ``layer`` is none where it does so at the last layer only, or that is all there is.
    """
    found = []
    stream = table[table["site"] == "hidden_out"]
    for name in data.checkpoint_names:
        own = stream[stream["checkpoint"] == name]
        if own.empty:
            continue
        share = (own["rank_of_final"] == 1).groupby(own["layer"]).mean().sort_index()
        late = share.index[::-1][np.cumprod(share.to_numpy()[::-1] >= 0.5).astype(bool)]
        layer = int(late[-1]) if len(late) > 1 else None
        n = len(_columns(own)) if own["run"].nunique() == 1 else len(own) // own["layer"].nunique()
        found.append({"checkpoint": name, "layer": layer, "n": n, "last": int(share.index[-1])})
    return found


def _columns(some: pd.DataFrame) -> pd.DataFrame:
    return some.drop_duplicates("position")[COLUMN]


def _grid(some: pd.DataFrame, most: int, words: dict[str, int]) -> dict[str, Any]:
    """One run at one site: layers x tokens, token texts as places in ``words``."""
    columns = _columns(some).iloc[:most]
    some = some[some["position"].isin(columns["position"])]
    layers = sorted(some["layer"].unique().tolist())
    ordered = some.sort_values(["layer", "position"], kind="stable")
    size = (len(layers), len(columns))

    def place(text: str) -> int:
        return words.setdefault(text, len(words))

    top = [json.loads(text)[:TOP] for text in ordered["top"]]
    first = some.iloc[0]
    return {
        "run": first["run"].removesuffix(f"@{first['checkpoint']}"),
        "checkpoint": first["checkpoint"],
        "site": source_name(first["site"]),
        "layers": layers,
        "columns": [
            [int(row.step), int(row.position), place(row.token), place(row.next_token)]
            for row in columns.sort_values("position").itertuples()
        ],
        "final": [place(token) for token in columns.sort_values("position")["final_token"]],
        "top": _square([[place(item["token"]) for item in items] for items in top], size),
        "top_logprobs": _square([[item["logprob"] for item in items] for items in top], size),
        **{
            name: ordered[column].to_numpy(np.float64).reshape(size)
            for name, column in NUMBERS.items()
        },
    }


def _square(flat: list[Any], size: tuple[int, int]) -> list[list[Any]]:
    rows, width = size
    return [flat[row * width : (row + 1) * width] for row in range(rows)]
