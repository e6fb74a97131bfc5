"""What names mean: sites of the layers, sites of the whole model, modules and what goes into them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from torch import nn

from stratascope.capture.families import Family
from stratascope.capture.sites import INPUT, LAYER_SITES, MODEL_SITES, Tap, Where, site_taps
from stratascope.errors import StratascopeError
from stratascope.study.names import nearest

Layers = Literal["all"] | int | Iterable[int]

_ONE_LAYER = re.compile(r"layer_(\d+)/(\w+)")
SITES = {site.name for site in (*MODEL_SITES, *LAYER_SITES)}


def wanted_layers(layers: Layers, total: int) -> list[int]:
    """Layer numbers, ascending; negative ones count from the last.

    Raises:
        StratascopeError: a layer that a model of ``total`` layers does not have.
    """
    if isinstance(layers, str):
        if layers != "all":
            raise StratascopeError(f"layers: write 'all' or numbers (found {layers!r})")
        return list(range(total))
    numbers = [layers] if isinstance(layers, int) else list(layers)
    beyond = [number for number in numbers if not -total <= number < total]
    if beyond:
        raise StratascopeError(
            f"layers: {beyond[0]} is not a layer of this model, which has layers 0 to {total - 1}"
        )
    return sorted({number % total for number in numbers})


def find_taps(
    model: nn.Module,
    family: Family | None,
    names: Sequence[str],
    layers: Layers,
    total: int,
) -> tuple[list[Tap], frozenset[Tap]]:
    """The taps of ``names``, and which of them are modules, to be kept in the shape they give.

    A name is a site (of each of ``layers``, or of the whole model), a site of one layer such as
    ``layer_03/hidden_out``, or a module's path, in which ``*`` stands for any one part of it;
    ``:input`` behind a path is what goes into the module.

    Raises:
        StratascopeError: a name that is none of these, with the nearest ones; sites of a model whose
            architecture is not in the table; a layer that is not there.
    """
    numbers = wanted_layers(layers, total) if family is not None else []
    sites: list[Tap] = []
    modules: list[Tap] = []
    for name in names:
        one = _ONE_LAYER.fullmatch(name)
        if not one and name not in SITES:
            modules += _module_taps(model, family, name)
        elif family is None:
            raise _no_family(model, name)
        elif one:
            sites += site_taps(model, family, [one[2]], wanted_layers(int(one[1]), total))
        else:
            sites += site_taps(model, family, [name], numbers)
    return list(dict.fromkeys([*sites, *modules])), frozenset(modules)


def _module_taps(model: nn.Module, family: Family | None, name: str) -> list[Tap]:
    known = [path for path, _ in model.named_modules() if path]
    pattern = name.removesuffix(INPUT)
    where: Where = "output" if pattern == name else "input"
    suffix = name[len(pattern) :]
    form = re.compile(re.escape(pattern).replace(r"\*", r"[^.]+"))
    found = [path for path in known if form.fullmatch(path)]
    if not found:
        near = nearest(pattern, [*known, *SITES]) if family is not None else nearest(pattern, known)
        hint = f"did you mean {near!r}?" if near else f"it has {', '.join(known[:8])}, ..."
        raise StratascopeError(f"this model has no site and no module {pattern!r}; {hint}")
    return [Tap(path, where, (path + suffix,)) for path in found]


def _no_family(model: nn.Module, name: str) -> StratascopeError:
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    return StratascopeError(
        f"{name}: {kind} is not among the architectures whose sites are known; name its modules, as "
        "`print(model.tree())` shows them"
    )
