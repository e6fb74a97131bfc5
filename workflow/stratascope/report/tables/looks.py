"""Runs under the microscope: the logit lens, and the residual stream taken apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from stratascope.report.tables.frames import row_frame
from stratascope.report.tables.states import Study
from stratascope.store.runs import read_json

LENS = (
    "run", "checkpoint", "site", "layer", "step", "position", "token",
    "argmax_token", "argmax_logprob", "entropy", "kl_from_final",
    "final_token", "rank_of_final", "logprob_of_final",
    "next_token", "rank_of_next", "logprob_of_next", "top",
)  # fmt: skip
RESIDUAL = (
    "run", "checkpoint", "layer", "step", "position", "token", "target_token",
    "hidden_in_norm", "attn_out_norm", "mlp_down_out_norm", "hidden_out_norm",
    "attn_cosine_out", "attn_cosine_in", "mlp_cosine_out", "mlp_cosine_in",
    "attn_logit", "mlp_logit", "head_logits", "attn_bias_logit",
    "embedding_logit", "norm_bias_logit", "unembed_bias_logit", "rest_logit", "logit",
)  # fmt: skip


def logit_lens(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`logit_lens`, a checkpoint at a time."""
    for path in study.analyses.lenses:
        rows = [_flat(row, "next_token", "top") for row in read_json(path)["rows"]]
        yield {"logit_lens": row_frame(rows, LENS)}


def residual(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`residual`, a checkpoint at a time."""
    for path in study.analyses.residuals:
        rows = [_flat(row, "head_logits") for row in read_json(path)["rows"]]
        yield {"residual": row_frame(rows, RESIDUAL)}


def _flat(row: dict[str, Any], *texts: str) -> dict[str, Any]:
    """Columns of ``texts`` as one cell: a list as JSON, none as an empty one."""
    return row | {name: _cell(row[name]) for name in texts}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
