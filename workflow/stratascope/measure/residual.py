"""Who wrote what into the residual stream: sizes, directions, and the share in one token's logit.

Direct logit attribution (Elhage et al., 2021, *A Mathematical Framework for Transformer Circuits*):
the last stream is a sum of contributions, and behind the final norm the logit of a token is linear in
it once the norm's scale is held at the value that it has. Everything in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stratascope.measure.readout import Norm, Readout


def lengths(vectors: np.ndarray) -> np.ndarray:
    """Euclidean norms (rows,) of (rows, hidden)."""
    return np.asarray(np.sqrt((vectors.astype(np.float64) ** 2).sum(-1)))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each row of ``a`` with that of ``b``, (rows,), -1 to 1; nan where one is zero."""
    size = lengths(a) * lengths(b)
    dot = (a.astype(np.float64) * b).sum(-1)
    return np.asarray(np.divide(dot, size, out=np.full(len(a), np.nan), where=size > 0))


@dataclass(frozen=True)
class Linear:
    """The logit of one token a row as a linear map of that row's last stream.

    ``logits`` (rows,) is what the model computes there, before a soft cap. It is the sum of
    ``of(contribution)`` over everything that makes up the stream, of ``norm_bias`` and ``head_bias``
    (both (rows,)). ``directions`` (rows, hidden).
    """

    directions: np.ndarray
    norm_bias: np.ndarray
    head_bias: np.ndarray
    logits: np.ndarray

    def of(self, contribution: np.ndarray) -> np.ndarray:
        """What a contribution (rows, hidden) directly adds to the logit: (rows,)."""
        return np.asarray((contribution.astype(np.float64) * self.directions).sum(-1))

    def minus(self, other: Linear) -> Linear:
        """The same of the difference of two tokens' logits."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Linear(*(a - b for a, b in pairs))


def linearised(readout: Readout, last: np.ndarray, places: np.ndarray) -> Linear:
    """The map from the last stream (rows, hidden) to the logit of row ``places`` (rows,) of the head.

    The final norm divides by the scale that ``last`` has; a layer norm's centring is linear anyway.
    """
    stream = last.astype(np.float64)
    head = readout.head[places].astype(np.float64)
    if readout.project is not None:
        head = head @ readout.project
    head_bias = np.zeros(len(stream))
    if readout.bias is not None:
        head_bias += readout.bias[places]
    norm = readout.norm
    if norm is None:
        directions, norm_bias = head, np.zeros(len(stream))
    else:
        directions = frozen(norm, stream, head)
        norm_bias = head @ norm.bias if norm.bias is not None else np.zeros(len(stream))
    return Linear(
        directions, norm_bias, head_bias, (stream * directions).sum(-1) + norm_bias + head_bias
    )


def frozen(norm: Norm, states: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """What dot products with ``onto`` behind the norm are in front of it: (rows, hidden).

    ``states`` (rows, hidden) set the scale. The norm's bias is left out.
    """
    found = onto * norm.gain(states.shape[-1])
    if norm.centres:
        found = found - found.mean(-1, keepdims=True)
    return np.asarray(found / norm.scale(states))


def mixed_values(weights: np.ndarray, values: np.ndarray, width: int) -> np.ndarray:
    """What each head hands to the output projection: (rows, heads, width), float64.

    ``weights`` (heads, rows, tokens) say where each of the rows looks; ``values`` (tokens, shared *
    width), each of the shared ones read by as many heads in a row.
    """
    heads, rows, tokens = weights.shape
    each = values.reshape(tokens, -1, width).astype(np.float64)
    looks = weights.reshape(each.shape[1], -1, rows, tokens).astype(np.float64)
    mixed = np.einsum("gqrs,sgd->rgqd", looks, each, optimize=True)
    return np.asarray(mixed.reshape(rows, heads, width))


def by_head(
    mixed: np.ndarray,
    projection: np.ndarray,
    bias: np.ndarray | None,
    norm: Norm | None,
    linear: Linear,
) -> tuple[np.ndarray, np.ndarray]:
    """What each head directly adds to the logit, (rows, heads), and what the biases add, (rows,).

    ``mixed`` as from `mixed_values`; ``projection`` (hidden, heads * width) with its ``bias`` (hidden,);
    ``norm`` lies between attention and stream (Gemma 2, OLMo 2), its scale held as well.
    """
    rows, heads, width = mixed.shape
    directions = linear.directions
    biases = np.zeros(rows)
    weight = projection.astype(np.float64)
    if norm is not None:
        whole = mixed.reshape(rows, -1) @ weight.T + (0 if bias is None else bias)
        if norm.bias is not None:
            biases += directions @ norm.bias
        directions = frozen(norm, whole, directions)
    if bias is not None:
        biases += directions @ bias
    folded = (directions @ weight).reshape(rows, heads, width)
    return np.asarray((folded * mixed).sum(-1)), biases
