"""Other ways to write every layer's output for a list of texts: each holds all of it in memory and
saves one NPZ file at the end, as its users do."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

# Writes `layer_NN`, (tokens of all texts, hidden), for the texts given as token ids.
Way = Callable[[PreTrainedModel, Sequence[np.ndarray], Path], Path]

BATCH = 32


def batches(texts: Sequence[np.ndarray]) -> Iterator[tuple[torch.Tensor, torch.Tensor, list[int]]]:
    """Token ids and mask, padded on the right, of each 32 texts in order; and their lengths."""
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        lengths = [len(ids) for ids in part]
        ids = torch.zeros(len(part), max(lengths), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(part):
            ids[i, : len(row)] = torch.from_numpy(row)
            mask[i, : len(row)] = 1
        yield ids, mask, lengths


def _kept(hidden: torch.Tensor, lengths: Sequence[int]) -> np.ndarray:
    """The real tokens of a batch, one below the other."""
    host = hidden.detach().cpu()
    return torch.cat([host[i, :n] for i, n in enumerate(lengths)]).numpy()


def _save(folder: Path, layers: Sequence[Sequence[np.ndarray]]) -> Path:
    path = folder / "features.npz"
    np.savez(path, **{f"layer_{i:02d}": np.concatenate(parts) for i, parts in enumerate(layers)})
    return path


def backbone(model: PreTrainedModel, texts: Sequence[np.ndarray], _: Path) -> None:
    """The floor: forward passes of the layers, without the head, nothing kept."""
    with torch.inference_mode():
        for ids, mask, lengths in batches(texts):
            same = len(set(lengths)) == 1
            model.model(ids, attention_mask=None if same else mask, use_cache=False)


def full(model: PreTrainedModel, texts: Sequence[np.ndarray], _: Path) -> None:
    """Forward passes with the head, nothing kept."""
    with torch.inference_mode():
        for ids, mask, lengths in batches(texts):
            same = len(set(lengths)) == 1
            model(ids, attention_mask=None if same else mask, use_cache=False)


def output_hidden_states(model: PreTrainedModel, texts: Sequence[np.ndarray], folder: Path) -> Path:
    """Transformers' own switch. Its last entry is normed, so the last layer's comes from a hook."""
    kept: list[list[np.ndarray]] = [[] for _ in model.model.layers]
    last: list[torch.Tensor] = []
    hook = model.model.layers[-1].register_forward_hook(lambda _, __, out: last.append(_first(out)))
    with torch.inference_mode():
        for ids, mask, lengths in batches(texts):
            out = model(ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
            for i, hidden in enumerate((*out.hidden_states[1:-1], last.pop())):
                kept[i].append(_kept(hidden, lengths))
    hook.remove()
    return _save(folder, kept)


def naive_hooks(model: PreTrainedModel, texts: Sequence[np.ndarray], folder: Path) -> Path:
    """A forward hook on each layer that copies its output to the CPU."""
    kept: list[list[np.ndarray]] = [[] for _ in model.model.layers]
    lengths: list[int] = []
    hooks = [
        layer.register_forward_hook(
            lambda _, __, out, i=i: kept[i].append(_kept(_first(out), lengths))
        )
        for i, layer in enumerate(model.model.layers)
    ]
    with torch.inference_mode():
        for ids, mask, found in batches(texts):
            lengths[:] = found
            model(ids, attention_mask=mask, use_cache=False)
    for hook in hooks:
        hook.remove()
    return _save(folder, kept)


def nnsight(model: PreTrainedModel, texts: Sequence[np.ndarray], folder: Path) -> Path:
    """nnsight's tracing context."""
    from nnsight import NNsight

    wrapped = NNsight(model)
    kept: list[list[np.ndarray]] = [[] for _ in model.model.layers]
    for ids, mask, lengths in batches(texts):
        # What a trace appends is saved; a comprehension's own variables are not seen outside.
        outputs: list[Any] = []
        with torch.inference_mode(), wrapped.trace(ids, attention_mask=mask, use_cache=False):
            for layer in wrapped.model.layers:
                outputs.append(layer.output.save())  # noqa: PERF401
        for i, hidden in enumerate(outputs):
            kept[i].append(_kept(_first(hidden), lengths))
    return _save(folder, kept)


@cache
def _bridge(folder: str) -> Any:
    """TransformerLens rebuilds the model that it wraps, so it gets one of its own."""
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(folder, dtype=torch.float32, device="cpu")


def transformer_lens(model: PreTrainedModel, texts: Sequence[np.ndarray], folder: Path) -> Path:
    """TransformerLens' bridge, with its cache of the residual stream."""
    bridge = _bridge(model.name_or_path)
    names = [f"blocks.{i}.hook_out" for i in range(len(model.model.layers))]
    kept: list[list[np.ndarray]] = [[] for _ in names]
    with torch.inference_mode():
        for ids, mask, lengths in batches(texts):
            _, cached = bridge.run_with_cache(ids, attention_mask=mask, names_filter=names)
            for i, name in enumerate(names):
                kept[i].append(_kept(cached[name], lengths))
    return _save(folder, kept)


def _first(output: object) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output  # type: ignore[return-value]


def installed() -> dict[str, Way]:
    """Every way that can run here; nnsight and TransformerLens come with `stratascope[peers]`."""
    found: dict[str, Way] = {
        "output_hidden_states, np.savez": output_hidden_states,
        "hooks, np.savez": naive_hooks,
    }
    if importlib.util.find_spec("nnsight"):
        found["nnsight"] = nnsight
    if importlib.util.find_spec("transformer_lens"):
        found["TransformerLens"] = transformer_lens
    return found
