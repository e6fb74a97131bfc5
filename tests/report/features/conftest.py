"""Planted datasets: tables as the analyses would leave them, with a truth that the report must tell.

``emotion`` is decodable from the second checkpoint on, at layers 2 and above; ``tense`` no better than
from its words; ``coin`` not at all; ``warmth`` is a number. Each layer drifts by its depth.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from stratascope.report.build import build_report
from stratascope.report.data import ReportData
from stratascope.report.inputs import read_inputs

LAYERS = range(6)
EMOTIONS = ("anger", "calm", "<b>grief</b>", "joy")
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> %{x} <b>bold</b>"
N, GROUPS = 80, 50
LOST = {"accuracy": 0.0, "macro_f1": 0.03, "brier": 0.0}


@dataclass(frozen=True)
class Label:
    """A label and how its probe does: ``found(place, layer)`` at a checkpoint's place."""

    name: str
    classes: tuple[str, ...]
    found: Callable[[int, int], float]
    words: float | None

    @property
    def majority(self) -> float:
        return 1 / len(self.classes) if self.classes else 0.0


LABELS = (
    Label("emotion", EMOTIONS, lambda place, layer: 0.9 if place and layer > 1 else 0.3, 0.6),
    Label("tense", ("past", "present"), lambda place, layer: 0.8 if place else 0.52, 0.85),
    Label("coin", ("heads", "tails"), lambda place, layer: 0.5, 0.5),
    Label("warmth", (), lambda place, layer: 0.1 * layer * place, None),
)


@dataclass
class Planted:
    """A study with datasets: the results that it adds to, and its own folders."""

    results: Any
    root: Path
    features: list[Path] = field(default_factory=list)
    readings: list[Path] = field(default_factory=list)

    def build(self, out: Path | None = None) -> Path:
        out = out or self.root / "report.html"
        build_report(**self._inputs(), out=out)
        return out

    def read(self) -> ReportData:
        """What the sections of its report read."""
        return read_inputs(**self._inputs())

    def _inputs(self) -> dict[str, Any]:
        return {
            "study": self.results.study,
            "tables": self.root / "tables",
            "states": self.results.states,
            "runs": self.results.root / "runs",
            "metrics": self.results.root / "metrics.json",
            "features": self.features,
            "readings": self.readings,
        }


def probe_rows(names: list[str]) -> Iterator[dict[str, Any]]:
    for place, checkpoint in enumerate(names):
        for label in LABELS:
            measures = ("accuracy", "macro_f1", "brier") if label.classes else ("r2",)
            for layer in LAYERS:
                for measure in measures:
                    yield _probe_row(label, checkpoint, place, layer, measure)


def _probe_row(
    label: Label, checkpoint: str, place: int, layer: int, measure: str
) -> dict[str, Any]:
    value = label.found(place, layer) + 0.001 * layer
    value = 1 - value if measure == "brier" else value - LOST.get(measure, 0.0)
    main = measure in ("accuracy", "r2")
    p_max = 0.048 if main and value - 0.04 > label.majority + 0.05 else 0.24
    return {
        "dataset": "feelings", "checkpoint": checkpoint, "label": label.name, "site": "hidden_out",
        "layer": layer, "measure": measure, "estimate": value, "lower": value - 0.04,
        "upper": value + 0.03, "n": N, "groups": GROUPS, "majority": label.majority,
        "shuffled_mean": label.majority, "shuffled_upper": label.majority + 0.05, "p": 0.01,
        "p_max": p_max, "control": label.majority + 0.02, "selectivity": value - label.majority - 0.02,
        "difference_of_means": value - 0.1 if label.classes and main else None,
        "bag_of_tokens": label.words if main else None,
    }  # fmt: skip


def prediction_rows(names: list[str]) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(5)
    for place, checkpoint in enumerate(names):
        for label in LABELS:
            for line in range(1, N + 1):
                common = {
                    "dataset": "feelings", "checkpoint": checkpoint, "label": label.name,
                    "site": "hidden_out", "layer": 5, "line": line, "group": f"event {line % GROUPS}",
                }  # fmt: skip
                if label.classes:
                    truth = label.classes[line % len(label.classes)]
                    right = rng.random() < label.found(place, 5)
                    said = truth if right else label.classes[(line + 1) % len(label.classes)]
                    chance: float | None = round(float(rng.uniform(0.5, 1)), 4)
                else:
                    truth, chance = f"{line / 10}", None
                    said = f"{line / 10 + rng.normal():.7g}"
                yield {**common, "truth": truth, "predicted": said, "probability": chance}


