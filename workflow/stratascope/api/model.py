"""A model to look into: call it, record what its layers compute, let it write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import Parameter, signature
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stratascope.api.activations import Activations
from stratascope.api.attention import weights_handed_over
from stratascope.api.generated import Generated, write
from stratascope.api.gradients import Of, differentiate
from stratascope.api.inputs import is_text, one_prompt, padded, read_texts
from stratascope.api.passes import Pass
from stratascope.api.places import Layers, find_taps
from stratascope.api.recorder import Recorder, recording
from stratascope.capture.families import Family
from stratascope.capture.families.placed import family_at
from stratascope.capture.hooks import language_config
from stratascope.capture.loading import Loaded
from stratascope.capture.modules import module_tree
from stratascope.capture.prompts import token_text
from stratascope.capture.sites import family_sites
from stratascope.errors import StratascopeError
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.schema import Generation
from stratascope.study.validate import validate


class Model:
    """A module, and a tokenizer where it reads text. Made by ``ss.load`` and ``ss.wrap``.

    ``module`` is the PyTorch module itself, to be used as ever; ``checkpoint`` says where it came from.
    """

    def __init__(
        self,
        module: nn.Module,
        tokenizer: PreTrainedTokenizerBase | None,
        checkpoint: Checkpoint,
    ) -> None:
        self.module = module
        self.tokenizer = tokenizer
        self.checkpoint = checkpoint
        self._recorders: list[Recorder] = []
        self._shown: dict[int, str] = {}

    # What it is

    @property
    def name(self) -> str:
        """What to call it: the last part of its folder or id, or its class."""
        return self.checkpoint.name

    @property
    def family(self) -> Family | None:
        """Where this architecture keeps its parts; none where the table of families lacks it."""
        return family_at(self.module) if isinstance(self.module, PreTrainedModel) else None

    @property
    def layers(self) -> int:
        """How many layers it has; 0 where its configuration does not say."""
        return int(getattr(language_config(self.module), "num_hidden_layers", 0))

    @property
    def sites(self) -> list[str]:
        """The sites that can be recorded, in the order of the model's work."""
        return [site.name for site in family_sites(self.family)] if self.family else []

    @property
    def device(self) -> torch.device:
        """Where token ids go in."""
        if isinstance(self.module, PreTrainedModel):
            return cast("torch.device", self.module.get_input_embeddings().weight.device)
        first = next(self.module.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def loaded(self) -> Loaded:
        """The model as the capture room takes it.

        Raises:
            StratascopeError: no language model of transformers with its tokenizer.
        """
        if not isinstance(self.module, PreTrainedModel) or self.tokenizer is None:
            raise StratascopeError(
                f"{self.name}: this needs a model of transformers with its tokenizer: "
                "`ss.load(folder)`, or `ss.wrap(model, tokenizer)`"
            )
        return Loaded(self.checkpoint, self.module, self.tokenizer, texts=self._shown)

    def tree(self) -> str:
        """The modules by name, one a line; numbered ones that look alike are folded."""
        return module_tree(self.module)

    def __repr__(self) -> str:
        layers = f" of {self.layers} layers" if self.layers else ""
        sites = f"; sites: {', '.join(self.sites)}" if self.sites else ""
        return f"{self.name}: {type(self.module).__name__}{layers} on {self.device}{sites}"

    # What it does

    def __call__(self, *args: Any, generation_prompt: bool = False, **kwargs: Any) -> Any:
        """One forward pass, in evaluation mode and without a graph; returns what the module does.

        ``model("a text")``, ``model(["a text", "another"])``, ``model(messages)`` for a conversation (a
        list of dicts with role and content) or a list of them, ``model(ids)`` for token ids: all padded
        on the right, with a mask. ``generation_prompt`` ends conversations with the template's. What a
        tokenizer returns, and any other dict, is the module's keywords. Anything else goes to the module
        as it is.

        Raises:
            StratascopeError: an empty text, one longer than the context, text without a tokenizer.
        """
        given = None
        first = args[0] if len(args) == 1 else None
        if isinstance(first, Mapping):
            args, kwargs = (), {**self._on_device(first), **kwargs}
        elif first is not None and self._reads(first):
            given = self._read(first, generation_prompt)
            args, named = self._arguments(given)
            kwargs = {**named, **kwargs}
        for recorder in self._recorders:
            # Each keeps tensors of its own.
            recorder.given = None if given is None else replace(given, tensors={})
        with self.evaluating(), torch.set_grad_enabled(any(r.grad for r in self._recorders)):
            return self.module(*args, **kwargs)

    @contextmanager
    def record(
        self, *names: str | Iterable[str], layers: Layers = "all", grad: bool = False
    ) -> Iterator[Activations]:
        """Record sites and modules in every forward pass of the block, whoever starts it.

        ``names``: sites (``model.sites``), by default ``hidden_out``; a site of one layer
        (``layer_03/q``); modules by their path (``print(model.tree())``), where ``*`` stands for any one
        part, as in ``transformer.h.*``, and ``:input`` behind it for what goes in. ``layers``: of which
        layers the sites are read, ``all``, a number or several; negative ones count from the last.

        Tensors are copies on the CPU, apart from the graph. ``grad=True`` keeps them as they are, in the
        graph, and lets ``model(...)`` build one: after ``backward()`` each has its ``grad``, also where
        the weights are frozen.

        All hooks are gone after the block, also after an error. Attention weights have a model of
        transformers run Stratascope's attention inside the block, or its eager one where it needs that.

        Raises:
            StratascopeError: a name that is not there, with the nearest; at the end of the block, one that
                no pass came by.
        """
        with self._listening(_flat(names) or ["hidden_out"], layers, grad) as recorder:
            self._recorders.append(recorder)
            try:
                with recording(recorder):
                    yield self._activations(recorder)
            finally:
                self._recorders.remove(recorder)

    def generate(
        self,
        prompt: Any,
        *,
        max_new_tokens: int = 50,
        sites: str | Iterable[str] = ("hidden_out",),
        layers: Layers = "all",
        do_sample: bool = False,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 42,
    ) -> Generated:
        """Continue a text, a conversation or token ids, and record ``sites`` (or modules) on the way.

        The likeliest token each time, unless ``do_sample``. A conversation ends with the template's
        generation prompt. No sites, ``sites=()``, records nothing.

        Raises:
            StratascopeError: more than one prompt, one too long, settings out of range, an encoder.
        """
        settings = {
            "max_new_tokens": max_new_tokens,
            "do_sample": do_sample,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "seed": seed,
        }
        generation = validate(Generation, settings, "generate")
        text = one_prompt(prompt, self.tokenizer, self.loaded.context, "generate")
        wanted = _flat([sites])
        with self.evaluating(), self._listening(wanted, layers, False) as recorder:
            return write(self.loaded, text, generation, recorder, self._activations(recorder))

    def gradients(
        self,
        prompt: Any,
        *,
        of: Of,
        sites: str | Iterable[str] = ("hidden_out",),
        layers: Layers = "all",
    ) -> tuple[float, Activations]:
        """The log-probability of ``of`` after ``prompt``, in nats, and its gradient at ``sites``.

        ``of``: a continuation as text, such as ``" yes"``, or as token ids, such as ``written.ids`` of
        ``model.generate``; its tokens' log-probabilities are summed. Or a function that makes any one
        number of the module's output. A row a token that was read: the prompt's, then those of ``of``
        but the last. What has no gradient, such as ``router_experts``, is left out.

        Raises:
            StratascopeError: more than one prompt, one too long, a model without a way to differentiate.
        """
        text = one_prompt(prompt, self.tokenizer, self.loaded.context, "gradients")
        with self.evaluating(), self._listening(_flat([sites]), layers, False) as recorder:
            value, recorded = differentiate(self.loaded, text, of, recorder.taps)
        recorder.passes.append(recorded)
        return value, self._activations(recorder)

    # How it does it

    @contextmanager
    def _listening(self, names: Sequence[str], layers: Layers, grad: bool) -> Iterator[Recorder]:
        """A recorder for ``names``, with the attention implementation that it needs."""
        taps, raw = find_taps(self.module, self.family, names, layers, self.layers)
        with weights_handed_over(self.module, self.family, taps):
            yield Recorder(self.module, taps, raw, grad)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode inside the block: dropout would make every pass another."""
        training = [module for module in self.module.modules() if module.training]
        self.module.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def _activations(self, recorder: Recorder) -> Activations:
        known = self.tokenizer is not None
        return Activations(
            recorder.passes,
            self.name,
            self._show if known else None,
            self._decode if known else None,
        )

    def _show(self, ids: Sequence[int]) -> list[str]:
        assert self.tokenizer is not None
        for i in dict.fromkeys(ids):
            if i not in self._shown:
                self._shown[i] = token_text(self.tokenizer, i)
        return [self._shown[i] for i in ids]

    def _decode(self, ids: Sequence[int]) -> str:
        assert self.tokenizer is not None
        return str(self.tokenizer.decode(ids))

    def _on_device(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        device = self.device
        return {
            name: value.to(device) if isinstance(value, torch.Tensor) else value
            for name, value in keywords.items()
        }

    def _reads(self, given: Any) -> bool:
        language = isinstance(self.module, PreTrainedModel) or self.tokenizer is not None
        return is_text(given) and (language or isinstance(given, str))

    def _read(self, given: Any, generation_prompt: bool) -> Pass:
        limit = self.loaded.context if self.tokenizer and self.family else None
        texts = read_texts(given, self.tokenizer, limit, generation_prompt)
        padding = getattr(self.tokenizer, "pad_token_id", None)
        if padding is None:
            padding = getattr(language_config(self.module), "pad_token_id", None)
        ids, mask = padded(texts, 0 if padding is None else padding)
        known = tuple(text.text for text in texts if text.text is not None)
        return Pass({}, ids, mask, known if len(known) == len(texts) else None)

    def _arguments(self, given: Pass) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Token ids and mask as the module's ``forward`` takes them."""
        assert given.ids is not None
        assert given.mask is not None
        ids, mask = given.ids.to(self.device), given.mask.to(self.device)
        takes = signature(self.module.forward).parameters
        free = any(parameter.kind == Parameter.VAR_KEYWORD for parameter in takes.values())
        masks = {"attention_mask": mask.long()} if "attention_mask" in takes or free else {}
        return ((), {"input_ids": ids, **masks}) if "input_ids" in takes else ((ids,), masks)


def _flat(names: Iterable[str | Iterable[str]]) -> list[str]:
    found = [[name] if isinstance(name, str) else list(name) for name in names]
    return [name for part in found for name in part]
