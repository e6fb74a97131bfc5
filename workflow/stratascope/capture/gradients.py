"""The gradient of one number, such as a log-probability, at every captured tensor.

One pass over all tokens builds a graph that begins at what the embeddings give; the weights are
constants in it. One pass backwards then gives every gradient. Memory: the graph, and as it is taken
down, as much again for the gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stratascope.capture.generation import last_logits, reads_head
from stratascope.capture.hooks import language_config, listen, token_rows
from stratascope.capture.loading import Loaded
from stratascope.capture.prompts import token_text
from stratascope.capture.recorder import Recording
from stratascope.capture.sites import Tap
from stratascope.capture.writer import limits, numpy_bits
from stratascope.errors import StratascopeError
from stratascope.store.tensors import DTYPES, TensorFile, TensorSpec
from stratascope.study.runs import Run

# Takes what the model returns, gives the number to differentiate.
Scalar = Callable[[Any], torch.Tensor]
Tensors = dict[str, torch.Tensor]

# Loss scaling (Micikevicius et al., 2018, Mixed Precision Training): in float16 many gradients would
# be smaller than any number, so the scalar is multiplied first and the gradients are divided after.
# Taken is the largest of these factors that makes nothing overflow; powers of two round nothing.
SCALES = (2.0**12, 2.0**8, 2.0**4, 1.0)


def gradients(
    model: nn.Module,
    ids: Sequence[int],
    taps: Sequence[Tap],
    scalar: Scalar,
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[float, Tensors]:
    """The value of ``scalar`` for the tokens ``ids``, and its gradient at the tensor of every tap.

    A gradient has the shape that the tap captures, (tokens, width) or (heads, tokens, tokens), and
    the precision it was computed in, but float32 for float16. It counts every way from the tensor to
    the scalar. At an attention weight of exactly 0, as the mask makes them, it is 0. Tensors of whole
    numbers, and those that the scalar does not depend on, are left out.

    The model's weights, their ``grad`` and its hooks stay as they are. ``arguments`` go to the model.

    Raises:
        StratascopeError: a module that is not there, ran twice or gives not one row a token; values
            that are not finite; a model that PyTorch cannot differentiate.
    """
    config = language_config(model)
    recording = Recording(taps)
    edges: dict[Tap, GradientEdge] = {}
    weights: dict[Tap, torch.Tensor] = {}

    def deliver(tap: Tap, tensor: torch.Tensor) -> None:
        recording.saw(tap, _rows(tap, tensor.detach(), config).shape[-2])
        if tensor.requires_grad:
            # The place in the graph, not the tensor: the model may go on to write into that.
            edges[tap] = get_gradient_edge(tensor)
            if tap.where == "weights":
                weights[tap] = tensor.detach()

    half = any(weight.dtype == torch.float16 for weight in model.parameters())
    with _graph(model), listen(model, taps, deliver):
        read = torch.tensor([list(ids)], device=next(model.parameters()).device)
        value = scalar(model(input_ids=read, **arguments))
        recording.check_pass(len(ids))
        _check_value(value)
        found = _backward(value, list(edges.values()), SCALES if half else SCALES[-1:])
    known = {tap: g for tap, g in zip(edges, found, strict=True) if g is not None}
    _check_finite(known)
    for tap in weights.keys() & known.keys():
        known[tap] = known[tap].masked_fill(weights[tap] == 0, 0)
    rows = {tap: _rows(tap, gradient, config) for tap, gradient in known.items()}
    return value.item(), {name: rows[tap] for tap in rows for name in tap.names}


def logprob(tokens: Sequence[int]) -> Scalar:
    """The log-probability of ``tokens``, in nats: one after each of the last tokens read, summed.

    ``tokens[-1]`` is the one after the very last. Before temperature and filters.
    """

    def scalar(output: Any) -> torch.Tensor:
        logits: torch.Tensor = output.logits[0, -len(tokens) :]
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        wanted = torch.tensor(tokens, device=logits.device)
        return torch.log_softmax(exact, dim=-1).gather(1, wanted[:, None]).sum()

    return scalar


def logprob_gradients(
    model: PreTrainedModel,
    prompt: Sequence[int],
    tokens: Sequence[int],
    taps: Sequence[Tap],
) -> tuple[float, Tensors]:
    """The log-probability of ``tokens`` after ``prompt``, in nats, and its gradients.

    The model reads all but the last of ``tokens`` behind the prompt, so gradients have
    ``len(prompt) + len(tokens) - 1`` rows. Otherwise as ``gradients``.
    """
    arguments = {} if reads_head(model, taps) else last_logits(model, len(tokens))
    read = [*prompt, *tokens[:-1]]
    return gradients(model, read, taps, logprob(tokens), {"use_cache": False, **arguments})


def token_id(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """The token that ``text`` is.

    Raises:
        StratascopeError: text that is not exactly one token, with the tokens that it is.
    """
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1:
        pieces = ", ".join(repr(token_text(tokenizer, i)) for i in ids)
        raise StratascopeError(
            f"{text!r} must be one token, and this tokenizer makes {len(ids)} of it"
            f"{f': {pieces}' if ids else ''}; give a text that is one"
        )
    if ids[0] == tokenizer.unk_token_id and text != tokenizer.unk_token:
        raise StratascopeError(f"{text!r} is no token of this tokenizer; give a text that is one")
    return ids[0]


def check_gradients(loaded: Loaded, run: Run, taps: Sequence[Tap]) -> None:
    """Refuse what ``capture_gradients`` could not do, before anything runs.

    Raises:
        StratascopeError: a token that is not one, or no site to have a gradient at.
    """
    wanted = run.capture.gradients
    if wanted is not None and wanted.token is not None:
        try:
            token_id(loaded.tokenizer, wanted.token)
        except StratascopeError as error:
            raise StratascopeError(f"capture.gradients.token: {error}") from error
    if wanted is not None and not taps:
        raise StratascopeError(
            "capture.gradients: nothing is captured, so there is no place for a gradient; switch on "
            "`capture.hidden_states` or another site"
        )


def gradient_specs(
    run: Run, captured: Mapping[str, TensorSpec], prompt: int
) -> dict[str, TensorSpec]:
    """What the gradients of a run take at most, whose activations take ``captured``.

    ``prompt``: how many tokens the prompt has, which are all that the model reads for one token.
    """
    wanted = run.capture.gradients
    if wanted is None:
        return {}
    dtype = DTYPES[_stored(run)]
    return {
        name: (spec.with_tokens(prompt) if wanted.of == "token" else spec)._replace(dtype=dtype)
        for name, spec in captured.items()
    }


def _stored(run: Run) -> str:
    """The precision on disk: that of the activations, unless gradients would underflow in it."""
    dtype = run.capture.store_dtype
    return "float32" if dtype == "float16" else dtype


def capture_gradients(
    loaded: Loaded,
    run: Run,
    taps: Sequence[Tap],
    prompt: Sequence[int],
    generated: Sequence[int],
    path: Path,
) -> dict[str, object]:
    """Write the gradients that ``run`` asks for to ``path``; returns what ``run.json`` says of them.

    A row a token that the model read, as in the activations, or for `of: token` a row a token of the
    prompt. Where ``run`` asks for none, nothing.

    Raises:
        StratascopeError: as ``gradients``.
    """
    wanted = run.capture.gradients
    if wanted is None:
        return {}
    token = None if wanted.token is None else token_id(loaded.tokenizer, wanted.token)
    tokens = generated if token is None else [token]
    value, found = logprob_gradients(loaded.model, prompt, tokens, taps)
    rows = len(prompt) + len(tokens) - 1
    left_out = sorted({name for tap in taps for name in tap.names} - found.keys())
    _write(path, found, _stored(run), rows)
    return {
        "of": wanted.of,
        "token": wanted.token,
        "token_id": token,
        "value": value,
        "rows": rows,
        "left_out": left_out,
    }


def _write(path: Path, found: Tensors, dtype: str, rows: int) -> None:
    """Write the gradients one by one, letting each go."""
    specs = {
        name: TensorSpec(DTYPES[dtype], tuple(tensor.shape), (0,) if tensor.ndim == 2 else (1, 2))
        for name, tensor in found.items()
    }
    with TensorFile(path, specs) as file:
        for name in specs:
            file.append(name, numpy_bits(found.pop(name).to(getattr(torch, dtype)).cpu()))
        file.finish(rows)


@contextmanager
def _graph(model: nn.Module) -> Iterator[None]:
    """Inside the block, passes build a graph from every embedding on, whatever mode it is called in."""

    def begin(_: nn.Module, __: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        # Where the graph begins nothing may be written, and a model may: so it goes on with a copy.
        return output if output.requires_grad else output.requires_grad_().clone()

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                stack.callback(module.register_forward_hook(begin).remove)
        try:
            yield
        except RuntimeError as error:
            raise StratascopeError(
                f"no gradients: PyTorch cannot run this model with a graph: {' '.join(str(error).split())}"
            ) from error


def _backward(
    value: torch.Tensor, edges: Sequence[GradientEdge], scales: Sequence[float]
) -> list[torch.Tensor | None]:
    """The gradient of ``value`` at each edge; none where there is no way from it to ``value``."""
    if not edges:
        return []
    *larger, last = scales
    for scale in larger:
        found = torch.autograd.grad(value * scale, edges, retain_graph=True, allow_unused=True)
        if all(g is None or bool(torch.isfinite(limits(g)).all()) for g in found):
            break
    else:
        scale = last
        found = torch.autograd.grad(value * scale, edges, allow_unused=True)
    return [g if g is None or len(scales) == 1 else g.float() / scale for g in found]


def _rows(tap: Tap, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    """Without the batch axis, and cut as the tap says: what it captures."""
    return tensor[0] if tap.where == "weights" else token_rows(tap, tensor, 1, config)[0]


def _check_value(value: torch.Tensor) -> None:
    """Refuse what has no gradient."""
    if value.numel() != 1:
        raise StratascopeError(f"a gradient is that of one number, not of {tuple(value.shape)}")
    if not math.isfinite(value.item()):
        raise StratascopeError(
            f"no gradients: the number to differentiate is {value.item()}; use model.dtype: bfloat16 "
            "or float32, or a token that the model can say"
        )
    if not value.requires_grad:
        raise StratascopeError(
            "no gradients: PyTorch sees no way from the model's embeddings to what it gives; leave "
            "capture.gradients out"
        )


def _check_finite(found: Mapping[Tap, torch.Tensor]) -> None:
    # Backwards, as they were computed: the first one that is not finite spoils those before it.
    for tap, gradient in reversed(list(found.items())):
        if not bool(torch.isfinite(limits(gradient)).all()):
            bad = int((~torch.isfinite(gradient)).sum())
            raise StratascopeError(
                f"gradient at {tap.names[0]}: {bad} of {gradient.numel()} values are not finite; use "
                "model.dtype: bfloat16 or float32, or leave capture.gradients out"
            )
