"""Generation as forward passes: one prefill, then one pass a token, with a key-value cache."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import DynamicCache, PreTrainedModel

from stratascope.capture.loading import Loaded
from stratascope.capture.sites import Tap
from stratascope.errors import StratascopeError
from stratascope.study.schema import Generation


@dataclass(frozen=True)
class Choice:
    """A likely next token and the natural logarithm of its probability."""

    id: int
    logprob: float


@dataclass(frozen=True)
class Step:
    """One forward pass: what went in, at which rows, and what came out.

    ``logprob`` belongs to ``argmax``, ``generated_logprob`` to ``generated``; ``entropy`` is that of
    the whole next-token distribution, in nats; all before temperature and filters.
    """

    number: int
    kind: Literal["prefill", "decode"]
    start: int
    input_ids: list[int]
    generated: int
    generated_logprob: float
    argmax: int
    logprob: float
    entropy: float
    top: list[Choice]

    @property
    def stop(self) -> int:
        """Tokens in the context after this pass."""
        return self.start + len(self.input_ids)


def filter_logits(logits: torch.Tensor, settings: Generation) -> torch.Tensor:
    """Log-weights to sample from, (vocabulary,): temperature, then top-k, then top-p.

    Top-p keeps the likeliest tokens up to and including the one whose probability crosses the
    threshold (Holtzman et al., 2020), so at least one; top-k keeps exactly ``k``. Ties go to the
    lower token id. A ``top_k`` of 0 keeps all.
    """
    scores, order = torch.sort(logits / settings.temperature, descending=True, stable=True)
    if settings.top_k:
        scores[settings.top_k :] = -torch.inf
    if settings.top_p is not None:
        weights = torch.softmax(scores, dim=-1)
        before = weights.cumsum(-1) - weights
        crossed = before >= settings.top_p
        crossed[0] = False
        scores[crossed] = -torch.inf
    return torch.empty_like(scores).scatter_(0, order, scores)


def choose(logits: torch.Tensor, settings: Generation, generator: torch.Generator) -> int:
    """The next token: the likeliest, or a sample. ``logits`` (vocabulary,) float32 on the CPU."""
    if not settings.do_sample or settings.temperature == 0:
        return int(logits.argmax())
    weights = torch.softmax(filter_logits(logits, settings), dim=-1)
    return int(torch.multinomial(weights, 1, generator=generator))


def end_tokens(loaded: Loaded) -> frozenset[int]:
    """Every token id that ends a generation, by the model's files or the tokenizer's."""
    settings = getattr(loaded.model, "generation_config", None)
    found: set[int] = set()
    for owner in (settings, loaded.config, loaded.tokenizer):
        ids = getattr(owner, "eos_token_id", None)
        found.update([ids] if isinstance(ids, int) else ids or ())
    return frozenset(found)


def check_generates(loaded: Loaded) -> None:
    """Refuse to generate with an encoder.

    Raises:
        StratascopeError: saying what the model is for.
    """
    if loaded.family is not None and loaded.family.encoder:
        raise StratascopeError(
            f"{loaded.checkpoint.name}: {loaded.config.model_type} is an encoder, which reads texts "
            "and generates none; use it for datasets, not for scenarios"
        )


def _next_logits(output: Any, step: int) -> torch.Tensor:
    # On the CPU and in float32, so that devices choose alike.
    logits: torch.Tensor = output.logits[0, -1].float().cpu()
    if bool(torch.isnan(logits).any()) or bool((logits == torch.inf).any()):
        raise StratascopeError(
            f"logits at step {step}: not finite, so there is no next token; use model.dtype: "
            "bfloat16 or float32"
        )
    return logits


def _likeliest(logprobs: torch.Tensor, count: int) -> list[Choice]:
    values, ids = torch.topk(logprobs, min(count, logprobs.shape[0]))
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    # A token that cannot be (-inf) is not among the likeliest, and not a number in JSON.
    return [Choice(i, value) for i, value in pairs if value > -torch.inf]


def reads_head(model: PreTrainedModel, taps: Sequence[Tap]) -> bool:
    """Whether a tap stores what the head gives, so that it must run for every token of the prompt."""
    heads = (model, model.get_output_embeddings())
    return any(model.get_submodule(tap.path) in heads for tap in taps)


def last_logits(model: PreTrainedModel, count: int) -> dict[str, int]:
    """What has the head computed for the last ``count`` tokens only, where the model can do that."""
    keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
    return {"logits_to_keep": count} if keeps else {}


def generate(
    loaded: Loaded,
    prompt: Sequence[int],
    settings: Generation,
    *,
    top_k_probs: int = 0,
    all_logits: bool = False,
) -> Iterator[Step]:
    """Run the model on ``prompt`` and continue it; one ``Step`` after each forward pass.

    At most ``settings.max_new_tokens`` passes. An end-of-sequence token ends it: it is the last one
    generated, and is not fed back. Greedy unless ``do_sample``; then a CPU generator seeded with
    ``settings.seed`` draws, so that devices agree. ``all_logits`` has the head computed for every
    prompt token, not only for the last. Beside the cache, memory does not grow with the steps.

    Raises:
        StratascopeError: an encoder, or logits that are not finite.
    """
    check_generates(loaded)
    generator = torch.Generator().manual_seed(settings.seed)
    ends = end_tokens(loaded)
    cache = DynamicCache(config=loaded.model.config)
    arguments = {} if all_logits else last_logits(loaded.model, 1)
    ids, start = list(prompt), 0
    for number in range(settings.max_new_tokens):
        with torch.inference_mode():
            output = loaded.model(
                input_ids=torch.tensor([ids], device=loaded.device),
                past_key_values=cache,
                use_cache=True,
                **arguments,
            )
            logits = _next_logits(output, number)
            logprobs = torch.log_softmax(logits, dim=-1)
            argmax = int(logits.argmax())
            chosen = choose(logits, settings, generator)
            step = Step(
                number=number,
                kind="decode" if number else "prefill",
                start=start,
                input_ids=ids,
                generated=chosen,
                generated_logprob=float(logprobs[chosen]),
                argmax=argmax,
                logprob=float(logprobs[argmax]),
                entropy=float(torch.special.entr(logprobs.exp()).sum()),
                top=_likeliest(logprobs, top_k_probs),
            )
        yield step
        if step.generated in ends:
            return
        ids, start = [step.generated], step.stop
