"""From taps to passes: what a block of forward passes hands over, kept in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch import nn

from stratascope.api.passes import Pass
from stratascope.capture.hooks import language_config, listen, token_rows
from stratascope.capture.sites import Tap
from stratascope.errors import StratascopeError


class Recorder:
    """Keeps every tensor that ``taps`` deliver, a ``Pass`` for each forward pass of the model.

    ``raw`` taps keep the shape that their module gave; the others become (texts, tokens, width).
    Without ``grad`` a tensor is copied to the CPU, apart from the graph; with it, it is kept as it
    is, and holds its gradient after ``backward()``.
    """

    def __init__(
        self, model: nn.Module, taps: Sequence[Tap], raw: frozenset[Tap], grad: bool
    ) -> None:
        self.model = model
        self.taps = tuple(taps)
        self.grad = grad
        self.passes: list[Pass] = []
        # What goes into the next pass, where whoever starts it knows.
        self.given: Pass | None = None
        self._raw = raw
        self._config = language_config(model)
        self._seen: set[Tap] = set()
        self._inside = False

    def begin(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The model starts a forward pass with these arguments."""
        ids = _token_ids(args, kwargs)
        mask = _mask(kwargs.get("attention_mask"), ids)
        found = Pass({}, _kept(ids), _kept(mask), continues=_cached(kwargs) > 0)
        self.passes.append(self.given or found)
        self.given = None
        self._inside = True

    def end(self, *_: object) -> None:
        """The model ended its pass, be it with an error."""
        self._inside = False

    def deliver(self, tap: Tap, tensor: torch.Tensor) -> None:
        """Keep what a module gave. A module that runs again in one pass adds ``NAME#2`` and so on."""
        self._seen.add(tap)
        if not self._inside and (not self.passes or tap.names[0] in self.passes[-1].tensors):
            self.passes.append(Pass())  # a part of the model was called by itself
        kept = self._shaped(tap, self._with_graph(tap, tensor) if self.grad else _copied(tensor))
        tensors = self.passes[-1].tensors
        for name in tap.names:
            run = next(n for n in count(1) if _of_run(name, n) not in tensors)
            tensors[_of_run(name, run)] = kept

    def _shaped(self, tap: Tap, tensor: torch.Tensor) -> torch.Tensor:
        whole = self.grad or (tap.cut is None and tensor.ndim == 3)
        if whole or tap.where == "weights" or tap in self._raw:
            return tensor
        ids = self.passes[-1].ids
        texts = tensor.shape[0] if ids is None or tensor.ndim > 2 else ids.shape[0]
        return token_rows(tap, tensor, texts, self._config)

    def _with_graph(self, tap: Tap, tensor: torch.Tensor) -> torch.Tensor:
        if tap.cut is not None:
            raise StratascopeError(
                f"{tap.names[0]}: is cut out of what module {tap.path!r} gives, so it has no gradient "
                "of its own; record that module with grad=True"
            )
        if tensor.is_floating_point():
            if tensor.is_leaf:  # in a model with frozen weights the graph begins here
                tensor.requires_grad_()
            else:
                tensor.retain_grad()
        return tensor

    def check(self) -> None:
        """Call this when the block has ended well.

        Raises:
            StratascopeError: something that was asked for and that no pass gave.
        """
        missing = [tap for tap in self.taps if tap not in self._seen]
        if self.passes and missing:
            raise StratascopeError(
                f"{missing[0].names[0]} was asked for and not recorded: module {missing[0].path!r} "
                "did not run in this block"
                + (", or its attention keeps its weights" if missing[0].where == "weights" else "")
            )


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Record every pass of the block; all hooks are removed at its end, whatever happens in it."""
    model = recorder.model
    # Nothing is read here but when a pass begins and ends, and with which tokens.
    begins = model.register_forward_pre_hook(recorder.begin, with_kwargs=True)
    ends = model.register_forward_hook(recorder.end, always_call=True)
    try:
        with listen(model, recorder.taps, recorder.deliver):
            yield
    finally:
        begins.remove()
        ends.remove()
    recorder.check()


def _of_run(name: str, run: int) -> str:
    """What a module's tensor is called when it runs in a pass for the ``run``-th time."""
    return name if run == 1 else f"{name}#{run}"


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in memory of its own: the model may go on to write into what it gave.

    Made outside of inference mode, whose tensors no later graph may use.
    """
    with torch.inference_mode(False), torch.no_grad():
        return tensor.detach().to("cpu", copy=True)


def _kept(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else _copied(tensor)


def _token_ids(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.Tensor | None:
    ids = kwargs.get("input_ids", args[0] if args else None)
    if isinstance(ids, torch.Tensor) and ids.ndim == 2 and not ids.is_floating_point():
        return ids
    return None


def _cached(kwargs: Mapping[str, Any]) -> int:
    """How many tokens the key-value cache of a pass holds."""
    cache: Any = kwargs.get("past_key_values")
    return int(cache.get_seq_length()) if hasattr(cache, "get_seq_length") else 0


def _mask(mask: Any, ids: torch.Tensor | None) -> torch.Tensor | None:
    """Which of ``ids`` are tokens and which padding; all are tokens where nothing is said."""
    if ids is None:
        return None
    if isinstance(mask, torch.Tensor) and mask.ndim == 2:
        return mask[:, -ids.shape[1] :].bool()  # the mask of a cached pass covers the cache too
    return torch.ones_like(ids, dtype=torch.bool)
