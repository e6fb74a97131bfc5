"""The model as far as it is needed: no head without need, nothing below the deepest module read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from stratascope.capture.families.fused import copied
from stratascope.capture.features.batches import Inputs, Selection
from stratascope.capture.hooks import flat_rows, language_config, listen
from stratascope.capture.loading import Loaded
from stratascope.capture.sites import Tap
from stratascope.errors import StratascopeError

# Receives the names of a tensor and its kept rows, (rows, width). Called inside the forward pass.
Sink = Callable[[tuple[str, ...], torch.Tensor], None]


class _DeepestReached(Exception):  # noqa: N818 (no error: it ends a forward pass early)
    """Everything asked for has been read."""


class Reader:
    """Reads the taps of a model, batch after batch; see ``reading``.

    ``widths``: how many numbers a row of each tensor has, in the order in which modules run.
    """

    def __init__(self, loaded: Loaded, taps: Sequence[Tap]) -> None:
        # A selection copies what it keeps, so a tap's own copy of everything is not needed.
        self.taps = [replace(tap, cut=None) if tap.cut is copied else tap for tap in taps]
        self.widths: dict[str, int] = {}
        self._model = loaded.model
        self._entry = _entry(loaded.model, taps)
        self._config = language_config(loaded.model)
        self._deepest: Tap | None = None
        self._selection: Selection | None = None
        self._sink: Sink | None = None
        self._seen: set[Tap] = set()

    def read(self, inputs: Inputs, selection: Selection, sink: Sink) -> None:
        """One forward pass: hands the kept rows of every tap to ``sink``.

        Raises:
            StratascopeError: a module that did not run, ran twice, or gave not one row a token.
        """
        self._selection, self._sink = selection, sink
        self._seen.clear()
        try:
            with torch.inference_mode():
                self._entry(input_ids=inputs.ids, attention_mask=inputs.mask, use_cache=False)
        except _DeepestReached:
            pass
        finally:
            self._selection = self._sink = None
        for tap in self.taps:
            if tap not in self._seen:
                raise StratascopeError(
                    f"{tap.names[0]}: module {tap.path!r} did not run in the forward pass; leave it out"
                )

    def probe(self, inputs: Inputs, selection: Selection) -> None:
        """Learn the widths and which tap is the deepest, by a forward pass of a few tokens."""
        taps: dict[str, Tap] = {name: tap for tap in self.taps for name in tap.names}

        def note(names: tuple[str, ...], rows: torch.Tensor) -> None:
            self.widths.update(dict.fromkeys(names, rows.shape[1]))

        self.read(inputs, selection, note)
        self._deepest = taps[list(self.widths)[-1]]

    def deliver(self, tap: Tap, tensor: torch.Tensor) -> None:
        """Take a module's tensor inside the pass."""
        assert self._selection is not None
        assert self._sink is not None
        if tap in self._seen:
            raise StratascopeError(
                f"{tap.names[0]}: module {tap.path!r} ran twice in one forward pass, so its rows "
                "cannot be told apart; leave it out"
            )
        rows = flat_rows(tap, tensor, self._selection.batch)
        if len(rows) != self._selection.tokens:
            raise StratascopeError(
                f"{tap.names[0]}: module {tap.path!r} gave {len(rows)} rows for "
                f"{self._selection.tokens} tokens, not one row a token; leave it out"
            )
        kept = self._selection(rows)
        # Pieces are cut out of each row, so cutting what is kept is the same, and less work.
        self._sink(tap.names, kept if tap.cut is None else tap.cut(kept, self._config))
        self._seen.add(tap)
        if tap is self._deepest:
            raise _DeepestReached


def _entry(model: nn.Module, taps: Sequence[Tap]) -> nn.Module:
    """The backbone, if every tap lies in it; else the whole model."""
    backbone: nn.Module = getattr(model, "base_model", model)
    if backbone is model:
        return model
    prefix = next(name for name, module in model.named_modules() if module is backbone)
    inside = all(f"{tap.path}.".startswith(f"{prefix}.") for tap in taps)
    return backbone if inside else model


@contextmanager
def reading(loaded: Loaded, taps: Sequence[Tap]) -> Iterator[Reader]:
    """A reader of ``taps``, its hooks installed inside the block.

    Raises:
        StratascopeError: a module that the model does not have, or that gives not one row a token.
    """
    reader = Reader(loaded, taps)
    with listen(loaded.model, reader.taps, reader.deliver):
        yield reader
