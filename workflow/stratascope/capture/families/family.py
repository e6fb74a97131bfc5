"""What an entry of the table says: where one architecture keeps its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Heads:
    """Attention's numbers: query heads, key-value heads, and the width of one head."""

    query: int
    shared: int
    width: int


def heads_of(config: Any) -> Heads:
    """The heads of a language model, by its configuration."""
    query = int(config.num_attention_heads)
    shared = getattr(config, "num_key_value_heads", None) or getattr(config, "num_kv_heads", None)
    newer = getattr(config, "new_decoder_architecture", False)
    if getattr(config, "multi_query", False) and not newer:
        shared = 1  # Falcon's first architecture; its num_kv_heads then says nothing
    width = getattr(config, "head_dim", None) or config.hidden_size // query
    return Heads(query, int(shared or query), int(width))


# Takes (tokens, width) and the language model's configuration, gives the wanted part of each row.
Cut = Callable[["torch.Tensor", Any], "torch.Tensor"]


@dataclass(frozen=True)
class Part:
    """A tensor to read at a module where its name alone does not say which.

    ``item``: which of the values that the module gives, if not the first tensor. ``cut``: which part
    of each row, if not all of it.
    """

    path: str
    item: int | str | None = None
    cut: Cut | None = None


Place = Part | str | None


@dataclass(frozen=True)
class Family:
    """Where one architecture keeps its parts; the defaults are Llama's. ``None``: it has no such part.

    ``layers``, ``embed``, ``norm`` and ``head`` are paths from the model, the others from a layer.
    ``weights`` is the module whose attention goes through transformers' attention interface, or an
    item of what a module gives. ``attn_out`` and ``mlp_out`` are what is added to the residual
    stream: where a family norms that before it is added, they are read after that norm. ``router``
    chooses experts.

    ``optional`` parts are missing in some layers or models of the family. ``attention`` names one of
    transformers' own implementations, for attention that ignores the interface or asks what SDPA
    cannot do; otherwise Stratascope's runs. ``encoder``: every token sees all others; it cannot
    generate. ``packs``: attention honours a 4D mask and explicit positions, so that several
    sequences fit into one row. ``padded_positions``: positions are counted from the number of the
    padding token on, which shortens the context.
    """

    layers: str = "model.layers"
    embed: Place = "model.embed_tokens"
    norm: Place = "model.norm"
    head: Place = "lm_head"
    weights: Place = "self_attn"
    q: Place = "self_attn.q_proj"
    k: Place = "self_attn.k_proj"
    v: Place = "self_attn.v_proj"
    o: Place = "self_attn.o_proj"
    attn_out: Place = "self_attn"
    gate: Place = "mlp.gate_proj"
    up: Place = "mlp.up_proj"
    down: Place = "mlp.down_proj"
    mlp_out: Place = "mlp"
    router: Place = None
    optional: tuple[str, ...] = ()
    attention: Literal["eager", "sdpa"] | None = None
    encoder: bool = False
    packs: bool = True
    padded_positions: bool = False

    def part(self, name: str) -> Part | None:
        """The place called ``name``; the empty name is the layer itself."""
        place: Place = getattr(self, name) if name else ""
        return Part(place) if isinstance(place, str) else place

    def paths(self) -> dict[str, str]:
        """The module paths by their names, for ``run.json``."""
        names = [field.name for field in fields(self) if field.name != "attention"]
        values = {name: getattr(self, name) for name in names}
        paths = {name: v.path if isinstance(v, Part) else v for name, v in values.items()}
        return {name: path for name, path in paths.items() if isinstance(path, str)}
