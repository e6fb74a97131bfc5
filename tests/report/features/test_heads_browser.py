"""Single runs in the report, in a real browser: heads, layers, neurons and pictures, with hostile tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stratascope.measure.attention import SCORES
from stratascope.report.build import build_report
from stratascope.report.tables import TABLES

pytestmark = pytest.mark.slow

HOSTILE = "</script><img src=x onerror=alert(1)> %{x} <b>bold</b>"
NAMES = ("attention", "induction", "cross_layer", "trajectory")
TOKENS = [HOSTILE, " a", "\n", " \u00e9", " so", " so"]
RUNS = [("good_news@step-0", "step-0"), ("good_news@step-1000", "step-1000")]


def detected(checkpoint: str, layer: int, head: int) -> dict[str, Any]:
    """Head 4.2 is an induction head at the last checkpoint."""
    found = (checkpoint, layer, head) == ("step-1000", 4, 2)
    value = 0.8 if found else 0.03
    numbers = {
        "": value,
        "_lower": value - 0.02,
        "_upper": value + 0.02,
        "_null": 0.03,
        "_p": 1 - found,
    }
    both = {
        f"{name}{end}": number
        for name in ("induction", "previous")
        for end, number in numbers.items()
    }
    heads = {"induction_head": int(found), "previous_head": 0}
    return {"checkpoint": checkpoint, "layer": layer, "head": head, **both, **heads, "n": 32}


def write_looks(root: Path) -> list[Path]:
    """The microscope's tables into ``root``/tables, and the indices that the report reads."""
    draws = np.random.default_rng(0)
    every: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
    for run, checkpoint in RUNS:
        place = {"run": run, "checkpoint": checkpoint}
        for layer in range(6):
            for head in range(4):
                scores = dict.fromkeys(SCORES, 0.1 * layer + 0.01 * head)
                uniform = {f"{name}_uniform": 0.2 for name in SCORES}
                every["attention"].append(
                    place | {"layer": layer, "head": head, "n": 5} | scores | uniform
                )
                every["induction"].append(detected(checkpoint, layer, head))
            for other in range(6):
                both = {"site": "hidden_out", "layer_a": layer, "layer_b": other, "n": 6}
                value = 1 - 0.1 * abs(layer - other)
                every["cross_layer"].append(
                    place | both | {"cosine": value, "centred": value, "cka": value}
                )
        for position, token in enumerate(TOKENS):
            where = {"layer": 2, "neuron": 17, "site": "mlp_act", "step": 0, "position": position}
            every["trajectory"].append(place | where | {"token": token, "value": position / 7})
    for name, rows in every.items():
        frame = pd.DataFrame(rows)[list(TABLES[name].columns)]
        frame.to_csv(root / "tables" / f"{name}.csv", index=False)
    indices = []
    for run, checkpoint in RUNS:
        weights = [draws.integers(0, 256, 21, np.uint8).tobytes().hex() for _ in range(24)]
        patterns = {
            "run": run,
            "tokens": TOKENS,
            "layers": list(range(6)),
            "heads": 4,
            "weights": weights,
        }
        grid = {
            "run": run,
            "site": "hidden_out",
            "layer": 1,
            "step": 0,
            "head": None,
            "tokens": [0, 3],
            "columns": [0, 5, 9],
            "values": [[-1.0, 0.5, 2.0], [0.0, 1.0, 3.0]],
        }
        path = root / f"{checkpoint}.json"
        path.write_text(json.dumps({"patterns": patterns, "grids": [grid]}))
        indices.append(path)
    return indices


@pytest.fixture(scope="module")
def looked(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("looked")
    shutil.copytree(planted.root / "tables", root / "tables")
    results = planted.results
    build_report(
        results.study,
        root / "tables",
        results.states,
        results.root / "runs",
        results.root / "metrics.json",
        root / "report.html",
        looks=write_looks(root),
    )
    return root / "report.html"


@pytest.mark.parametrize(("width", "touch"), [(375, True), (1280, False)])
def test_every_figure_draws_and_nothing_sticks_out(
    looked: Path, watch: Callable[..., Any], width: int, touch: bool
) -> None:
    """On a phone and on a screen each figure draws, choices change it, and tokens stay text."""
    watched = watch(looked, width, 850, has_touch=touch, is_mobile=touch)
    page = watched.page
    names = ("heads", "head-patterns", "cross-layer", "trajectories", "pictures", "detectors")
    for name in names:
        assert watched.plotted(f"fig-{name}")["data"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#heads img, #heads script, #heads b").count() == 0
    drawn = watched.plotted("fig-heads")["data"][0]
    assert drawn["z"][5][3] == pytest.approx(0.53)
    assert (drawn["zmin"], drawn["zmax"]) == (0, pytest.approx(0.53))
    drawn = watched.plotted("fig-detectors")["data"][0]
    assert drawn["z"][4][2] == 0.8
    stars = [
        (i, j)
        for i, row in enumerate(drawn["text"])
        for j, text in enumerate(row)
        if "\u2605" in text
    ]
    assert stars == [(4, 2)]
    best = watched.plotted("fig-detectors-strongest")["data"][1]
    assert (best["y"], best["text"][1]) == ([0.03, 0.8], "4.2")
    page.check("#fig-cross-layer [data-axis='measure'] input[value='cka']", force=True)
    drawn = watched.plotted("fig-cross-layer")["data"][0]
    assert (drawn["zmin"], drawn["zmax"], drawn["z"][0][5]) == (0, 1, 0.5)
    assert len(watched.plotted("fig-head-patterns")["data"][0]["z"]) == len(TOKENS)
    assert watched.troubles == []
