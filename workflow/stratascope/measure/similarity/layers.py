"""All layers of one side against all of the other, with nulls and intervals."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stratascope.errors import StratascopeError
from stratascope.measure.bootstrap import interval_of
from stratascope.measure.metrics import FloatArray
from stratascope.measure.similarity import products, tiles
from stratascope.measure.similarity.features import Layer, Rows, check_texts, layers_of
from stratascope.measure.similarity.forms import Form, Workers, workers
from stratascope.measure.similarity.held import Drawn, Draws, held
from stratascope.measure.similarity.pairs import LINEAR
from stratascope.measure.similarity.sides import Found, Sides
from stratascope.measure.similarity.table import Similarity, measure_of

MEMORY = 4 * 2**30
# Permuted values this close to the value itself are ties.
_TIE = 1e-12
_NULL_QUANTILE = 0.95


@dataclass(frozen=True)
class LayerSimilarity:
    """One measure of the layers ``a`` against the layers ``b``, over ``n`` texts.

    ``values`` ``(a, b)`` are NaN for a pair that was not wanted, or with a layer that the measure
    is not defined on: ``undefined`` holds one sentence for each. ``p``, ``null_mean`` and
    ``null_bound`` are there if permutations were asked for, ``lower`` and ``upper`` if an interval
    was; NaN where there is none. ``groups`` were drawn for the interval: n of them, one a text,
    unless texts were grouped.
    """

    a: tuple[str, ...]
    b: tuple[str, ...]
    n: int
    groups: int
    values: FloatArray
    undefined: tuple[str, ...]
    p: FloatArray | None = None
    null_mean: FloatArray | None = None
    null_bound: FloatArray | None = None
    lower: FloatArray | None = None
    upper: FloatArray | None = None


def compare_layers(
    a: Mapping[str, Rows],
    b: Mapping[str, Rows] | None = None,
    measures: Sequence[str] = ("linear_cka_debiased",),
    *,
    wanted: npt.ArrayLike | None = None,
    permutations: int = 0,
    resamples: int = 0,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    threads: int | None = None,
) -> dict[str, LayerSimilarity]:
    """The measures of every layer of ``a`` against every layer of ``b``, over the same n texts.

    ``a`` and ``b`` map names to features (n, d): arrays, memory maps, or anything with ``shape``,
    ``dtype`` and rows by slice; without ``b``, ``a`` is compared with itself. ``wanted`` ``(a, b)``
    of bool leaves pairs out. What measures and pairs share is computed once. About ``memory`` bytes
    are held beside the features: what does not fit is read again in blocks. Neither that nor
    ``threads`` (all cores) changes a value by more than rounding, and threads by nothing at all.

    **Null.** ``permutations`` random orders of b's texts, the same for all pairs. ``p`` is
    ``(1 + #{as close or closer}) / (1 + permutations)``, exact under the hypothesis that nothing
    links a text's features on one side to those on the other (Phipson & Smyth 2010, Stat. Appl.
    Genet. Mol. Biol. 9). ``null_mean`` is their mean, ``null_bound`` what 95 of 100 do not reach.

    **Interval.** ``resamples`` random halves of the texts, or of the groups that ``groups`` ``(n,)``
    name; 95 % percentiles of their values about their own mean, set about the value of all texts
    and cut at the measure's range. An ordinary bootstrap draws texts twice, and a text is most
    similar to itself: on features without relation its intervals of debiased CKA contain 0 in 3 of
    100 cases. Halves hold no text twice. For a smooth statistic they spread about the whole as the
    whole does about the truth (the delete-d jackknife with d = n/2; Shao & Wu 1989, Annals of
    Statistics 17). In simulations (docs/similarity.md) they cover debiased CKA in 91 to 99 of 100
    draws, and always on features without relation: there the value varies as 1/n, and halves spread
    twice as much. It is an interval for what other texts would give at this n: the bias that a
    measure has at this n stays in it. The bandwidth of RBF kernels is that of all texts. NaN where a
    half is undefined, or where all halves are at the measure's end and the whole is not, as
    CCA's are with fewer texts than directions.

    Raises StratascopeError for sides of different texts, too few texts, numbers that are not
    finite, an unknown measure, or what cannot be held in ``memory``.
    """
    entries = {name: measure_of(name) for name in measures}
    sides = _sides(a, b, wanted)
    draws = Draws.of(sides.n, permutations, resamples, groups, seed)
    for name, entry in entries.items():
        _check(name, entry, sides.n, draws)
    sides, memory = _read_once(sides, memory)
    found: dict[str, Found] = {}
    with workers(threads or os.cpu_count() or 1) as shared:
        for together in _sharing(entries, sides, draws, memory):
            found |= _measured(together, sides, draws, memory, shared)
    names = tuple(a), tuple(a if b is None else b)
    return {
        name: _summary(entry, found[name], names, sides, draws) for name, entry in entries.items()
    }


def _sides(
    a: Mapping[str, Rows], b: Mapping[str, Rows] | None, wanted: npt.ArrayLike | None
) -> Sides:
    first = layers_of(a, "" if b is None else " of a")
    second = first if b is None else layers_of(b, " of b")
    check_texts(first[0].n, second[0].n, 1)
    shape = len(first), len(second)
    pairs = np.ones(shape, np.bool_) if wanted is None else np.asarray(wanted, dtype=np.bool_)
    if pairs.shape != shape or not pairs.any():
        raise StratascopeError(f"wanted pairs must be some of {shape}, got shape {pairs.shape}")
    places = range(len(first))
    if b is None:
        return Sides(first, places, places, pairs)
    return Sides([*first, *second], places, range(len(first), len(first) + len(second)), pairs)


def _read_once(sides: Sides, memory: int) -> tuple[Sides, int]:
    """Layers on disk as arrays if half of ``memory`` holds them, and the memory that is left."""
    on_disk = {p for p in sides.used if type(sides.layers[p].array) is not np.ndarray}
    size = sum(
        layer.n * layer.width * layer.array.dtype.itemsize
        for layer in (sides.layers[place] for place in on_disk)
    )
    if size > memory / 2:
        return sides, memory
    layers = [
        Layer(layer.name, np.array(layer.array[0 : layer.n])) if place in on_disk else layer
        for place, layer in enumerate(sides.layers)
    ]
    return replace(sides, layers=layers), memory - size


def _check(name: str, entry: Similarity, n: int, draws: Draws) -> None:
    if n < entry.minimum:
        raise StratascopeError(f"{name}: {n} texts are too few: it needs at least {entry.minimum}")
    sizes = np.sort(np.bincount(draws.codes))
    if draws.halves and sizes[: draws.groups // 2].sum() < entry.minimum:
        raise StratascopeError(
            f"{name}: an interval needs at least {entry.minimum} texts in any half of the "
            f"{draws.groups} groups; leave the interval out"
        )


def _sharing(
    entries: Mapping[str, Similarity], sides: Sides, draws: Draws, memory: int
) -> list[dict[str, Form]]:
    """The forms of the measures, together with those that share what is prepared."""
    together: dict[object, dict[str, Form]] = {}
    for name, entry in entries.items():
        form = entry.form
        if entry.narrow is not None and (draws.permutations or draws.halves):
            # A draw costs n^2/2 from the side of texts, n d^2 from that of features.
            large = 12 * form.memory(sides.n, sides.width) > memory
            if large or 2 * sides.width**2 < sides.n:
                form = entry.narrow
        together.setdefault(form.prepare, {})[name] = form
    return list(together.values())


def _measured(
    forms: Mapping[str, Form], sides: Sides, draws: Draws, memory: int, shared: Workers
) -> dict[str, Found]:
    streams = {name: form.streams for name, form in forms.items() if form.streams is not None}
    found: dict[str, Found] = {}
    if streams and not draws.permutations and not draws.halves:
        ((relation, _), *_) = streams.values()
        centrings = {name: centring for name, (_, centring) in streams.items()}
        narrow = relation is LINEAR and products.fit_in(sides, memory)
        if narrow and products.cost(sides) < tiles.cost(sides):
            found |= products.from_features(sides, centrings, memory, shared)
        else:
            found |= tiles.from_texts(sides, relation, centrings, memory, shared)
    others = {name: form for name, form in forms.items() if name not in found}
    return found | (held(sides, others, draws, memory, shared) if others else {})


def _summary(
    entry: Similarity,
    found: Found,
    names: tuple[tuple[str, ...], tuple[str, ...]],
    sides: Sides,
    draws: Draws,
) -> LayerSimilarity:
    values = np.clip(found.values, entry.low, entry.high)
    p = mean = bound = lower = upper = None
    if isinstance(found, Drawn) and draws.permutations:
        p, mean, bound = _null(entry, values, found.permuted)
    if isinstance(found, Drawn) and draws.halves:
        lower, upper = _interval(entry, values, found.halved, draws.widening)
    reasons = tuple(found.undefined[place] for place in sorted(found.undefined))
    a, b = names
    return LayerSimilarity(
        a, b, sides.n, draws.groups, values, reasons, p, mean, bound, lower, upper
    )


def _null(
    entry: Similarity, values: FloatArray, permuted: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    sign = -1 if entry.lower_is_closer else 1
    closer = (sign * (permuted - values) >= -_TIE).sum(axis=0)
    p = np.where(np.isnan(values), np.nan, (1 + closer) / (1 + len(permuted)))
    bound = sign * np.quantile(sign * permuted, _NULL_QUANTILE, axis=0)
    return p, permuted.mean(axis=0), np.asarray(bound)


def _interval(
    entry: Similarity, values: FloatArray, halved: FloatArray, widening: float
) -> tuple[FloatArray, FloatArray]:
    ends = np.full((2, *values.shape), np.nan)
    for place in np.ndindex(values.shape):
        draws, value = halved[(slice(None), *place)], float(values[place])
        saturated = np.ptp(draws) <= _TIE and abs(draws[0] - value) > _TIE
        if not np.isnan(draws).any() and not saturated:
            bounds = entry.low, entry.high
            ends[(slice(None), *place)] = interval_of(value, draws, widening, bounds)
    return ends[0], ends[1]
