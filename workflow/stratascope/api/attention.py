"""Attention weights of a model that was loaded elsewhere: its attention is exchanged for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel

from stratascope.capture.attention import IMPLEMENTATION
from stratascope.capture.families import Family
from stratascope.capture.loading import quiet
from stratascope.capture.sites import Tap
from stratascope.errors import StratascopeError


@contextmanager
def weights_handed_over(
    model: nn.Module, family: Family | None, taps: Sequence[Tap]
) -> Iterator[None]:
    """Inside the block, attention hands its weights over, if any of ``taps`` wants them.

    Raises:
        StratascopeError: an architecture whose attention stays what it was loaded with.
    """
    wanted = (family.attention if family is not None else None) or IMPLEMENTATION
    asked = any(tap.where == "weights" for tap in taps)
    if not asked or not isinstance(model, PreTrainedModel) or _current(model) == wanted:
        yield
        return
    before = _current(model)
    with quiet():
        model.set_attn_implementation(wanted)
    if _current(model) != wanted:
        raise StratascopeError(
            f"attn_weights: this {model.config.model_type} keeps the attention that it was loaded with, "
            f"which is {before}; use `ss.load`, or attn_implementation={wanted!r}"
        )
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _current(model: PreTrainedModel) -> str:
    implementation: str = model.config._attn_implementation
    return implementation
