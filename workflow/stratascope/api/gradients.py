"""Gradients in a notebook: of a log-probability, or of any number of the model's output."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stratascope.api.inputs import Text
from stratascope.api.passes import Pass
from stratascope.capture.gradients import Scalar, gradients, logprob_gradients
from stratascope.capture.loading import Loaded
from stratascope.capture.prompts import check_context
from stratascope.capture.sites import Tap
from stratascope.errors import StratascopeError

# A continuation, as text or as token ids, or what takes the model's output and gives one number.
Of = str | Sequence[int] | Scalar


def differentiate(loaded: Loaded, prompt: Text, of: Of, taps: Sequence[Tap]) -> tuple[float, Pass]:
    """The value of ``of`` after ``prompt``, and its gradients as one pass of one text, on the CPU.

    Raises:
        StratascopeError: a continuation without tokens or beyond the context; as ``gradients``.
    """
    if callable(of):
        read = prompt.ids
        value, found = gradients(loaded.model, read, taps, of)
    else:
        said = loaded.tokenizer.encode(of, add_special_tokens=False) if isinstance(of, str) else of
        if not len(said):
            raise StratascopeError(
                f"gradients: of={of!r} has no tokens; give a text, token ids, or a function"
            )
        check_context(len(prompt.ids), len(said), loaded.context)
        read = [*prompt.ids, *map(int, said[:-1])]
        value, found = logprob_gradients(loaded.model, prompt.ids, list(map(int, said)), taps)
    tensors = {name: tensor[None].cpu() for name, tensor in found.items()}
    return value, Pass(tensors, torch.tensor([read]), torch.ones(1, len(read), dtype=torch.bool))
