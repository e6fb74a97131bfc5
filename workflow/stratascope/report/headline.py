"""The headline numbers of a study: one small nested JSON file, for ``dvc metrics diff``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from stratascope.report.moving import main_drift
from stratascope.report.probing import best_rows, main_rows
from stratascope.report.tables import Written
from stratascope.store.commit import new_file
from stratascope.study.questions import ALL_GROUPS

SOURCE = "hidden_out"
_PROBE = ("layer", "lower", "upper", "n", "groups", "majority", "bag_of_tokens", "shuffled_upper")
_DRIFT = ("layer", "lower", "upper", "n")
_CLAIM = ("layer", "estimate", "lower", "upper", "null", "p_corrected", "n", "conversations")
_MEASURES = ("cosine", "centred_cosine", "MAE", "overlap")


def write_headline(written: Written, path: Path) -> None:
    """Write `headline` as JSON: sorted keys, 6 significant digits, null for what is not known."""
    text = json.dumps(
        _rounded(headline(written)), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    with new_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def headline(written: Written) -> dict[str, Any]:
    """``counts`` of the study and, for each checkpoint, what its tables come down to.

    ``intra_run`` holds, for each source, the mean over layers of the mean over runs;
    ``best_discriminating_layer`` the layer of ``hidden_out`` whose centred discrimination exceeds
    its null most, at the first position (where there is no null, the largest);
    ``user_minus_assistant`` the centred difference for each reference, from ``hidden_out``;
    ``claims``, where there are any, the centred quantities that are not of single references;
    ``questions``, where there are any, the accuracy on each question scenario; ``datasets`` the best
    probe of each label, and how far the last layer has moved from the first checkpoint.
    """
    answered = _questions(written.frames["question_accuracy"])
    read = _datasets(written)
    return {
        "counts": dict(written.counts),
        "checkpoints": answered
        | {
            name: {
                **counts,
                "intra_run": _intra_run(_of(written, "checkpoints", checkpoint=name)),
                "best_discriminating_layer": _best_layer(
                    _of(written, "discrimination", checkpoint=name, source=SOURCE)
                ),
                "user_minus_assistant": _roles(
                    _of(written, "role_averages", scope="checkpoint", name=name, source=SOURCE)
                ),
                **_claims(_of(written, "claims", checkpoint=name)),
                **answered.get(name, {}),
                **({"datasets": read[name]} if name in read else {}),
            }
            for name, counts in written.checkpoint_counts.items()
        },
    }


def _of(written: Written, stem: str, **values: str) -> pd.DataFrame:
    frame = written.frames[stem]
    for column, value in values.items():
        frame = frame[frame[column] == value]
    return frame


def _intra_run(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    return {
        str(source): {name: float(some[name].mean()) for name in _MEASURES}
        for source, some in rows.groupby("source", sort=False, observed=True)
    }


def _best_layer(rows: pd.DataFrame) -> dict[str, float] | None:
    if rows.empty:
        return None
    first = rows[rows["position"] == rows["position"].iloc[0]]
    score = first["centred_discrimination"] - first["null"]
    if score.isna().all():
        score = first["centred_discrimination"]
    if score.isna().all():
        return None
    best = first.loc[score.idxmax()]
    names = ("layer", "lower", "upper", "null", "n", "conversations")
    return {"value": best["centred_discrimination"]} | {name: best[name] for name in names}


def _roles(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    return {
        str(row["reference"]): {
            "difference": row["difference_centred"],
            "lower": row["lower_centred"],
            "upper": row["upper_centred"],
            "n_user": row["n_user"],
            "n_assistant": row["n_assistant"],
        }
        for _, row in rows.iterrows()
    }


def _claims(rows: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """``claims`` by quantity; empty where nothing is labelled."""
    some = rows[(rows["centred"] == 1) & (rows["reference"] == "")]
    found = {
        str(row["quantity"]): {name: row[name] for name in _CLAIM} for _, row in some.iterrows()
    }
    return {"claims": found} if found else {}


def _questions(rows: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """For each checkpoint that answered questions: ``questions``, and in it the scenarios."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for _, row in rows[rows["group"] == ALL_GROUPS].iterrows():
        numbers = {name: row[name] for name in ("accuracy", "lower", "upper", "chance", "n")}
        scenarios = found.setdefault(str(row["checkpoint"]), {"questions": {}})["questions"]
        scenarios[str(row["scenario"])] = numbers
    return found


def _datasets(written: Written) -> dict[str, dict[str, dict[str, Any]]]:
    """For each checkpoint and dataset: ``probes`` by label, ``drift`` of the last layer."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    probes, drift = written.frames["probes"], written.frames["drift"]
    for _, row in best_rows(main_rows(probes)).iterrows():
        place = found.setdefault(row["checkpoint"], {}).setdefault(row["dataset"], {})
        numbers = {row["measure"]: row["estimate"]} | {name: row[name] for name in _PROBE}
        place.setdefault("probes", {})[row["label"]] = numbers
    rows = main_drift(drift)
    last = rows[rows["layer"] == rows.groupby("dataset")["layer"].transform("max")]
    for _, row in last.iterrows():
        place = found.setdefault(row["checkpoint"], {}).setdefault(row["dataset"], {})
        place["drift"] = {row["measure"]: row["value"]} | {name: row[name] for name in _DRIFT}
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    if value is None or isinstance(value, int):
        return value
    number = float(value)
    if math.isnan(number):
        return None
    number = float(f"{number:.6g}")
    return int(number) if number.is_integer() and abs(number) < 1e15 else number