def transfer_rows(names: list[str]) -> Iterator[dict[str, Any]]:
    there = [((a, 5), (b, 5)) for a in names for b in names if a != b]
    inside = [((names[-1], i), (names[-1], j)) for i in LAYERS for j in LAYERS if i != j]
    for (one, i), (two, j) in [*there, *inside]:
        value = 0.4 if one != two else 0.7 - 0.05 * abs(i - j)
        yield {
            "dataset": "feelings", "label": "emotion", "site": "hidden_out", "measure": "accuracy",
            "checkpoint_from": one, "layer_from": i, "checkpoint_to": two, "layer_to": j,
            "estimate": value, "lower": value - 0.05, "upper": value + 0.05, "majority": 0.25,
            "n": N, "groups": GROUPS, "dataset_to": "feelings",
        }  # fmt: skip
    yield {
        "dataset": "feelings", "label": "emotion", "site": "hidden_out", "measure": "accuracy",
        "checkpoint_from": names[-1], "layer_from": 5, "checkpoint_to": names[-1], "layer_to": 5,
        "estimate": 0.61, "lower": 0.5, "upper": 0.7, "majority": 0.25,
        "n": 40, "groups": 40, "dataset_to": "<letters>",
    }  # fmt: skip


def similarity_rows(names: list[str]) -> Iterator[dict[str, Any]]:
    pairs = [(a, a) for a in names] + list(pairwise(names))
    for a, b in [*pairs, (names[0], names[-1])]:
        moved = abs(names.index(a) - names.index(b))
        for measure in ("linear_cka_debiased", "angular"):
            for i in LAYERS:
                for j in LAYERS:
                    if a == b and i >= j:
                        continue
                    far = 0.1 * abs(i - j) + 0.05 * moved * (i + j) / 2
                    value = far if measure == "angular" else 1 - far
                    yield {
                        "dataset": "feelings", "checkpoint_a": a, "checkpoint_b": b,
                        "site": "hidden_out", "layer_a": i, "layer_b": j, "measure": measure,
                        "value": value, "lower": value - 0.02, "upper": value + 0.02, "p": 0.0099,
                        "null_mean": 0.0, "null_upper": 0.015, "n": N,
                    }  # fmt: skip


def drift_rows(names: list[str]) -> Iterator[dict[str, Any]]:
    for against, other in (("first", names[0]), ("last", names[-1])):
        for checkpoint in names:
            if checkpoint == other:
                continue
            moved = abs(names.index(checkpoint) - names.index(other))
            for measure in ("linear_cka_debiased", "angular"):
                for layer in LAYERS:
                    far = 0.05 * moved * (layer + 1)
                    value = far if measure == "angular" else 1 - far
                    yield {
                        "dataset": "feelings", "checkpoint": checkpoint, "against": against,
                        "against_checkpoint": other, "site": "hidden_out", "layer": layer,
                        "measure": measure, "value": value, "lower": value - 0.01,
                        "upper": value + 0.01, "n": N,
                    }  # fmt: skip


def lens_rows(names: list[str]) -> Iterator[dict[str, Any]]:
    """One conversation at 3 steps; at later checkpoints the last layer's token leads from layer 3 on."""
    for place, checkpoint in enumerate(names):
        for step in range(3):
            for layer in LAYERS:
                rank = 1 if place and layer > 2 else 1 + (5 - layer) * (place + 1)
                said = [HOSTILE, " a", "\n"] if layer == 0 else [" yes", " no", " <b>so</b>"]
                top = [{"token": word, "logprob": -0.5 - i} for i, word in enumerate(said)]
                yield {
                    "run": f"good_news@{checkpoint}", "checkpoint": checkpoint, "site": "hidden_out",
                    "layer": layer, "step": step, "position": 7 + step, "token": HOSTILE,
                    "argmax_token": said[0], "argmax_logprob": -0.5, "entropy": 2.0 - 0.3 * layer,
                    "kl_from_final": 0.4 * (5 - layer), "final_token": " yes", "rank_of_final": rank,
                    "logprob_of_final": -0.5 * rank, "next_token": " yes" if step < 2 else "",
                    "rank_of_next": rank if step < 2 else None,
                    "logprob_of_next": -0.5 * rank if step < 2 else None, "top": json.dumps(top),
                }  # fmt: skip


