"""How far apart a layer tells the references.

A layer where every snapshot is equally similar to all references says nothing about which one a
conversation resembles, however high those similarities are. So the measure is not the similarity
but its spread: for centred snapshots and references, the standard deviation across references
of a snapshot's cosines, averaged over snapshots.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from stratascope.measure.interval import Interval, cluster_mean
from stratascope.measure.metrics import FloatArray, IntArray, cosine_pairs, missing, unit

NULL_DRAWS = 10


def spread(cosines: FloatArray) -> FloatArray:
    """Standard deviation (ddof 0) across references: ``(n, r, *targets) -> (n, *targets)``.

    In [0, 1]; NaN with fewer than two references or where a cosine is NaN.
    """
    if cosines.shape[1] < 2:
        return np.full((len(cosines), *cosines.shape[2:]), np.nan)
    deviation: FloatArray = cosines.std(axis=1)
    return deviation


def discrimination(spreads: FloatArray, conversations: Sequence[Hashable], seed: int) -> Interval:
    """Mean `spread` over snapshots ``(n, *targets)``, interval by bootstrap over conversations.

    Snapshots of one conversation share most of their text, so that whole conversations are drawn.
    """
    return cluster_mean(spreads, conversations, seed)


def preferred(cosines: FloatArray) -> IntArray:
    """The reference most similar to each snapshot: ``(n, r, *targets) -> (n, *targets)``.

    Of equal ones the first; -1 where a cosine is NaN or there is no reference.
    """
    if cosines.shape[1] == 0:
        return np.full((len(cosines), *cosines.shape[2:]), -1, dtype=np.int64)
    missing = np.isnan(cosines).any(axis=1)
    place = np.where(np.isnan(cosines), -np.inf, cosines).argmax(axis=1)
    return np.where(missing, -1, place)


def null_spread(
    snapshots: FloatArray, references: FloatArray, conversations: Sequence[Hashable], seed: int
) -> float:
    """Mean `spread` when the references point elsewhere in the snapshots' own space.

    ``snapshots`` ``(n, H)`` and ``references`` ``(r, H)`` are centred. The references are rotated
    as one rigid body, so that the angles among them stay: two references that nearly coincide
    still do, and their spread stays small. Rotating them anywhere in H dimensions would be too
    easy a null, as states fill few of these dimensions and any other direction is nearly
    orthogonal to all of them. So each rotation takes the references' axes to random combinations
    (Gaussian weights) of snapshots, made orthonormal: directions with the snapshots' own
    covariance. They come from a random half of the conversations and are compared with the
    snapshots of the other half, since a state resembles every combination it is part of. A layer
    above the null tells references apart better than references would be told apart that have
    nothing to do with these conversations.

    Returns the mean over `NULL_DRAWS` rotations; NaN with fewer than two references or two
    conversations, or where the half that gives the directions has fewer snapshots than there are
    references. Rows with NaN or without direction are left out.
    """
    directions = unit(references)
    there = np.flatnonzero(~missing(unit(snapshots)))
    groups: dict[Hashable, list[int]] = {}
    for row in there.tolist():
        groups.setdefault(conversations[row], []).append(row)
    if len(directions) < 2 or len(groups) < 2 or np.isnan(directions).any():
        return np.nan
    # Coordinates of the references on axes of their own span: their angles and nothing else.
    coordinates, _ = _axes(directions)
    rng = np.random.default_rng(seed)
    members = list(groups.values())
    spreads = []
    for _ in range(NULL_DRAWS):
        order = rng.permutation(len(members))
        halves = [
            snapshots[[row for place in some for row in members[place]]]
            for some in np.array_split(order, 2)
        ]
        if len(halves[0]) < len(directions):
            return np.nan
        combined = rng.standard_normal((len(coordinates[0]), len(halves[0]))) @ halves[0]
        _, axes = _axes(combined)
        spreads.append(spread(cosine_pairs(halves[1], coordinates @ axes)).mean())
    return float(np.mean(spreads))


def _axes(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coordinates and orthonormal axes with ``coordinates @ axes == rows``."""
    q, r = np.linalg.qr(rows.T)
    # QR leaves the signs free; with a positive diagonal they do not depend on the basis.
    signs = np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return r.T * signs, (q * signs).T
