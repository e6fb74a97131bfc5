"""Batches of texts of like length, and the rows of them that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from stratascope.capture.features.texts import Text
from stratascope.capture.loading import Loaded


def plan_batches(lengths: Sequence[int], budget: int, border: int | None = None) -> list[list[int]]:
    """The numbers of the texts of each batch, longest texts first.

    A batch padded to its longest text has at most ``budget`` tokens, or a single text. Texts longer
    than ``border`` tokens share none with those that are not. The first batch is the one that
    needs the most memory, so that what does not fit is found at once.
    """
    order = sorted(range(len(lengths)), key=lambda number: (-lengths[number], number))
    batches: list[list[int]] = []
    most = 0
    for number in order:
        batch = batches[-1] if batches else []
        beyond = border is not None and batch and lengths[batch[0]] > border >= lengths[number]
        if not batch or len(batch) >= most or beyond:
            most = max(1, budget // lengths[number])
            batches.append([number])
        else:
            batch.append(number)
    return batches


def rotary_border(config: Any) -> int | None:
    """The length beyond which a model turns positions differently, for a whole batch at once.

    LongRoPE (Ding et al. 2024, arXiv:2402.13753) has other frequencies for rows that are longer than
    those of its pretraining, so a short text must not be padded beyond.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]
    borders = [
        int(kind["original_max_position_embeddings"])
        for kind in kinds
        if kind.get("rope_type") == "longrope"
    ]
    return min(borders, default=None)


class Inputs(NamedTuple):
    """What goes into the model: ids and mask are (texts, tokens); causal models need no mask."""

    ids: torch.Tensor
    mask: torch.Tensor | None

    @property
    def tokens(self) -> int:
        """How many tokens there are, padding included."""
        return self.ids.numel()


def make_inputs(loaded: Loaded, texts: Sequence[Text]) -> Inputs:
    """The texts padded on the right, on the model's device.

    No token of a causal model sees what stands to its right, so none sees the padding, and without
    a mask attention takes its fastest way. Where tokens may see everything, a mask hides it.
    """
    longest = max(len(text.ids) for text in texts)
    pad = loaded.config.pad_token_id
    ids = torch.full((len(texts), longest), pad if isinstance(pad, int) and pad >= 0 else 0)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = torch.from_numpy(text.ids)
    mask = None
    if loaded.family is None or loaded.family.encoder:
        lengths = torch.tensor([len(text.ids) for text in texts])
        mask = (torch.arange(longest) < lengths[:, None]).long()
    return Inputs(to_device(ids, loaded.device), None if mask is None else mask.to(loaded.device))


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A CPU tensor on ``device``; a GPU is not waited for."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Selection:
    """Reduces what a module gives of a batch to the rows that are kept of each text.

    Padding is never among them.
    """

    def __init__(self, texts: Sequence[Text], *, mean: bool, copy: bool = True) -> None:
        """``copy``: without, rows that are all kept are the module's own, not to be held or changed."""
        self._copy = copy
        self.batch = len(texts)
        self._longest = max(len(text.ids) for text in texts)
        self._places = [
            row * self._longest + token for row, text in enumerate(texts) for token in text.kept
        ]
        self._counts = [len(text.kept) for text in texts] if mean else None
        self._on: dict[torch.device, tuple[torch.Tensor, ...]] = {}

    @property
    def tokens(self) -> int:
        """How many rows a module gives: a row a token, padding included."""
        return self.batch * self._longest

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """(tokens, width) to (kept rows, width); means are taken in float32."""
        if rows.device not in self._on:
            self._on[rows.device] = self._tensors(rows.device)
        if self._counts is None:
            if not self._copy and len(self._places) == self.tokens:
                return rows
            (places,) = self._on[rows.device]
            return rows.index_select(0, places)
        out, counts = self._on[rows.device]
        padded = rows.reshape(self.batch, self._longest, -1)
        if len(self._places) < self.tokens:
            padded = padded.masked_fill(out, 0)
        return padded.sum(1, dtype=torch.float32) / counts

    def _tensors(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        places = torch.tensor(self._places)
        if self._counts is None:
            return (to_device(places, device),)
        out = torch.ones(self.tokens, dtype=torch.bool)
        out[places] = False
        counts = torch.tensor(self._counts, dtype=torch.float32)[:, None]
        return to_device(out.view(self.batch, -1, 1), device), to_device(counts, device)
