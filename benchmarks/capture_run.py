"""A whole run, captured to disk, against the bare forward passes of the same generation (a floor:
nothing is kept, the head is computed for one token a pass) and against the way of Activation Lab
(eager attention, hooks, one compressed NPZ file a pass). Ours and Activation Lab's also take the one
snapshot of the prompt's one message, which costs another pass over the prompt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import DynamicCache

import activation_lab_way
import random_model
from agree import folder_bytes, largest_difference, megabytes
from bench import Bench
from race import Row, race
from stratascope.capture import run as ours
from stratascope.store.runs import RunFolder
from stratascope.study.schema import Message

# What is captured, and whether the attention weights and the logits are.
VARIANTS = {"everything": True, "no attention weights, no logits": False}
# Both sides store float16, of numbers that differ in the last digits of float32.
TOLERANCE = 2e-3


def measure(bench: Bench) -> list[Row]:
    """Ours against the floor and against Activation Lab's way, with and without the large tensors."""
    return [row for name, large in VARIANTS.items() for row in _measure(bench, name, large)]


def _measure(bench: Bench, variant: str, large: bool) -> list[Row]:
    sizes = bench.sizes
    content = random_model.text(sizes.prompt_words, 1, sizes.vocabulary)
    run = bench.run((Message(role="user", content=content),), large)
    work = activation_lab_way.Work(
        [message.model_dump() for message in run.messages],
        sizes.passes,
        attention_weights=large,
        logits=large,
    )

    def stratascope(folder: Path) -> Path:
        ours.capture_run(bench.loaded, run, folder)
        return folder

    def bare(_: Path) -> list[int]:
        return bare_generation(bench, run.messages, sizes.passes)

    def activation_lab(folder: Path) -> Path:
        activation_lab_way.capture(bench.eager, bench.loaded.tokenizer, work, folder)
        return folder

    def agree(folder: Path, tokens: list[int], naive: Path) -> str:
        assert RunFolder.open(folder).info["generated_token_ids"] == tokens, "other tokens"
        difference = compare_runs(folder, naive)
        sizes_on_disk = (megabytes(folder_bytes(side)) for side in (folder, naive))
        return f"{' against '.join(sizes_on_disk)} on disk; differ by {difference:.0e} in float16"

    sides = {
        "capture_run": stratascope,
        "bare passes": bare,
        "Activation Lab's way": activation_lab,
    }
    done = race(sides, agree, sizes.rounds)
    what = f"capture of a run, {variant}"
    return [
        done.row(what, "capture_run", "bare passes", reads="cost", note=""),
        done.row(what, "capture_run", "Activation Lab's way"),
    ]


def bare_generation(bench: Bench, messages: tuple[Message, ...], passes: int) -> list[int]:
    """Greedy generation and nothing else: as few operations as transformers needs for it."""
    model, tokenizer = bench.loaded.model, bench.loaded.tokenizer
    chat = [message.model_dump() for message in messages]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    cache = DynamicCache(config=model.config)
    generated: list[int] = []
    with torch.inference_mode():
        for _ in range(passes):
            output = model(input_ids=torch.tensor([ids]), past_key_values=cache, logits_to_keep=1)
            generated.append(int(output.logits[0, -1].argmax()))
            ids = generated[-1:]
    return generated


def compare_runs(folder: Path, naive: Path) -> float:
    """Largest difference between a run folder and one that Activation Lab's way left.

    Raises AssertionError where they generated other tokens, hold other tensors, or differ.
    """
    run = RunFolder.open(folder)
    steps = activation_lab_way.read_run(naive, len(run.steps))
    windows = [slice(*step["rows"]) for step in run.steps]
    left: dict[str, np.ndarray] = {}
    right: dict[str, np.ndarray] = {}
    # The state after the final norm is one more than Activation Lab keeps.
    for name in [name for name in run.activations.entries if name != "final_norm"]:
        whole = run.activations.float32(name)
        for number, rows in enumerate(windows):
            own = whole[:, rows, : rows.stop] if name.endswith("attn_weights") else whole[rows]
            left[f"{name} at step {number}"] = own
    for name, arrays in steps.items():
        for number, array in enumerate(arrays):
            right[f"{name} at step {number}"] = array[0]
    return largest_difference(left, right, TOLERANCE)
