"""Loading a checkpoint: its tokenizer, its configuration, its weights, and where they run."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from stratascope.capture.attention import IMPLEMENTATION
from stratascope.capture.dcp import find_dcp, read_dcp
from stratascope.capture.families import Family, family_of
from stratascope.capture.families.placed import family_at
from stratascope.capture.prompts import token_text
from stratascope.errors import StratascopeError
from stratascope.study.checkpoints import Checkpoint

# What transformers and what it stands on raise for files that are missing, damaged or foreign.
LOADING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
    SafetensorError,
)


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory.

    ``widths`` remembers how wide each captured tensor is, ``texts`` the text of each token shown.
    """

    checkpoint: Checkpoint
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    widths: dict[str, int] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)

    @property
    def config(self) -> PreTrainedConfig:
        """The configuration of the language model proper."""
        return self.model.config.get_text_config(decoder=True)

    @cached_property
    def family(self) -> Family | None:
        """Where this model keeps its parts; none for an architecture without an entry."""
        return family_at(self.model)

    @property
    def device(self) -> torch.device:
        """Where token ids go in."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    @property
    def layers(self) -> int:
        """How many layers the model has."""
        return int(self.config.num_hidden_layers)

    @property
    def context(self) -> int | None:
        """The most tokens the model was made for, where its configuration says so."""
        most: int | None = getattr(self.config, "max_position_embeddings", None)
        if most is not None and self.family is not None and self.family.padded_positions:
            most -= self.config.pad_token_id + 1
        return most

    def show(self, ids: Iterable[int]) -> list[str]:
        """The text of each token by itself."""
        ids = list(ids)
        self.texts.update(
            (i, token_text(self.tokenizer, i)) for i in dict.fromkeys(ids) if i not in self.texts
        )
        return [self.texts[i] for i in ids]


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice from transformers inside the block.

    Some of its bars ask no one whether they may be shown, so what it writes to stderr is dropped:
    errors are raised, not written.
    """
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def set_threads(threads: int) -> None:
    """Let PyTorch use this many CPU threads: the last digits can depend on it."""
    torch.set_num_threads(threads)


def pick_device(wanted: str) -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        StratascopeError: a device that this machine does not have.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return torch.device(next(name for name, there in present.items() if there))
    if not present[wanted]:
        there = ", ".join(name for name, here in present.items() if here)
        raise StratascopeError(
            f"model.device: {wanted} was asked for, and PyTorch finds none; use auto (has {there})"
        )
    return torch.device(wanted)


def _source(checkpoint: Checkpoint) -> dict[str, Any]:
    """The arguments that say where ``from_pretrained`` reads, and that it reads only there."""
    arguments: dict[str, Any] = {"trust_remote_code": checkpoint.model.trust_remote_code}
    if checkpoint.is_local:
        arguments["local_files_only"] = True
    else:
        arguments["revision"] = checkpoint.revision
    if checkpoint.model.gguf_file is not None:
        arguments["gguf_file"] = checkpoint.model.gguf_file
    return arguments


def _check_folder(checkpoint: Checkpoint) -> None:
    """Name what is plainly missing before transformers guesses at it."""
    if not checkpoint.is_local:
        return
    folder = Path(checkpoint.source)
    if not folder.is_dir():
        raise StratascopeError(f"{checkpoint.name}: no model folder {checkpoint.source}")
    gguf = checkpoint.model.gguf_file
    wanted = gguf or "config.json"
    if not (folder / wanted).is_file():
        key = "model.gguf_file" if gguf else "a model folder needs its config.json"
        raise StratascopeError(f"{checkpoint.name}: {checkpoint.source} holds no {wanted} ({key})")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


@contextmanager
def _naming(checkpoint: Checkpoint, part: str, remedy: str) -> Iterator[None]:
    try:
        with quiet():
            yield
    except LOADING_ERRORS as error:
        raise StratascopeError(
            f"{checkpoint.name}: cannot load the {part} of {checkpoint.source}: "
            f"{_one_line(error)}; {remedy}"
        ) from error


