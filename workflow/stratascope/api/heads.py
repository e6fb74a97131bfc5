"""Which heads of a model copy by induction, or look at the previous token, on repeated random tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from stratascope.api.model import Model
from stratascope.api.places import Layers
from stratascope.api.summaries import as_array
from stratascope.capture.hooks import language_config
from stratascope.errors import StratascopeError
from stratascope.measure.attention import (
    Detection,
    detect,
    induction,
    previous_token,
    uniform_previous,
)
from stratascope.measure.metrics import FloatArray

# Sequences in a forward pass: their attention weights are held at once.
BATCH = 8

Score = Callable[[np.ndarray], FloatArray]


@dataclass(frozen=True)
class Detectors:
    """Detections of all heads of ``layers``, in the order of layers, then of heads."""

    layers: list[int]
    heads: int
    induction: Detection
    previous: Detection

    def rows(self) -> list[dict[str, Any]]:
        """A row a head: of both detectors value, interval, null, p, and whether it is one; n."""
        places = [(layer, head) for layer in self.layers for head in range(self.heads)]
        return [
            {"layer": layer, "head": head}
            | _cells("induction", self.induction, at)
            | _cells("previous", self.previous, at)
            | {"n": self.induction.n}
            for at, (layer, head) in enumerate(places)
        ]


def detect_heads(
    model: Model, *, layers: Layers = "all", sequences: int = 32, length: int = 25, seed: int = 0
) -> Detectors:
    """Read ``sequences`` of ``length`` random tokens twice, and score every head.

    The tokens of a sequence are distinct, drawn from the vocabulary without special tokens. Induction:
    see ``measure.attention.induction``; its null is the same head, at the same positions, where the
    second half is other tokens, so that a liking for a distance is no induction. The previous token's
    null is uniform attention. A token that the tokenizer puts in front of texts stands in front here.

    Raises:
        StratascopeError: a model without attention weights, a context or vocabulary too short.
    """
    vocabulary, start = _vocabulary(model), _beginning(model)
    if sequences < 2 or length < 2:
        raise StratascopeError("induction needs at least 2 sequences of 2 tokens")
    if len(vocabulary) < 2 * length:
        raise StratascopeError(
            f"{model.name}: {len(vocabulary)} tokens are too few for {2 * length} distinct ones; "
            "choose a smaller length"
        )
    draws = np.random.default_rng(seed)
    drawn = [draws.choice(vocabulary, 2 * length, replace=False) for _ in range(sequences)]
    twice = [start + [*both[:length].tolist()] * 2 for both in drawn]
    once = [start + both.tolist() for both in drawn]
    halves = partial(induction, half=length, start=len(start))
    layers_read, (repeated,) = _scores(model, twice, layers, [halves])
    _, (control, before) = _scores(
        model,
        once,
        layers,
        [
            halves,
            partial(previous_token, start=len(start)),
        ],
    )
    return Detectors(
        layers_read,
        repeated.shape[1] // len(layers_read),
        induction=detect(repeated, control),
        previous=detect(before, uniform_previous(2 * length + len(start), len(start))),
    )


def _cells(name: str, found: Detection, at: int) -> dict[str, Any]:
    return {
        name: float(found.value[at]),
        f"{name}_lower": float(found.lower[at]),
        f"{name}_upper": float(found.upper[at]),
        f"{name}_null": float(found.null[at]),
        f"{name}_p": float(found.p[at]),
        f"{name}_head": bool(found.found[at]),
    }


def _scores(
    model: Model, texts: list[list[int]], layers: Layers, scores: Sequence[Score]
) -> tuple[list[int], list[FloatArray]]:
    """The layers read, and each score as (texts, layers x heads)."""
    found: list[list[FloatArray]] = [[] for _ in scores]
    for start in range(0, len(texts), BATCH):
        with model.record("attn_weights", layers=layers) as acts:
            model(texts[start : start + BATCH])
        weights = [as_array(acts["attn_weights", layer]) for layer in acts.layers]
        for kept, score in zip(found, scores, strict=True):
            kept.append(np.concatenate([score(layer) for layer in weights], axis=1))
    return acts.layers, [np.concatenate(kept) for kept in found]


def _vocabulary(model: Model) -> np.ndarray:
    """Token ids to draw from, ascending."""
    if model.tokenizer is None:
        return np.arange(int(language_config(model.module).vocab_size))
    return np.setdiff1d(np.arange(len(model.tokenizer)), model.tokenizer.all_special_ids)


def _beginning(model: Model) -> list[int]:
    """The token that stands in front of every text, if there is one."""
    if model.tokenizer is None or model.tokenizer.bos_token_id is None:
        return []
    first = model.tokenizer("a")["input_ids"][:1]
    return list(first) if first == [model.tokenizer.bos_token_id] else []
