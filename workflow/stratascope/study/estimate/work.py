"""What a job is to do, in numbers: tokens, texts, and what is kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stratascope.study.estimate.shape import Shape
from stratascope.study.schema import Capture, Model
from stratascope.study.strict import Dtype

# Bytes of a number in each precision.
ITEM_BYTES: dict[str, int] = {"float16": 2, "bfloat16": 2, "float32": 4}
# What holds a model's weights.
WEIGHTS = (".safetensors", ".bin", ".gguf")

Device = Literal["cpu", "cuda", "mps"]
# `all`, or the numbers of some.
Layers = str | tuple[int, ...]


@dataclass(frozen=True)
class Files:
    """The weights as they lie on the disk; ``None`` is unknown.

    ``quantized``: in a precision of their own, in which they also stay in memory.
    """

    bytes: int | None = None
    dtype: str | None = None
    quantized: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any], folder: Path | None = None) -> Files:
        """The weights beside a config.json; ``folder`` is where they lie, if that is here."""
        both = (config, config.get("text_config") or {})
        named = [str(c.get("dtype") or c.get("torch_dtype")).removeprefix("torch.") for c in both]
        dtype = next((name for name in named if name in ITEM_BYTES), None)
        sizes: dict[str, int] = {}
        for path in sorted(folder.iterdir()) if folder is not None else ():
            if path.suffix in WEIGHTS and path.name != "training_args.bin":
                sizes[path.suffix] = sizes.get(path.suffix, 0) + path.stat().st_size
        # A folder may hold the same weights in several formats: only the first is read.
        found = next((sizes[suffix] for suffix in WEIGHTS if suffix in sizes), None)
        quantized = config.get("quantization_config") is not None
        return cls(found, dtype, quantized)


@dataclass(frozen=True)
class RunWork:
    """A run: ``prompt`` tokens of ``messages`` messages, then at most ``new`` more."""

    capture: Capture
    prompt: int
    new: int
    messages: int

    @property
    def tokens(self) -> int:
        """Tokens that the model reads at most; the last one generated is not fed back."""
        return self.prompt + self.new - 1


@dataclass(frozen=True)
class ReferenceWork:
    """Reference states: the tokens of each conversation, and at how many positions it is read."""

    lengths: tuple[int, ...]
    positions: int
    layers: Layers
    characters: int


@dataclass(frozen=True)
class TextWork:
    """Texts whose features are kept: of a dataset, or questions before their answers.

    ``tokens`` of all texts, ``longest`` the most of one, ``text_bytes`` what they are in UTF-8.
    ``pooled``: a row a text, not a row a token. ``batch`` tokens are read in one pass at least, and
    ``new`` are generated after each text; ``store_dtype`` is the model's own if it is ``None``.
    ``counted``: of neurons, how many numbers of 4 bytes are kept of each beside its features, in each of
    ``shards``.
    """

    sites: tuple[str, ...]
    modules: tuple[str, ...]
    layers: Layers
    pooled: bool
    store_dtype: Dtype | None
    texts: int
    tokens: int
    longest: int
    text_bytes: int
    batch: int
    new: int = 0
    counted: int = 0
    shards: int = 1


@dataclass(frozen=True)
class Work:
    """What one process does with one loaded model. ``shape`` is ``None`` for an unknown model type."""

    shape: Shape | None
    files: Files
    model: Model
    device: Device
    runs: tuple[RunWork, ...] = ()
    references: tuple[ReferenceWork, ...] = ()
    texts: tuple[TextWork, ...] = ()


def chosen(layers: Layers, total: int) -> range | tuple[int, ...]:
    """The numbers of the layers that are meant, of ``total``."""
    return range(total) if isinstance(layers, str) else tuple(i for i in layers if i < total)