def load_config(checkpoint: Checkpoint) -> PreTrainedConfig:
    """The checkpoint's configuration.

    Raises:
        StratascopeError: no such folder or file, or a model type that transformers does not know.
    """
    _check_folder(checkpoint)
    remedy = "it must be a causal language model that transformers knows"
    with _naming(checkpoint, "configuration", remedy):
        return AutoConfig.from_pretrained(checkpoint.source, **_source(checkpoint))


def load_skeleton(checkpoint: Checkpoint) -> PreTrainedModel:
    """The model's modules without weights (on the meta device), for looking at their names."""
    config = load_config(checkpoint)
    with _naming(checkpoint, "modules", "it must be a causal language model"), torch.device("meta"):
        trust = checkpoint.model.trust_remote_code
        auto, extra = _auto_class(config)
        return auto.from_config(config, trust_remote_code=trust, **extra)


def _auto_class(config: PreTrainedConfig) -> tuple[Any, dict[str, Any]]:
    """The class that loads a model, and what it is told: an encoder comes without any head."""
    family = family_of(config)
    if family is not None and family.encoder:
        return AutoModel, {"add_pooling_layer": False}
    return AutoModelForCausalLM, {}


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer.

    Raises:
        StratascopeError: files that are missing or damaged.
    """
    with _naming(checkpoint, "tokenizer", "put tokenizer.json and tokenizer_config.json beside it"):
        return AutoTokenizer.from_pretrained(checkpoint.source, **_source(checkpoint))


def _load_model(checkpoint: Checkpoint, config: PreTrainedConfig) -> PreTrainedModel:
    spec = checkpoint.model
    device = pick_device(spec.device) if spec.device_map is None else None
    auto, extra = _auto_class(config)
    arguments = _source(checkpoint) | extra | {"dtype": getattr(torch, spec.dtype)}
    if (family := family_of(config)) is not None:
        arguments["attn_implementation"] = family.attention or IMPLEMENTATION
    if spec.device_map is not None:
        arguments["device_map"] = spec.device_map
    if spec.gguf_file is None:
        arguments["config"] = config
    arguments["output_loading_info"] = True
    arguments["ignore_mismatched_sizes"] = True  # refused below, by name
    local = checkpoint.is_local and spec.gguf_file is None
    distributed = find_dcp(Path(checkpoint.source)) if local else None
    with _naming(checkpoint, "weights", "are its files complete and undamaged?"):
        if distributed is None:
            model, info = auto.from_pretrained(checkpoint.source, **arguments)
        else:
            model, info = _from_dcp(checkpoint, distributed, arguments)
    _refuse_missing(checkpoint, info)
    return model if device is None else model.to(device)


def _from_dcp(checkpoint: Checkpoint, folder: Path, arguments: dict[str, Any]) -> tuple[Any, Any]:
    """The model that config.json describes, with the weights of a distributed checkpoint."""
    skeleton = load_skeleton(checkpoint)
    weights = read_dcp(folder, skeleton.state_dict())
    if (Path(checkpoint.source) / "generation_config.json").is_file():
        arguments["generation_config"] = GenerationConfig.from_pretrained(checkpoint.source)
    found: tuple[Any, Any] = type(skeleton).from_pretrained(None, state_dict=weights, **arguments)
    return found


def _refuse_missing(checkpoint: Checkpoint, info: dict[str, Any]) -> None:
    """Weights that the files lack would be random numbers: that is no checkpoint."""
    missing = sorted({*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])})
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise StratascopeError(
            f"{checkpoint.name}: {checkpoint.source} lacks the weights {missing[0]}{more}, or has "
            "them in another shape; they would be random numbers: is config.json the right one?"
        )


def load(checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerBase | None = None) -> Loaded:
    """Load a checkpoint for capture: evaluation mode, no gradients, on its device.

    Local folders are read without any use of the network; a hub model is read at its commit.
    ``tokenizer`` is the checkpoint's own, where somebody has loaded it before.

    Raises:
        StratascopeError: missing, damaged or incomplete files, an unsupported model, or a device
            that is not there.
    """
    config = load_config(checkpoint)
    tokenizer = load_tokenizer(checkpoint) if tokenizer is None else tokenizer
    model = _load_model(checkpoint, config)
    model.eval().requires_grad_(False)
    return Loaded(checkpoint, model, tokenizer)
