"""Sites: the named places in the network where a tensor is read, and which of them a run wants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from stratascope.capture.families import FAMILIES, Family
from stratascope.capture.families.family import Cut
from stratascope.capture.families.fused import copied
from stratascope.capture.modules import module_tree
from stratascope.errors import StratascopeError
from stratascope.store.runs import SOURCES
from stratascope.study.names import nearest
from stratascope.study.schema import Capture

Where = Literal["input", "output", "weights"]

# Behind a module's name in `capture.modules`: what goes into it, not what comes out.
INPUT = ":input"

# How many lines of a module tree an error shows.
TREE_LINES = 60


@dataclass(frozen=True)
class Site:
    """One place: its name, the ``capture`` switch that selects it, and where it is read.

    ``part`` names a field of ``Family``; the empty part is the layer itself. ``item``: which of the
    values that the module gives, if not the first tensor.
    """

    name: str
    switch: str
    part: str
    where: Where
    item: int | None = None


# Sites of a layer. The order is the order of a layer's work.
LAYER_SITES = (
    Site("hidden_in", "hidden_states", "", "input"),
    Site("q", "qkv", "q", "output"),
    Site("k", "qkv", "k", "output"),
    Site("v", "qkv", "v", "output"),
    Site("attn_weights", "attention_weights", "weights", "weights"),
    Site("attn_out", "qkv", "attn_out", "output"),
    Site("router_logits", "mlp", "router", "output", 0),
    Site("router_weights", "mlp", "router", "output", 1),
    Site("router_experts", "mlp", "router", "output", 2),
    Site("mlp_gate", "mlp", "gate", "output"),
    Site("mlp_up", "mlp", "up", "output"),
    Site("mlp_act", "mlp", "down", "input"),
    Site("mlp_down_in", "mlp", "down", "input"),
    Site("mlp_down_out", "mlp", "mlp_out", "output"),
    Site("hidden_out", "hidden_states", "", "output"),
)
# Sites of the whole model.
MODEL_SITES = (
    Site("embeddings", "hidden_states", "embed", "output"),
    Site("final_norm", "hidden_states", "norm", "output"),
    Site("logits", "logits", "head", "output"),
)
SITES = (*MODEL_SITES, *LAYER_SITES)


@dataclass(frozen=True)
class Tap:
    """One module to listen to, and the names that its tensor is stored under.

    ``item``: which of the values that the module gives, instead of the first tensor, or instead of
    the weights that the attention function computes. ``cut``: which part of each row.
    """

    path: str
    where: Where
    names: tuple[str, ...]
    item: int | str | None = None
    cut: Cut | None = None


def layer_name(layer: int) -> str:
    """``layer_07``, as tensor names begin."""
    return f"layer_{layer:02d}"


def resolve_layers(
    layers: str | Sequence[int], total: int, key: str = "capture.layers"
) -> list[int]:
    """The wanted layer numbers, ascending. ``key`` is where they were asked for.

    Raises:
        StratascopeError: a layer that a model of ``total`` layers does not have.
    """
    if isinstance(layers, str):
        return list(range(total))
    beyond = [layer for layer in layers if not 0 <= layer < total]
    if beyond:
        raise StratascopeError(
            f"{key}: {beyond[0]} is not a layer of this model, which has layers 0 to {total - 1}"
        )
    return sorted(set(layers))


def _tap(
    family: Family, site: Site, prefix: str, name: str, model: nn.Module | None = None
) -> Tap | None:
    """The tap of one site; none if the family, or this ``model`` of it, has no such part."""
    part = family.part(site.part)
    if part is None:
        return None
    path = ".".join(filter(None, (prefix, part.path)))
    if model is not None and site.part in family.optional and not _has(model, path):
        return None
    item = part.item if site.item is None else site.item
    return Tap(path, site.where, (name,), item, part.cut)


def _merged(taps: Iterable[Tap]) -> list[Tap]:
    """Sites that read the same tensor share a tap, so that it is converted once."""
    names: dict[Tap, tuple[str, ...]] = {}
    for tap in taps:
        place = replace(tap, names=())
        names[place] = names.get(place, ()) + tap.names
    return [replace(place, names=found) for place, found in names.items()]


def _has(model: nn.Module, path: str) -> bool:
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True


def residual_taps(family: Family, layers: Sequence[int]) -> list[Tap]:
    """Taps of the four residual sources of ``layers``."""
    taps = [
        _tap(family, site, f"{family.layers}.{layer}", f"{layer_name(layer)}/{site.name}")
        for layer in layers
        for site in LAYER_SITES
        if site.name in SOURCES
    ]
    return _merged(tap for tap in taps if tap is not None)


def family_sites(family: Family) -> list[Site]:
    """The sites that an architecture has."""
    return [site for site in SITES if family.part(site.part) is not None]


def module_tap(model: nn.Module, name: str, key: str = "capture.modules") -> Tap:
    """The tap of a module by its name, or of what goes into it. ``key`` is where it was asked for.

    Raises:
        StratascopeError: there is no such module.
    """
    known = [path for path, _ in model.named_modules() if path]
    path = name.removesuffix(INPUT)
    if path not in known:
        near = nearest(path, known)
        hint = f"did you mean {near!r}?" if near else "`stratascope layers` shows their names"
        raise StratascopeError(f"{key}: the model has no module {path!r}; {hint}")
    where: Where = "output" if path == name else "input"
    return Tap(path, where, (f"module/{name}",), cut=copied)


def capture_taps(
    model: nn.Module, family: Family | None, capture: Capture, layers: Sequence[int]
) -> list[Tap]:
    """Everything that a scenario's ``capture`` section asks for, in a fixed order.

    A switch selects those of its sites that the architecture has.

    Raises:
        StratascopeError: sites of an unknown architecture, a switch that selects nothing here, or a
            module that does not exist.
    """
    modules = [module_tap(model, name) for name in capture.modules]
    wanted = [site for site in SITES if getattr(capture, site.switch)]
    if not wanted:
        return modules
    if family is None:
        raise unknown_architecture(model)
    _check_switches(model, family, wanted)
    return [*_taps_of(model, family, wanted, layers), *modules]


def site_taps(
    model: nn.Module, family: Family, names: Sequence[str], layers: Sequence[int]
) -> list[Tap]:
    """The taps of sites by name: of ``layers``, or of the whole model, in a fixed order.

    Raises:
        StratascopeError: a site that does not exist, or that this model or none of ``layers`` has.
    """
    known = [site.name for site in family_sites(family)]
    for name in names:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"it has {', '.join(known)}"
            kind = getattr(getattr(model, "config", None), "model_type", "model")
            raise StratascopeError(f"sites: this {kind} has no site {name!r}; {hint}")
    taps = _taps_of(model, family, [site for site in SITES if site.name in names], layers)
    found = {own.rpartition("/")[2] for tap in taps for own in tap.names}
    for name in names:
        if name not in found:
            raise StratascopeError(
                f"sites: none of the layers {', '.join(map(str, layers))} has {name!r}; leave it out, or "
                "name other layers"
            )
    return taps


def _taps_of(
    model: nn.Module, family: Family, wanted: Sequence[Site], layers: Sequence[int]
) -> list[Tap]:
    whole = [_tap(family, s, "", s.name, model) for s in wanted if s in MODEL_SITES]
    inner = [
        _tap(family, site, f"{family.layers}.{i}", f"{layer_name(i)}/{site.name}", model)
        for i in layers
        for site in wanted
        if site in LAYER_SITES
    ]
    return _merged(tap for tap in (*whole, *inner) if tap is not None)


def _check_switches(model: nn.Module, family: Family, wanted: Sequence[Site]) -> None:
    there = {site.switch for site in family_sites(family)}
    for site in wanted:
        if site.switch not in there:
            raise StratascopeError(
                f"capture.{site.switch}: this {getattr(model.config, 'model_type', 'model')} has no "
                f"{site.name}; write `{site.switch}: false`"
            )


def unknown_architecture(model: nn.Module, remedy: str = "") -> StratascopeError:
    """The error for a model type without an entry in the table of families.

    ``remedy``: how to name modules by hand there, if not in a scenario.
    """
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    off = ", ".join(f"{s}: false" for s in dict.fromkeys(site.switch for site in SITES))
    return StratascopeError(
        f"model type {kind!r} has no table of sites (known: {', '.join(sorted(FAMILIES))}); name "
        f"its modules by hand with {remedy or f'`capture: {{modules: [...], {off}}}`'}. Its modules:\n"
        + module_tree(model, TREE_LINES)
    )
