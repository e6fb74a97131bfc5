"""The states after each message of a conversation, packed into one row, against one forward pass a
message. Both sides render and tokenise, skip the head, and use the same fast attention: what is left
is the packing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import activation_lab_way
import random_model
from agree import largest_difference
from bench import Bench
from race import Row, race
from stratascope.capture import prompts
from stratascope.capture.run import prefix_name
from stratascope.capture.snapshots import take_snapshots

POSITION = "generation_prompt"


def measure(bench: Bench) -> list[Row]:
    """Ours against one forward pass a prefix."""
    loaded = bench.loaded
    messages = random_model.conversation(bench.sizes)
    layers = list(range(loaded.layers))

    def packed(_: Path) -> dict[str, np.ndarray]:
        taken = take_snapshots(loaded, messages, layers, [POSITION], prefix_name)
        assert taken.summary["method"] == "packed", taken.summary["reason"]
        return {name.removeprefix(f"{POSITION}/"): rows for name, rows in taken.states.items()}

    def one_pass_each(_: Path) -> dict[str, np.ndarray]:
        rendered = (
            prompts.render(loaded.tokenizer, messages[: i + 1]) for i in range(len(messages))
        )
        ids = [prompts.tokenize(loaded.tokenizer, text).ids for text in rendered]
        states = [activation_lab_way.last_states(loaded.model.base_model, row) for row in ids]
        return {name: torch.stack([s[name] for s in states]).numpy() for name in states[0]}

    done = race({"packed": packed, "one pass each": one_pass_each}, _agree, bench.sizes.rounds)
    what = f"snapshots after {len(messages)} messages"
    return [done.row(what, "packed", "one pass each")]


def _agree(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> str:
    difference = largest_difference(ours, theirs, 1e-4)
    return f"largest relative difference {difference:.0e}"
