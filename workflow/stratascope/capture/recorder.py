"""Recording one sequence: each tensor handed over, none missing, one row a token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from stratascope.capture.hooks import language_config, listen, token_rows
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


@contextmanager
def record(model: nn.Module, taps: Sequence[Tap], sink: Sink) -> Iterator[Recording]:
    """Hand the tensors of every pass of one sequence inside the block to ``sink``.

    Raises:
        StratascopeError: a module that the model does not have, or that gives not one row a token.
    """
    recording = Recording(taps)
    config = language_config(model)

    def deliver(tap: Tap, tensor: torch.Tensor) -> None:
        rows = tensor[0] if tap.where == "weights" else token_rows(tap, tensor, 1, config)[0]
        recording.saw(tap, rows.shape[-2])
        sink(tap.names, rows)

    with listen(model, taps, deliver):
        yield recording
