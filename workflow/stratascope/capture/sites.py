"""Sites: the named places in the network where a tensor is read, and which of them a run wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from stratascope.capture.families import FAMILIES, Family
from stratascope.capture.modules import module_tree
from stratascope.errors import StratascopeError
from stratascope.store.runs import SOURCES
from stratascope.study.names import nearest
from stratascope.study.schema import Capture

Where = Literal["input", "output", "weights"]

# How many lines of a module tree an error shows.
TREE_LINES = 60


@dataclass(frozen=True)
class Site:
    """One place: its name, the ``capture`` switch that selects it, and where it is read.

    ``part`` names a field of ``Family``; the empty part is the layer itself.
    """

    name: str
    switch: str
    part: str
    where: Where


# Sites of a layer. The order is the order of a layer's work.
LAYER_SITES = (
    Site("hidden_in", "hidden_states", "", "input"),
    Site("q", "qkv", "q", "output"),
    Site("k", "qkv", "k", "output"),
    Site("v", "qkv", "v", "output"),
    Site("attn_weights", "attention_weights", "attn", "weights"),
    Site("attn_out", "qkv", "attn", "output"),
    Site("mlp_gate", "mlp", "gate", "output"),
    Site("mlp_up", "mlp", "up", "output"),
    Site("mlp_act", "mlp", "down", "input"),
    Site("mlp_down_in", "mlp", "down", "input"),
    Site("mlp_down_out", "mlp", "mlp", "output"),
    Site("hidden_out", "hidden_states", "", "output"),
)
# Sites of the whole model.
MODEL_SITES = (
    Site("embeddings", "hidden_states", "embed", "output"),
    Site("logits", "logits", "head", "output"),
)
SITES = (*MODEL_SITES, *LAYER_SITES)


@dataclass(frozen=True)
class Tap:
    """One module to listen to, and the names that its tensor is stored under."""

    path: str
    where: Where
    names: tuple[str, ...]


def layer_name(layer: int) -> str:
    """``layer_07``, as tensor names begin."""
    return f"layer_{layer:02d}"


def resolve_layers(layers: str | Sequence[int], total: int) -> list[int]:
    """The wanted layer numbers, ascending.

    Raises:
        StratascopeError: a layer that a model of ``total`` layers does not have.
    """
    if isinstance(layers, str):
        return list(range(total))
    beyond = [layer for layer in layers if not 0 <= layer < total]
    if beyond:
        raise StratascopeError(
            f"capture.layers: {beyond[0]} is not a layer of this model, which has layers 0 to "
            f"{total - 1}"
        )
    return sorted(set(layers))


def _layer_tap(family: Family, layer: int, sites: Sequence[Site]) -> Tap:
    part = sites[0].part
    path = f"{family.layers}.{layer}" + (f".{getattr(family, part)}" if part else "")
    names = tuple(f"{layer_name(layer)}/{site.name}" for site in sites)
    return Tap(path, sites[0].where, names)


def _layer_taps(family: Family, layers: Sequence[int], sites: Sequence[Site]) -> list[Tap]:
    # Sites that read the same tensor share a tap, so that it is converted once.
    places = dict.fromkeys((site.part, site.where) for site in sites)
    return [
        _layer_tap(family, layer, [site for site in sites if (site.part, site.where) == place])
        for layer in layers
        for place in places
    ]


def residual_taps(family: Family, layers: Sequence[int]) -> list[Tap]:
    """Taps of the four residual sources of ``layers``."""
    return _layer_taps(family, layers, [s for s in LAYER_SITES if s.name in SOURCES])


def _module_tap(model: nn.Module, name: str) -> Tap:
    known = [path for path, _ in model.named_modules() if path]
    if name not in known:
        near = nearest(name, known)
        hint = f"did you mean {near!r}?" if near else "`stratascope layers` shows their names"
        raise StratascopeError(f"capture.modules: the model has no module {name!r}; {hint}")
    return Tap(name, "output", (f"module/{name}",))


def capture_taps(
    model: nn.Module, family: Family | None, capture: Capture, layers: Sequence[int]
) -> list[Tap]:
    """Everything that a scenario's ``capture`` section asks for, in a fixed order.

    Raises:
        StratascopeError: sites of an unknown architecture, or a module that does not exist.
    """
    taps = [_module_tap(model, name) for name in capture.modules]
    wanted = [site for site in SITES if getattr(capture, site.switch)]
    if not wanted:
        return taps
    if family is None:
        raise unknown_architecture(model)
    whole = [
        Tap(getattr(family, site.part), site.where, (site.name,))
        for site in wanted
        if site in MODEL_SITES
    ]
    return [*whole, *_layer_taps(family, layers, [s for s in wanted if s in LAYER_SITES]), *taps]


def unknown_architecture(model: nn.Module) -> StratascopeError:
    """The error for a model type without an entry in the table of families."""
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    off = ", ".join(f"{s}: false" for s in dict.fromkeys(site.switch for site in SITES))
    return StratascopeError(
        f"model type {kind!r} has no table of sites (known: {', '.join(sorted(FAMILIES))}); name "
        f"its modules by hand with `capture: {{modules: [...], {off}}}`. Its modules:\n"
        + module_tree(model, TREE_LINES)
    )
