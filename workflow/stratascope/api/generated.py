"""A generation with what the model computed on the way."""

from __future__ import annotations

import html
from dataclasses import dataclass

from stratascope.api.activations import Activations
from stratascope.api.inputs import Text
from stratascope.api.recorder import Recorder, recording
from stratascope.api.tables import Rows
from stratascope.capture.generation import generate
from stratascope.capture.loading import Loaded
from stratascope.capture.prompts import check_context
from stratascope.study.schema import Generation


@dataclass(frozen=True, repr=False)
class Generated:
    """What the model wrote, and its activations.

    ``tokens`` are the texts of the generated ``ids``, an end-of-sequence token included, ``logprobs``
    the natural logarithm of each one's probability, and ``entropies`` that of the whole distribution it
    was chosen from, in nats; both before temperature and filters. ``activations`` have a row for each
    token that was read: those of ``prompt``, then those of ``tokens`` but the last.
    """

    text: str
    tokens: list[str]
    ids: list[int]
    logprobs: list[float]
    entropies: list[float]
    prompt: list[str]
    activations: Activations

    def _rows(self) -> Rows:
        return Rows(
            {"token": token, "logprob": logprob, "entropy": entropy}
            for token, logprob, entropy in zip(
                map(repr, self.tokens), self.logprobs, self.entropies, strict=True
            )
        )

    def __repr__(self) -> str:
        return f"{self.text}\n\n{self._rows()!r}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.text)}</p>{self._rows()._repr_html_()}"


def write(
    loaded: Loaded,
    prompt: Text,
    settings: Generation,
    recorder: Recorder,
    activations: Activations,
) -> Generated:
    """Continue ``prompt``; ``activations`` are those that ``recorder`` fills.

    Raises:
        StratascopeError: an encoder, a prompt that is too long, logits that are not finite.
    """
    check_context(len(prompt.ids), settings.max_new_tokens, loaded.context)
    heads = (loaded.model, loaded.model.get_output_embeddings())
    all_logits = any(loaded.model.get_submodule(tap.path) in heads for tap in recorder.taps)
    with recording(recorder):
        steps = list(generate(loaded, prompt.ids, settings, all_logits=all_logits))
    ids = [step.generated for step in steps]
    return Generated(
        text=str(loaded.tokenizer.decode(ids, skip_special_tokens=True)),
        tokens=loaded.show(ids),
        ids=ids,
        logprobs=[step.generated_logprob for step in steps],
        entropies=[step.entropy for step in steps],
        prompt=loaded.show(prompt.ids),
        activations=activations,
    )
