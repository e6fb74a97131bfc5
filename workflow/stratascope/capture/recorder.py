"""Hooks on the model's modules: installed for a while, always removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

from stratascope.capture.attention import LISTENER
from stratascope.capture.sites import Tap
from stratascope.errors import StratascopeError

# Receives the names of a tensor and the tensor itself, without its batch axis: (tokens, width), or
# (heads, tokens, context) for attention weights. Called inside the forward pass.
Sink = Callable[[tuple[str, ...], torch.Tensor], None]


class Recording:
    """What the passes since the last check have handed over."""

    def __init__(self, taps: Sequence[Tap]) -> None:
        self._rows: dict[Tap, int | None] = dict.fromkeys(taps)

    def saw(self, tap: Tap, rows: int) -> None:
        """Note that ``tap`` delivered a tensor of ``rows`` rows.

        Raises:
            StratascopeError: it did so before in this pass.
        """
        if self._rows[tap] is not None:
            raise StratascopeError(
                f"{tap.names[0]}: module {tap.path!r} ran twice in one forward pass, so its rows "
                "cannot be told apart; leave it out"
            )
        self._rows[tap] = rows

    def check_pass(self, tokens: int) -> None:
        """Call this after each forward pass, with how many tokens went in.

        Raises:
            StratascopeError: something asked for was not captured in that pass, or not one row a
                token.
        """
        missing = [tap for tap, rows in self._rows.items() if rows is None]
        if missing:
            reason = (
                "its attention does not go through transformers' attention interface"
                if missing[0].where == "weights"
                else "the module did not run in this forward pass"
            )
            raise StratascopeError(
                f"{missing[0].names[0]} was asked for and not captured: {missing[0].path!r}: "
                f"{reason}"
            )
        for tap, rows in self._rows.items():
            if rows != tokens:
                raise StratascopeError(
                    f"{tap.names[0]}: module {tap.path!r} gave {rows} rows for {tokens} tokens, "
                    "not one row a token; leave it out"
                )
        self._rows = dict.fromkeys(self._rows)


def first_tensor(value: Any) -> torch.Tensor | None:
    """The first tensor in tuples, lists, dicts and dataclasses, however deep."""
    if isinstance(value, torch.Tensor):
        return value
    if is_dataclass(value) and not isinstance(value, dict):  # ModelOutput is both
        value = [getattr(value, field.name) for field in fields(value)]
    values = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, (tuple, list, Mapping)):
        return None
    return next((found for item in values if (found := first_tensor(item)) is not None), None)


def _read(tap: Tap, value: Any) -> torch.Tensor | None:
    if tap.item is None or isinstance(value, torch.Tensor):
        return first_tensor(value)
    try:
        return first_tensor(value[tap.item])
    except (IndexError, KeyError, TypeError):
        return None


def _rows(tap: Tap, value: Any, config: Any) -> torch.Tensor:
    """The tensor of one sequence as (tokens, width)."""
    tensor = _read(tap, value)
    shape = None if tensor is None else tuple(tensor.shape)
    if tensor is None or tensor.ndim < 2 or (tensor.ndim > 2 and tensor.shape[0] != 1):
        raise StratascopeError(
            f"{tap.names[0]}: module {tap.path!r} gave {'no tensor' if shape is None else shape}, "
            "not one row a token; leave it out"
        )
    # (1, tokens, heads, width) becomes one row a token; (tokens, width) is one already.
    rows = tensor[0].flatten(1) if tensor.ndim > 2 else tensor
    return rows if tap.cut is None else tap.cut(rows, config)


def _attach(stack: ExitStack, model: nn.Module, tap: Tap, recording: Recording, sink: Sink) -> None:
    try:
        module = model.get_submodule(tap.path)
    except AttributeError as error:
        raise StratascopeError(
            f"{tap.names[0]}: this model has no module {tap.path!r}; leave the site or layer out"
        ) from error

    config: Any = getattr(model, "config", None)
    if isinstance(config, PreTrainedConfig):
        config = config.get_text_config(decoder=True)

    def deliver(tensor: torch.Tensor) -> None:
        recording.saw(tap, tensor.shape[-2])
        sink(tap.names, tensor)

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        deliver(_rows(tap, (args, kwargs), config))

    def after(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        if tap.where == "output":
            deliver(_rows(tap, output, config))
        elif (weights := _read(tap, output)) is not None:
            deliver(weights[0])

    if tap.where == "weights" and tap.item is None:
        setattr(module, LISTENER, lambda weights: deliver(weights[0]))
        stack.callback(delattr, module, LISTENER)
    elif tap.where == "input":
        stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    else:
        stack.callback(module.register_forward_hook(after).remove)


@contextmanager
def record(model: nn.Module, taps: Sequence[Tap], sink: Sink) -> Iterator[Recording]:
    """Hand the tensors of every pass inside the block to ``sink``; leave no hook behind.

    Raises:
        StratascopeError: a module that the model does not have.
    """
    recording = Recording(taps)
    with ExitStack() as stack:
        for tap in taps:
            _attach(stack, model, tap, recording, sink)
        yield recording
