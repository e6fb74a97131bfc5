"""A study of many scenarios on several checkpoints, with results as capture would leave them.

The models are copies of the smallest demo step; the states are random numbers that share a direction.
"""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import studies
from sizes import Sizes
from stratascope.store.datasets import content_of
from stratascope.store.identity import identify
from stratascope.store.layout import Layout
from stratascope.store.runs import SOURCES, tensor_name
from stratascope.study.jobs import StatesJob
from stratascope.study.plan import Plan, make_plan
from stratascope.study.runs import Run

MODEL = studies.CLONE / "models" / "demo" / "step-0"
ROLES = ("user", "assistant", "user")
LABELS = ("joy", "grief")
POSITION = "generation_prompt"
LAYOUT = Layout.of_study()


def write_study(folder: Path, sizes: Sizes) -> None:
    """Its config, scenario files and models."""
    for name in ("config", "scenarios", "models"):
        (folder / name).mkdir(parents=True)
    checkpoints = [f"step-{place}" for place in range(sizes.many_checkpoints)]
    for name in checkpoints:
        shutil.copytree(MODEL, folder / "models" / name)
    config = {
        "checkpoints": {name: {"id": f"models/{name}"} for name in checkpoints},
        "defaults": studies.SMALL_CONFIG["defaults"],
        "capture": {"threads": 1},
    }
    studies.write_yaml(folder / "config" / "config.yaml", config)
    references = [
        {"label": label, "messages": [{"role": "user", "content": f"ba{label}"}]}
        for label in LABELS
    ]
    for number in range(sizes.many_scenarios):
        said = [
            {"role": role, "content": f"babe {place} of {number}"}
            for place, role in enumerate(ROLES)
        ]
        scenario = {
            "name": f"scenario_{number:04d}",
            "prompt": {"messages": said},
            "generation": {"max_new_tokens": sizes.many_steps},
            "reference_states": references,
        }
        path = folder / "scenarios" / f"{scenario['name']}.yaml"
        studies.write_yaml(path, scenario)


def plan_of(folder: Path) -> Plan:
    """The plan of the study in ``folder``."""
    return make_plan(folder, identify, content_of)


def write_captured(folder: Path, sizes: Sizes) -> None:
    """What capture and states would leave: manifests, runs without tensors, states."""
    plan = plan_of(folder)
    for job in plan.captures:
        _write_json(folder / LAYOUT.captures / f"{job.name}.json", {})
    for run in plan.runs:
        _write_run(folder / LAYOUT.runs / run.folder, run, sizes)
    for states in plan.states:
        _write_states(folder / LAYOUT.states / f"{states.name}.json", states, sizes)


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_run(folder: Path, run: Run, sizes: Sizes) -> None:
    messages = _messages(run)
    tokens = {POSITION: {"indices": [9], "text": ["<|assistant|>"]}}
    record = {
        "label": run.label,
        "prompt_token_ids": list(range(20)),
        "generated_text": _generated(run),
        "snapshots": {
            "method": "packed",
            "messages": [message | {"tokens": tokens} for message in messages],
            "skipped": [],
        },
    }
    _write_json(folder / "run.json", record)
    chosen = np.random.default_rng(int(run.digest, 16))
    steps = []
    for place in range(sizes.many_steps):
        odds = np.sort(chosen.dirichlet(np.full(10, 0.4)).clip(1e-6))[::-1]
        likeliest = [
            {"id": rank, "token": f" w{chosen.integers(300)}", "logprob": float(np.log(odd))}
            for rank, odd in enumerate(odds)
        ]
        steps.append(
            {
                "seq_len": 20 + place,
                "generated_token_id": 0,
                "generated_token": likeliest[0]["token"],
                "entropy": float(-(odds * np.log(odds)).sum()),
                "top_k": likeliest,
            }
        )
    _write_json(folder / "steps.json", {"steps": steps})


def _messages(run: Run) -> list[dict[str, Any]]:
    said = enumerate(run.messages)
    return [
        {"index": i, "role": m.role, "content": m.content, "prefix": f"{run.scenario}/{i}"}
        for i, m in said
    ]


def _generated(run: Run) -> str:
    return f"What {run.label} generated."


def _write_states(path: Path, job: StatesJob, sizes: Sizes) -> None:
    count, each = len(job.runs), len(ROLES)
    rows = {
        "initial": count,
        "final": count,
        f"snapshot/{POSITION}": count * each,
        f"reference/{POSITION}": len(LABELS),
    }
    rng = np.random.default_rng(job.order)
    tensors = {}
    for which, layer, source in itertools.product(rows, range(sizes.many_layers), SOURCES):
        shared = 2 * rng.standard_normal(sizes.many_hidden, np.float32)
        states = shared + rng.standard_normal((rows[which], sizes.many_hidden), np.float32)
        tensors[f"{which}/{tensor_name(layer, source)}"] = states
    content = {
        "checkpoint": job.checkpoint.name,
        "order": job.order,
        "model": {"id": job.checkpoint.name, "revision": None},
        "hidden_size": sizes.many_hidden,
        "num_layers": sizes.many_layers,
        "layers": list(range(sizes.many_layers)),
        "sources": list(SOURCES),
        "positions": [POSITION],
        "runs": [_entry(run, i * each) for i, run in enumerate(job.runs)],
        "reference_sets": [{"labels": list(LABELS), "rows": [0, len(LABELS)]}],
    }
    _write_json(path, content)
    save_file(tensors, path.with_suffix(".safetensors"))


def _entry(run: Run, first: int) -> dict[str, Any]:
    messages = _messages(run)
    return {
        "label": run.label,
        "scenario": run.scenario,
        "parent": run.parent,
        "folder": run.folder,
        "generated": _generated(run),
        "prompt": messages[-1]["content"],
        "rows": [first, first + len(messages)],
        "messages": messages,
        "reference_set": 0,
    }
