"""The residual stream: what each layer adds, and what it adds directly to the token that came."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.figure import Content

# Above this many numbers the page leaves out later tokens, and then later conversations: the table has
# them. A number takes about 5 bytes of the file.
MOST_NUMBERS = 12_000
SIZES = ("hidden_in_norm", "attn_out_norm", "mlp_down_out_norm", "hidden_out_norm")
COSINES = ("attn_cosine_out", "attn_cosine_in", "mlp_cosine_out", "mlp_cosine_in")
LOGITS = ("attn_logit", "mlp_logit")
WHOLE = ("embedding_logit", "norm_bias_logit", "unembed_bias_logit", "rest_logit", "logit")


def build(data: ReportData) -> Content | None:
    """The section; None for a study that takes no stream apart."""
    table = data.table("residual")
    if table.empty:
        return None
    whole = [some for _, some in table.groupby("run", sort=False)]
    kept, columns = shown(whole)
    talks = [_talk(some, columns) for some in kept]
    with_logits = bool(table["logit"].notna().any())
    with_heads = bool((table["head_logits"] != "").any())
    return Content(
        context={
            "with_logits": with_logits,
            "with_heads": with_heads,
            "tokens_left_out": sum(some["position"].nunique() for some in whole)
            - sum(len(talk["columns"]) for talk in talks),
        },
        arrays={"residual": talks},
        parts=(
            *((("residual-logit", "Who wrote it"),) if with_logits else ()),
            ("residual-sizes", "Sizes and directions"),
        ),
    )


def shown(talks: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], int]:
    """The runs that the page has room for, and of each at most so many tokens."""
    kept: list[pd.DataFrame] = []
    numbers = 0
    for some in talks:
        numbers += _numbers(some)
        if kept and numbers > MOST_NUMBERS:
            break
        kept.append(some)
    return kept, max(1, MOST_NUMBERS // max(1, sum(map(_numbers, kept))))


def _numbers(some: pd.DataFrame) -> int:
    """How many numbers one token of a run takes."""
    heads = len(_heads(some["head_logits"].iloc[0]))
    layers: int = some["layer"].nunique()
    return layers * (len(SIZES) + len(COSINES) + len(LOGITS) + heads) + len(WHOLE)


def _heads(text: str) -> list[float | None]:
    found: list[float | None] = json.loads(text) if text else []
    return found


def _talk(some: pd.DataFrame, most: int) -> dict[str, Any]:
    """One run: each number tokens x layers, of heads tokens x layers x heads, of the whole tokens."""
    positions = sorted(some["position"].unique().tolist())[:most]
    some = some[some["position"].isin(positions)]
    ordered = some.sort_values(["position", "layer"], kind="stable")
    layers = sorted(some["layer"].unique().tolist())
    size = (len(positions), len(layers))
    firsts = ordered.drop_duplicates("position")
    heads = [_heads(text) for text in ordered["head_logits"]]
    first = some.iloc[0]
    return {
        "run": first["run"].removesuffix(f"@{first['checkpoint']}"),
        "checkpoint": first["checkpoint"],
        "layers": layers,
        "columns": [
            [int(row.step), int(row.position), row.token, row.target_token]
            for row in firsts.itertuples()
        ],
        "heads": [heads[i * size[1] : (i + 1) * size[1]] for i in range(size[0])],
        **{
            name: ordered[name].to_numpy(np.float64).reshape(size)
            for name in (*SIZES, *COSINES, *LOGITS)
        },
        **{name: firsts[name].to_numpy(np.float64) for name in WHOLE},
    }