def residual_rows(names: list[str]) -> Iterator[dict[str, Any]]:
    """The same tokens; each layer's MLP adds 1, attention its number in tenths, half by each head."""
    for checkpoint in names:
        for step in range(3):
            for layer in LAYERS:
                yield {
                    "run": f"good_news@{checkpoint}", "checkpoint": checkpoint, "layer": layer,
                    "step": step, "position": 7 + step, "token": HOSTILE, "target_token": " <b>yes</b>",
                    "hidden_in_norm": 1.0 + layer, "attn_out_norm": 0.5, "mlp_down_out_norm": 0.7,
                    "hidden_out_norm": 2.0 + layer, "attn_cosine_out": 0.2, "attn_cosine_in": -0.1,
                    "mlp_cosine_out": 0.4, "mlp_cosine_in": 0.1, "attn_logit": 0.1 * layer,
                    "mlp_logit": 1.0, "head_logits": json.dumps([0.05 * layer, 0.05 * layer]),
                    "attn_bias_logit": 0.0, "embedding_logit": 0.25, "norm_bias_logit": 0.0,
                    "unembed_bias_logit": -0.5, "rest_logit": 0.001, "logit": 7.251 + 0.0 * step,
                }  # fmt: skip


TABLES = {
    "probes": probe_rows,
    "probe_predictions": prediction_rows,
    "probe_transfer": transfer_rows,
    "similarity": similarity_rows,
    "drift": drift_rows,
    "logit_lens": lens_rows,
    "residual": residual_rows,
}


def write_features(root: Path, checkpoint: str) -> Path:
    """Features of one dataset as extraction leaves them, without their tensors."""
    folder = root / "features" / f"feelings@{checkpoint}-0123456789ab"
    folder.mkdir(parents=True)
    lines = list(range(1, N + 1))
    words = [f"{HOSTILE if line == 1 else f'Text number {line}.'}\nI feel it." for line in lines]
    index: dict[str, list[Any]] = {
        "text": words, "line": lines, "shard": [0] * N, "row": lines, "rows": [1] * N,
        "tokens": [9] * N,
        "emotion": [EMOTIONS[line % 4] for line in lines],
        "warmth": [line / 10 for line in lines],
        "event": [f"event {line % GROUPS}" for line in lines],
    }  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.table(index), folder / "index.parquet")
    info = {
        "format": "stratascope-features-1",
        "label": f"feelings@{checkpoint}",
        "dataset": {
            "data": "feelings.jsonl",
            "messages": "messages",
            "labels": ["emotion", "warmth"],
            "groups": ["event"],
        },
        "sites": ["hidden_out"], "modules": [], "layers": list(LAYERS), "position": "last",
        "texts": N, "rows": N, "shards": [],
        "skipped": [{"line": 81, "reason": f"no text {HOSTILE}"}],
        "noise_floor": {"largest_relative_difference": 3e-7, "texts": 3, "what": "it"},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    return folder


def write_readings(root: Path, checkpoint: str, place: int) -> Path:
    """The index of a readings job, with two conversations scored token by token."""
    rng = np.random.default_rng(place)
    tokens = [
        "<|user|>",
        "\n",
        "I",
        " am",
        " so",
        " <b>glad</b>",
        ".",
        "<|assistant|>",
        " Good",
        ".",
    ]

    def talks(rows: Callable[[], list[list[float]]]) -> list[dict[str, Any]]:
        return [
            {"run": f"{name}@{checkpoint}", "tokens": tokens, "prompt": 8,
             "messages": [["user", 2, 7]], "values": rows()}
            for name in ("good_news", "bad_news")
        ]  # fmt: skip

    def shares() -> list[list[float]]:
        values = rng.dirichlet(np.ones(4), len(tokens)).T
        values[:, 5] = [0.01, 0.02, 0.03, 0.94]
        return [[round(float(value), 4) for value in row] for row in values]

    def one() -> list[list[float]]:
        return [[round(float(value), 4) for value in rng.random(len(tokens))]]

    def described(classes: list[str], rows: Callable[[], list[list[float]]]) -> dict[str, Any]:
        return {"site": "hidden_out", "layer": 5, "classes": classes, "conversations": talks(rows)}

    index = {
        "dataset": "feelings",
        "checkpoint": checkpoint,
        "tokens": {
            "emotion": described(list(EMOTIONS), shares),
            "tense": described(["past", "present"], one),
            "warmth": described([], one),
        },
    }
    path = root / "readings" / f"feelings@{checkpoint}-0123456789ab.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(index), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def planted(results: Any, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """The made study of all report tests, with a dataset."""
    root = tmp_path_factory.mktemp("planted")
    (root / "tables").mkdir()
    for path in (results.root / "tables").glob("*.csv"):
        (root / "tables" / path.name).write_bytes(path.read_bytes())
    names = list(results.study["checkpoints"])
    for name, rows in TABLES.items():
        pd.DataFrame(list(rows(names))).to_csv(root / "tables" / f"{name}.csv", index=False)
    made = Planted(results, root)
    for place, checkpoint in enumerate(names):
        made.features.append(write_features(root, checkpoint))
        made.readings.append(write_readings(root, checkpoint, place))
    return made


@pytest.fixture(scope="session")
def planted_report(planted: Planted) -> Path:
    return planted.build()
