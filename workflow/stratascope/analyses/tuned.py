"""Fitting a tuned lens to a dataset's features, and how much it gains on texts held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stratascope.analyses.places import short
from stratascope.analyses.readout import End
from stratascope.errors import StratascopeError
from stratascope.measure.interval import cluster_mean, seed_of
from stratascope.measure.lens import final_logits, read_layer
from stratascope.measure.readout import Readout
from stratascope.measure.tuned import AffineMap, maps, three_parts
from stratascope.store.layer_arrays import LayerArrays

SITE = "hidden_out"
# Below this many texts held out, an interval says nothing.
FEWEST = 10


def tune(
    features: LayerArrays, end: End, groups: Sequence[Any], seed: int
) -> tuple[dict[int, AffineMap], list[dict[str, Any]]]:
    """The map of each layer but the last, and a row a layer: KL(final || layer) on texts held out.

    ``groups`` are the texts' own numbers or a field: rows of one stay on one side. ``kl_lens`` is the
    plain lens, ``kl_tuned`` with the map, ``gain`` their difference with its 95 % interval, by a
    bootstrap over groups. The strength is chosen on texts that are in neither part.

    Raises:
        StratascopeError: features without the last layer's hidden_out, of another width, or too few.
    """
    stored = {array.layer: array for array in features.at(SITE) if array.layer is not None}
    _check(features, end, sorted(stored))
    last = stored[end.layers - 1][slice(None)].astype(np.float32)
    fitted, choosing, held = three_parts(groups, seed)
    names = [groups[row] for row in held]
    if len(set(names)) < FEWEST:
        raise StratascopeError(
            f"{features.path}: {len(set(groups))} texts or groups; a tuned lens needs at least "
            f"{5 * FEWEST}, of which {FEWEST} are held out"
        )
    readout = end.readout
    found, rows = {}, []
    for layer in sorted(stored)[:-1]:
        states = stored[layer][slice(None)].astype(np.float32)
        kls = {
            strength: (kl_of(readout, made(states[choosing]), last[choosing]).mean(), made)
            for strength, made in maps(states[fitted], last[fitted])
        }
        strength = min(kls, key=lambda key: (kls[key][0], key))
        found[layer] = kls[strength][1]
        plain = kl_of(readout, states[held], last[held])
        tuned = kl_of(readout, found[layer](states[held]), last[held])
        gain = cluster_mean(plain - tuned, names, seed_of(seed, layer))
        rows.append(
            {
                "layer": layer,
                "n": len(held),
                "groups": len(set(names)),
                "strength": strength,
                "kl_lens": short(float(plain.mean())),
                "kl_tuned": short(float(tuned.mean())),
                "gain": short(float(gain.estimate)),
                "lower": short(float(gain.lower)),
                "upper": short(float(gain.upper)),
            }
        )
    return found, rows


def kl_of(readout: Readout, states: np.ndarray, last: np.ndarray) -> np.ndarray:
    """KL(final || layer) of each row, (rows,)."""
    parts = [
        read_layer(
            readout,
            states[some],
            final_logits(readout, last[some]),
            np.zeros((len(last[some]), 0), int),
            1,
        ).kl
        for some in readout.chunks(len(last))
    ]
    return np.concatenate(parts)


def _check(features: LayerArrays, end: End, layers: Sequence[int]) -> None:
    shape = end.plan.shape
    if not layers or layers[-1] != end.layers - 1 or len(layers) < 2:
        raise StratascopeError(
            f"{features.path}: a tuned lens needs {SITE} of the last layer, {end.layers - 1}, and of others "
            f"(there: {', '.join(map(str, layers)) or 'none'}); extract all layers"
        )
    width = features.at(SITE)[-1].shape[1]
    if width != shape.hidden:
        raise StratascopeError(
            f"{features.path}: features of width {width}, and {end.weights.shown} has {shape.hidden}: "
            "they are another model's"
        )
