"""One more scenario: a conversation, its generation with everything captured, a snapshot a message,
and references that Stratascope shares with the scenarios before. First in a process that has the
model loaded, against the way of Activation Lab; then the whole command, with the tables and the
report, against a process that captures in the way of Activation Lab and does nothing else. The
embedded checkpoints are tiny, so the whole command is nearly only the start of its processes: one a
checkpoint imports PyTorch, where the other side has a single process for all checkpoints."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

import activation_lab_way
import random_model
import studies
from agree import folder_bytes, largest_difference, megabytes
from bench import STORED, Bench
from capture_run import TOLERANCE, compare_runs
from race import Row, race
from stratascope.capture import run as ours
from stratascope.capture.snapshots import take_references
from stratascope.store.datasets import content_of
from stratascope.store.identity import identify
from stratascope.store.layout import Layout
from stratascope.store.runs import RunFolder, read_json
from stratascope.study.plan import make_plan
from stratascope.study.runs import Run

NAME = "one_more"


def measure(bench: Bench) -> list[Row]:
    """In the process, then as a command."""
    return [_in_process(bench), _whole_command(bench)]


def _in_process(bench: Bench) -> Row:
    sizes, loaded = bench.sizes, bench.loaded
    run = bench.run(random_model.conversation(sizes, seed=1))
    references = {
        f"reference_{i}": random_model.conversation(sizes, seed=10 + i)[:1]
        for i in range(sizes.references)
    }
    work = activation_lab_way.Work(
        [message.model_dump() for message in run.messages],
        sizes.passes,
        {label: [message.model_dump() for message in m] for label, m in references.items()},
    )
    # Captured once, with the first scenario that used them.
    shared = take_references(
        loaded, list(references), list(references.values()), range(loaded.layers),
        ["generation_prompt"],
    )  # fmt: skip

    def stratascope(folder: Path) -> Path:
        ours.capture_run(loaded, run, folder)
        return folder

    def activation_lab(folder: Path) -> Path:
        activation_lab_way.capture(bench.eager, loaded.tokenizer, work, folder)
        return folder

    def agree(folder: Path, naive: Path) -> str:
        compare_runs(folder, naive)
        states = RunFolder.open(folder).snapshots
        _compare_states(
            {name: states.float32(name) for name in states.entries},
            sorted((naive / "conversation_snapshots").iterdir()),
        )
        _compare_states(
            shared.states, [naive / "references" / f"ref_{label}.npz" for label in references]
        )
        return (
            " against ".join(megabytes(folder_bytes(side)) for side in (folder, naive)) + " on disk"
        )

    sides = {"capture_run": stratascope, "Activation Lab's way": activation_lab}
    done = race(sides, agree, sizes.rounds)
    what = f"one more scenario of {sizes.messages} messages, model loaded"
    return done.row(what, *sides, target="at least 5 times as fast")


def _compare_states(ours: dict[str, np.ndarray], files: list[Path]) -> None:
    """Rows at the generation prompt against one NPZ file a row."""
    position = "generation_prompt/"
    rows = [dict(np.load(path)) for path in files]
    largest_difference(
        {n.removeprefix(position): a for n, a in ours.items() if n.startswith(position)},
        {name: np.stack([row[name] for row in rows]) for name in rows[0]},
        TOLERANCE,
    )


def _whole_command(bench: Bench) -> Row:
    study, sizes = bench.study, bench.sizes
    scenario = study / "scenarios" / f"{NAME}.yaml"
    models = _models(study)
    fresh = itertools.count()

    def stratascope(_: Path) -> list[Path]:
        # New content every time, so that every time there is one run a checkpoint to capture.
        studies.write_yaml(scenario, _scenario(next(fresh), sizes.passes))
        studies.snakemake(study)
        return [study / Layout.of_study().runs / run.folder for run in _added(study)]

    def activation_lab(folder: Path) -> list[Path]:
        script = str(Path(activation_lab_way.__file__))
        studies.command(script, str(scenario), str(folder), *map(str, models))
        return [folder / model.name for model in models]

    def agree(runs: list[Path], naive: list[Path]) -> str:
        for left, right in zip(runs, naive, strict=True):
            wanted = read_json(right / "run.json")["generated_token_ids"]
            assert RunFolder.open(left).info["generated_token_ids"] == wanted, "other tokens"
            compare_runs(left, right)
        return "ours makes the tables and the report, too"

    sides = {"snakemake": stratascope, "Activation Lab's way, a process": activation_lab}
    done = race(sides, agree, sizes.rounds)
    return done.row(f"one more scenario on {len(models)} checkpoints, whole command", *sides)


def _added(study: Path) -> list[Run]:
    return [run for run in make_plan(study, identify, content_of).runs if run.scenario == NAME]


def _models(study: Path) -> list[Path]:
    return [Path(job.checkpoint.source) for job in make_plan(study, identify, content_of).states]


def _scenario(number: int, passes: int) -> dict[str, object]:
    turns = ("It is day {} and I am happy.", "I am happy for you, too.", "Now I am sad again.")
    messages = [
        {"role": "assistant" if i % 2 else "user", "content": turn.format(number)}
        for i, turn in enumerate(turns)
    ]
    return {
        "name": NAME,
        "prompt": {"messages": messages},
        "generation": {"max_new_tokens": passes},
        "capture": {"store_dtype": STORED},
        "reference_states": [
            {"label": label, "messages": [{"role": "user", "content": f"I am full of {label}."}]}
            for label in ("joy", "sadness", "anger", "fear", "calm")
        ],
    }
