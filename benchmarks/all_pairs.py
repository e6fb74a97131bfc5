"""Every pair of many runs, initial and final states, four sources, every layer: our tables in one
vectorised job, with the centred cosines and backgrounds, against a loop over the pairs. The loop ran
on some of the pairs and its time is extrapolated to all."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from agree import largest_difference
from bench import Bench
from race import Race, Row, race
from sizes import Sizes
from stratascope.report.tables import write_tables
from stratascope.store.runs import SOURCES, tensor_name

STATES = ("initial", "final")
METRICS = ("cosine", "MAE", "overlap")
KEYS = ("state", "pair", "source", "layer")
Pair = tuple[int, int]


def measure(bench: Bench) -> list[Row]:
    """All tables of a study of synthetic runs against the loop's comparison tables."""
    sizes = bench.sizes
    index = bench.folder / "pairs" / "states.json"
    tensors = write_states(sizes, index)
    every = list(itertools.combinations(range(sizes.runs), 2))
    some = sorted(random.Random(0).sample(every, sizes.looped_pairs))

    def vectorised(folder: Path) -> Path:
        write_tables([index], folder)
        return folder / "comparison_cosines.csv"

    def loop(folder: Path) -> Path:
        return loop_over_pairs(tensors, some, sizes, folder)

    def agree(ours: Path, theirs: Path) -> str:
        left, right = (pd.read_csv(path).set_index(list(KEYS)) for path in (ours, theirs))
        assert len(left) == len(every) * len(right) // len(some), "not every pair"
        left = left.loc[right.index]
        largest_difference(
            {name: left[name].to_numpy() for name in METRICS},
            {name: right[name].to_numpy() for name in METRICS},
            1e-5,
        )
        return f"extrapolated from {len(some)} of {len(every)} pairs"

    done = race({"one job": vectorised, "a loop of pairs": loop}, agree, sizes.rounds)
    factor = len(every) / len(some)
    scaled = {
        name: [t * factor for t in seconds] if name == "a loop of pairs" else seconds
        for name, seconds in done.seconds.items()
    }
    what = f"all pairs of {sizes.runs} runs, {sizes.run_layers} layers of {sizes.run_hidden}"
    return [Race(scaled, done.agreement).row(what, "one job", "a loop of pairs")]


def write_states(sizes: Sizes, index: Path) -> dict[str, np.ndarray]:
    """A states file of random runs that share a direction, as residual streams do."""
    rng = np.random.default_rng(0)
    shape = (sizes.runs, sizes.run_hidden)
    tensors = {}
    for which, layer, source in itertools.product(STATES, range(sizes.run_layers), SOURCES):
        shared = 2 * rng.standard_normal(shape[1], np.float32)
        states = shared + rng.standard_normal(shape, np.float32)
        tensors[f"{which}/{tensor_name(layer, source)}"] = states
    index.parent.mkdir(exist_ok=True)
    save_file(tensors, index.with_suffix(".safetensors"))
    content = {
        "checkpoint": "only",
        "order": 0,
        "model": {"id": "only", "revision": None},
        "hidden_size": sizes.run_hidden,
        "num_layers": sizes.run_layers,
        "layers": list(range(sizes.run_layers)),
        "sources": list(SOURCES),
        "positions": ["generation_prompt"],
        "runs": [_entry(number) for number in range(sizes.runs)],
        "reference_sets": [],
    }
    index.write_text(json.dumps(content), encoding="utf-8")
    return tensors


def _label(run: int) -> str:
    return f"scenario_{run:03d}@only"


def _entry(run: int) -> dict[str, object]:
    return {
        "label": _label(run),
        "scenario": f"scenario_{run:03d}",
        "parent": f"scenario_{run:03d}",
        "folder": f"{_label(run)}-0",
        "generated": f"A sentence that run {run} generated.",
        "prompt": f"What run {run} was asked.",
        "rows": [0, 0],
        "messages": [],
        "reference_set": None,
    }


def loop_over_pairs(
    tensors: dict[str, np.ndarray], pairs: Sequence[Pair], sizes: Sizes, folder: Path
) -> Path:
    """Pair by pair, source by source, layer by layer; both comparison tables as CSV files."""
    layers, summaries = [], []
    for (a, b), state, source in itertools.product(pairs, STATES, SOURCES):
        keys = {
            "state": state,
            "pair": f"{_label(a)} vs {_label(b)}",
            "run_a": _label(a),
            "run_b": _label(b),
            "source": source,
        }
        found = []
        for layer in range(sizes.run_layers):
            states = tensors[f"{state}/{tensor_name(layer, source)}"]
            found.append(compare(states[a], states[b]))
            layers.append(keys | {"layer": layer} | found[-1])
        summaries.append(keys | summarise(found))
    path = folder / "comparison_cosines.csv"
    pd.DataFrame(layers).to_csv(path, index=False)
    pd.DataFrame(summaries).to_csv(folder / "comparison_report.csv", index=False)
    return path


def compare(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """The three measures of two states, from their definitions."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    count = max(1, len(x) // 100)
    top_x, top_y = (set(np.argsort(-np.abs(s))[:count].tolist()) for s in (x, y))
    return {
        "cosine": float(x @ y / (math.sqrt(x @ x) * math.sqrt(y @ y))),
        "MAE": float(np.abs(x - y).mean()),
        "overlap": len(top_x & top_y) / len(top_x | top_y),
    }


def summarise(layers: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean, spread, median and extremes over the layers."""
    summary: dict[str, float] = {}
    for name in METRICS:
        values = np.array([layer[name] for layer in layers])
        summary |= {
            f"mean_{name}": values.mean(),
            f"std_{name}": values.std(),
            f"median_{name}": np.median(values),
            f"min_{name}": values.min(),
            f"least_{name}_layer": int(values.argmin()),
        }
    return summary
