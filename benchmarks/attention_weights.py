"""Attention weights of one prefill: our attention interface, which keeps the fast attention and
computes weights beside it where somebody listens, against full eager attention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import random_model
from agree import largest_difference
from bench import Bench
from race import Row, race
from stratascope.capture.recorder import record
from stratascope.capture.sites import capture_taps
from stratascope.study.schema import Capture

ONLY_WEIGHTS = Capture(hidden_states=False, qkv=False, mlp=False, logits=False)


def measure(bench: Bench) -> list[Row]:
    """All layers, then one layer alone, which eager attention cannot do for less."""
    every = list(range(bench.loaded.layers))
    return [_measure(bench, every, "all layers"), _measure(bench, every[-1:], "one layer")]


def _measure(bench: Bench, layers: Sequence[int], which: str) -> Row:
    loaded, sizes = bench.loaded, bench.sizes
    text = random_model.text(sizes.attention_words, 2, sizes.vocabulary)
    ids = torch.tensor([loaded.tokenizer(text)["input_ids"]])
    taps = capture_taps(loaded.model, loaded.family, ONLY_WEIGHTS, layers)

    def interface(_: Path) -> dict[str, np.ndarray]:
        weights: dict[str, np.ndarray] = {}

        def keep(names: tuple[str, ...], tensor: torch.Tensor) -> None:
            weights[names[0]] = tensor.numpy()

        with torch.inference_mode(), record(loaded.model, taps, keep) as recording:
            loaded.model.base_model(input_ids=ids, use_cache=False)
            recording.check_pass(ids.shape[1])
        return weights

    def eager(_: Path) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            output = bench.eager.base_model(input_ids=ids, use_cache=False, output_attentions=True)
        return {f"layer_{i:02d}/attn_weights": output.attentions[i][0].numpy() for i in layers}

    done = race({"our interface": interface, "eager attention": eager}, _agree, sizes.rounds)
    what = f"attention weights of {ids.shape[1]} tokens, {which}"
    return done.row(what, "our interface", "eager attention")


def _agree(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> str:
    difference = largest_difference(ours, theirs, 1e-4)
    return f"largest relative difference {difference:.0e}"
