"""One shard of neurons: two features a text, and beside them what was counted over its tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from stratascope.capture.features.batches import Selection
from stratascope.capture.features.making import Maker, ShardTexts
from stratascope.capture.features.reader import Sink
from stratascope.capture.features.texts import Text
from stratascope.capture.neurons.batch import Batch
from stratascope.capture.neurons.buckets import bucket_bounds
from stratascope.capture.neurons.passes import Scratch, passes_on
from stratascope.capture.neurons.state import LayerState
from stratascope.capture.prompts import token_text
from stratascope.store.commit import new_file
from stratascope.store.hashes import sha256
from stratascope.store.neurons import BOUNDS, LARGEST, MEAN, PIECES, state_name
from stratascope.study.features import NeuronSet


@dataclass(frozen=True)
class NeuronMaker(Maker):
    """A maker that keeps of each text the mean and the largest value of every neuron.

    What it counts over all tokens of a shard lies in a file of its own beside the shard's features.
    """

    states: dict[str, LayerState] = field(default_factory=dict)
    pieces: dict[int, str] = field(default_factory=dict)
    scratch: Scratch = field(default_factory=Scratch)

    def _widths(self) -> dict[str, int]:
        return {
            f"{name}/{what}": width
            for name, width in self.reader.widths.items()
            for what in (MEAN, LARGEST)
        }

    def _selection(self, texts: Sequence[Text]) -> Selection:
        return Selection(texts, mean=False, copy=False)

    def _sink(self, keep: Sink, texts: Sequence[Text], numbers: Sequence[int] | None) -> Sink:
        lengths = [len(text.ids) for text in texts]
        batches: dict[torch.device, Batch] = {}

        def take(names: tuple[str, ...], rows: torch.Tensor) -> None:
            rows = rows.float().contiguous()
            if rows.device.type == "mps":
                rows = rows.cpu()  # sums are float64, which Metal has not
            device = rows.device
            if device not in batches:
                batches[device] = Batch(lengths, numbers or range(len(texts)), device)
            batch = batches[device]
            if numbers is None:
                reduced = passes_on(device).reduce(rows, batch)
                mean = (reduced.sums / batch.lengths[:, None]).float()
                largest = reduced.largest
            else:
                mean, largest = self._state(names[0], rows).add(rows, batch)
            keep(tuple(f"{name}/{MEAN}" for name in names), mean)
            keep(tuple(f"{name}/{LARGEST}" for name in names), largest)

        return take

    def _state(self, name: str, rows: torch.Tensor) -> LayerState:
        if name not in self.states:
            assert isinstance(self.features, NeuronSet)
            self.states[name] = LayerState(
                rows.shape[1], self.features.top_k, rows.device, self.scratch
            )
        return self.states[name]

    def _begin(self) -> None:
        self.states.clear()

    def _beside(self, content: ShardTexts) -> Callable[[], dict[str, str]]:
        arrays = {BOUNDS: bucket_bounds()} | {
            f"{name}/{key}": np.ascontiguousarray(array)
            for name, state in self.states.items()
            for key, array in state.arrays().items()
        }
        path = self.folder / state_name(content.shard.number)

        def save() -> dict[str, str]:
            with new_file(path) as partial:
                save_file(arrays, partial)
            return {path.name: sha256(path)}

        return save

    def _index(self, content: ShardTexts) -> Any:
        pieces = [[self._piece(int(token)) for token in text.ids] for text in content.texts]
        return super()._index(content).append_column(PIECES, [pieces])

    def _piece(self, token: int) -> str:
        if token not in self.pieces:
            found = token_text(self.loaded.tokenizer, token)
            self.pieces[token] = found.encode("utf-8", "replace").decode("utf-8")
        return self.pieces[token]
