"""Hooks on the model's modules: installed for a while, always removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

from stratascope.capture.attention import LISTENER, Listener
from stratascope.capture.sites import Tap
from stratascope.errors import StratascopeError

# Receives a tap and the tensor that its module gave, batch axis included. Called inside the pass.
Deliver = Callable[[Tap, torch.Tensor], None]


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


def _found(tap: Tap, value: Any) -> torch.Tensor:
    tensor = _read(tap, value)
    if tensor is None:
        raise StratascopeError(
            f"{tap.names[0]}: module {tap.path!r} gave no tensor, not one row a token; leave it out"
        )
    return tensor


def _attach(stack: ExitStack, model: nn.Module, tap: Tap, deliver: Deliver) -> None:
    try:
        module = model.get_submodule(tap.path)
    except AttributeError as error:
        raise StratascopeError(
            f"{tap.names[0]}: this model has no module {tap.path!r}; leave the site or layer out"
        ) from error

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        deliver(tap, _found(tap, (args, kwargs)))

    def after(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        if tap.where == "output":
            deliver(tap, _found(tap, output))
        elif (weights := _read(tap, output)) is not None:
            deliver(tap, weights)

    outer = module.__dict__.get(LISTENER)  # of a block around this one

    def heard(weights: torch.Tensor) -> None:
        if outer is not None:
            outer(weights)
        deliver(tap, weights)

    if tap.where == "weights" and tap.item is None:
        setattr(module, LISTENER, heard)
        stack.callback(_give_back, module, outer)
    elif tap.where == "input":
        stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    else:
        stack.callback(module.register_forward_hook(after).remove)


def _give_back(module: nn.Module, outer: Listener | None) -> None:
    if outer is None:
        delattr(module, LISTENER)
    else:
        setattr(module, LISTENER, outer)


@contextmanager
def listen(model: nn.Module, taps: Sequence[Tap], deliver: Deliver) -> Iterator[None]:
    """Hand the tensor of every tap to ``deliver`` in each pass of the block; leave no hook behind.

    Raises:
        StratascopeError: a module that the model does not have, or one that gives no tensor.
    """
    with ExitStack() as stack:
        for tap in taps:
            _attach(stack, model, tap, deliver)
        yield


def language_config(model: nn.Module) -> Any:
    """The configuration of the language model proper; none for a module without one."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config(decoder=True) if isinstance(config, PreTrainedConfig) else config


def flat_rows(tap: Tap, tensor: torch.Tensor, batch: int) -> torch.Tensor:
    """What a tap gave of ``batch`` sequences, uncut, as (batch * tokens, width).

    Some modules see all tokens of a batch in one row of rows, (batch * tokens, width), and some keep
    heads apart, (batch, tokens, heads, width).

    Raises:
        StratascopeError: a tensor that has not one row a token.
    """
    shape = tuple(tensor.shape)
    flat = tensor.ndim == 2
    if tensor.ndim < 2 or (shape[0] % batch if flat else shape[0] != batch):
        raise StratascopeError(
            f"{tap.names[0]}: module {tap.path!r} gave {shape}, not one row a token; leave it out"
        )
    return tensor if flat else tensor.flatten(2).flatten(0, 1)


def token_rows(tap: Tap, tensor: torch.Tensor, batch: int, config: Any) -> torch.Tensor:
    """What a tap gave, cut as it says, as (batch, tokens, width).

    Raises:
        StratascopeError: a tensor that has not one row a token.
    """
    rows = flat_rows(tap, tensor, batch)
    rows = rows if tap.cut is None else tap.cut(rows, config)
    return rows.reshape(batch, len(rows) // batch, -1)
