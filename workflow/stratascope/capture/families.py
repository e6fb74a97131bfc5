"""Where an architecture keeps its parts: one entry for each model type."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Family:
    """Module paths of one architecture.

    ``layers``, ``embed``, ``norm`` and ``head`` are paths from the model; the others are paths from
    a layer. ``packs``: attention honours a 4D mask and explicit positions, so that several
    sequences fit into one row.
    """

    layers: str = "model.layers"
    embed: str = "model.embed_tokens"
    norm: str = "model.norm"
    head: str = "lm_head"
    attn: str = "self_attn"
    q: str = "self_attn.q_proj"
    k: str = "self_attn.k_proj"
    v: str = "self_attn.v_proj"
    o: str = "self_attn.o_proj"
    mlp: str = "mlp"
    gate: str = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"
    packs: bool = True

    def paths(self) -> dict[str, str]:
        """The module paths by their names, for ``run.json``."""
        return {name: path for name, path in asdict(self).items() if isinstance(path, str)}


LLAMA = Family()

FAMILIES: dict[str, Family] = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
}
