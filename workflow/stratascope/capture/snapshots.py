"""The states after each message of a conversation, and of whole reference conversations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from stratascope.capture import packing, prompts
from stratascope.capture.loading import Loaded
from stratascope.capture.packing import Pack
from stratascope.capture.recorder import record
from stratascope.capture.sites import residual_taps
from stratascope.capture.writer import not_finite
from stratascope.errors import StratascopeError
from stratascope.study.schema import Message

States = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Target:
    """One conversation to read: its tokens, and which of them each position means.

    A position that this conversation does not have is in ``skipped`` with the reason; a
    conversation that cannot be read at all has no ``ids`` and its reason under the empty name.
    """

    ids: list[int] = field(default_factory=list)
    tokens: dict[str, list[int]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def _turn_end(content: list[int]) -> list[int]:
    return content[-1:]


def _content_mean(content: list[int]) -> list[int]:
    return content


# Positions within the last message's content; `generation_prompt` is the rendering's last token.
CONTENT_POSITIONS: dict[str, Callable[[list[int]], list[int]]] = {
    "turn_end": _turn_end,
    "content_mean": _content_mean,
}


def find_target(loaded: Loaded, messages: Sequence[Message], positions: Sequence[str]) -> Target:
    """Render a conversation and find its positions.

    Raises:
        StratascopeError: a tokenizer that cannot say which characters a token stands for.
    """
    try:
        text = prompts.render(loaded.tokenizer, messages)
    except prompts.TemplateRefusalError as refusal:
        return Target(skipped={"": str(refusal)})
    if not text:
        return Target(skipped={"": "the conversation is empty"})
    tokens = prompts.tokenize(loaded.tokenizer, text)
    limit = loaded.context
    if limit is not None and len(tokens.ids) > limit:
        reason = f"{len(tokens.ids)} tokens, but the model's context holds {limit}"
        return Target(skipped={"": reason})
    target = Target(tokens.ids)
    for position in positions:
        if position == "generation_prompt":
            target.tokens[position] = [len(tokens.ids) - 1]
            continue
        span = prompts.find_content(loaded.tokenizer, messages, text)
        content = [] if span is None else prompts.content_tokens(tokens, span)
        if content:
            target.tokens[position] = CONTENT_POSITIONS[position](content)
        else:
            empty = not messages[-1].content.strip()
            target.skipped[position] = (
                "the message has no content"
                if empty
                else "the chat template changes the message's content, so its tokens are unknown"
            )
    return target


class _Gather:
    """A sink that keeps only the wanted rows of each tensor, in float32, on its device."""

    def __init__(self, pack: Pack, targets: Sequence[Target], positions: Sequence[str]) -> None:
        self.states: dict[str, tuple[list[int], torch.Tensor]] = {}
        self._picks: dict[str, tuple[list[int], torch.Tensor, torch.Tensor | None]] = {}
        for position in positions:
            members = [m for m in pack.members if position in targets[m.sequence].tokens]
            picks = [[m.at(i) for i in targets[m.sequence].tokens[position]] for m in members]
            if not members:
                continue
            index = torch.tensor([i for pick in picks for i in pick])
            mean = _mean_matrix([len(pick) for pick in picks]) if len(index) > len(picks) else None
            self._picks[position] = ([m.sequence for m in members], index, mean)

    def __call__(self, names: tuple[str, ...], tensor: torch.Tensor) -> None:
        for position, (sequences, index, mean) in self._picks.items():
            rows = tensor.index_select(0, index.to(tensor.device)).float()
            state = rows if mean is None else mean.to(tensor.device) @ rows
            for name in names:
                self.states[f"{position}/{name}"] = (sequences, state)


def _mean_matrix(counts: Sequence[int]) -> torch.Tensor:
    """(segments, rows): times rows it gives the mean of each segment of ``counts`` rows."""
    matrix = torch.zeros(len(counts), sum(counts))
    start = 0
    for segment, count in enumerate(counts):
        matrix[segment, start : start + count] = 1 / count
        start += count
    return matrix


def why_not_packed(loaded: Loaded, longest: int) -> str | None:
    """Why sequences of up to ``longest`` tokens cannot share a row here, if they cannot."""
    config = loaded.config
    if loaded.family is None or not loaded.family.packs:
        return f"{config.model_type} is not known to honour a mask of its own"
    window = getattr(config, "sliding_window", None)
    if window and window < longest:
        return f"the sliding window of {window} tokens is shorter than the sequence of {longest}"
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope in ("dynamic", "longrope"):
        # Their frequencies depend on the longest position in the row, so on the other sequences.
        return f"{rope} position embeddings depend on the length of the row"
    return None


def read_states(
    loaded: Loaded,
    targets: Sequence[Target],
    layers: Sequence[int],
    positions: Sequence[str],
    packs: Sequence[Pack],
    describe: Callable[[int], str],
) -> States:
    """The states of ``targets`` at the residual sources of ``layers``, one forward pass a pack.

    Returns ``<position>/layer_NN/<source>``, each (targets, hidden) float32; a target without that
    position is a row of NaN. ``describe`` names a target in errors.

    Raises:
        StratascopeError: a state that is not finite.
    """
    assert loaded.family is not None
    taps = residual_taps(loaded.family, layers)
    names = [name for tap in taps for name in tap.names]
    empty = np.full((len(targets), int(loaded.config.hidden_size)), np.nan, np.float32)
    states = {f"{position}/{name}": empty.copy() for position in positions for name in names}
    for pack in packs:
        gather = _Gather(pack, targets, positions)
        with torch.inference_mode(), record(loaded.model, taps, gather) as recording:
            # The model without its head: no state needs the logits.
            loaded.model.base_model(use_cache=False, **_inputs(loaded, pack))
            recording.check_pass(len(pack.ids))
        for name, (sequences, state) in gather.states.items():
            state = state.cpu()
            for i in np.flatnonzero(~np.isfinite(state.numpy()).all(axis=1)):
                where = f"{name} of {describe(sequences[i])}"
                raise not_finite(where, state[i], torch.float32, loaded.checkpoint.model.dtype)
            states[name][sequences] = state.numpy()
    return states


def _inputs(loaded: Loaded, pack: Pack) -> dict[str, torch.Tensor]:
    inputs = {"input_ids": torch.tensor([pack.ids], device=loaded.device)}
    if pack.has_suffixes:
        inputs["position_ids"] = torch.tensor([pack.positions], device=loaded.device)
        mask = torch.from_numpy(pack.mask())
        if loaded.family is not None and loaded.family.attention == "eager":
            # Eager attention adds its mask to the scores.
            least = torch.finfo(loaded.model.dtype).min
            mask = torch.zeros_like(mask, dtype=loaded.model.dtype).masked_fill(~mask, least)
        inputs["attention_mask"] = mask[None, None].to(loaded.device)
    return inputs


def choose_packs(
    loaded: Loaded, targets: Sequence[Target], *, must_pay: bool
) -> tuple[list[Pack], str | None]:
    """Rows for the readable targets, and why each has its own row, if it has.

    ``must_pay``: give each its own row if packing would make the row more than twice as long as its
    longest sequence.
    """
    readable = [i for i, target in enumerate(targets) if target.ids]
    sequences = [targets[i].ids for i in readable]
    if not sequences:
        return [], None
    longest, suffixes = packing.suffix_tokens(sequences)
    reason = why_not_packed(loaded, longest)
    if reason is None and must_pay and suffixes > longest:
        reason = (
            f"the chat template renders a conversation's beginning differently: {suffixes} tokens "
            f"are not shared with the longest rendering of {longest}"
        )
    packs = packing.pack(sequences) if reason is None else packing.alone(sequences)
    return [pack.renumbered(readable) for pack in packs], reason


@dataclass(frozen=True)
class Snapshots:
    """Snapshots of one run: the states, and what ``run.json`` says of them."""

    states: States
    summary: dict[str, object]


def _shown(loaded: Loaded, target: Target) -> dict[str, object]:
    return {
        position: {
            "indices": indices,
            "text": loaded.show(target.ids[i] for i in indices),
        }
        for position, indices in target.tokens.items()
    }


def take_snapshots(
    loaded: Loaded,
    messages: Sequence[Message],
    layers: Sequence[int],
    positions: Sequence[str],
    prefix_name: Callable[[Sequence[Message]], str],
) -> Snapshots:
    """The state after each message: one rendering, with generation prompt, for each prefix.

    A message that the chat template refuses to end on is a row of NaN, listed with the reason.
    """
    prefixes = [messages[: i + 1] for i in range(len(messages))]
    targets = [find_target(loaded, prefix, positions) for prefix in prefixes]
    states: States = {}
    method: str | None = None
    reason: str | None = f"model type {loaded.config.model_type!r} has no table of sites"
    if loaded.family is not None:
        packs, reason = choose_packs(loaded, targets, must_pay=True)
        states = read_states(
            loaded, targets, layers, positions, packs, lambda i: f"the snapshot after message {i}"
        )
        method = "packed" if reason is None else "per_prefix"
    summary: dict[str, object] = {
        "method": method,
        "reason": reason,
        "positions": list(positions),
        "messages": [
            {
                "index": i,
                "role": message.role,
                "content": message.content,
                "prefix": prefix_name(prefixes[i]),
                "tokens": _shown(loaded, targets[i]),
            }
            for i, message in enumerate(messages)
        ],
        "skipped": [
            {"index": i, "role": messages[i].role, "position": position or None, "reason": why}
            for i, target in enumerate(targets)
            for position, why in target.skipped.items()
        ],
    }
    return Snapshots(states, summary)


def take_references(
    loaded: Loaded,
    labels: Sequence[str],
    conversations: Sequence[Sequence[Message]],
    layers: Sequence[int],
    positions: Sequence[str],
) -> Snapshots:
    """The states at the end of each labelled conversation.

    Raises:
        StratascopeError: a reference that cannot be read at every position.
    """
    targets = [find_target(loaded, conversation, positions) for conversation in conversations]
    for label, target in zip(labels, targets, strict=True):
        for position, why in target.skipped.items():
            raise StratascopeError(f"reference_states: {label!r} {position}".rstrip() + f": {why}")
    packs, reason = choose_packs(loaded, targets, must_pay=False)
    states = read_states(
        loaded, targets, layers, positions, packs, lambda i: f"the reference {labels[i]!r}"
    )
    summary: dict[str, object] = {
        "labels": list(labels),
        "method": "packed" if reason is None else "per_prefix",
        "reason": reason,
        "positions": list(positions),
        "references": [
            {"label": label, "messages": len(conversation), "tokens": _shown(loaded, target)}
            for label, conversation, target in zip(labels, conversations, targets, strict=True)
        ],
    }
    return Snapshots(states, summary)
