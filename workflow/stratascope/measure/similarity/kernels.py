"""Similarity of relations between texts: CKA of kernels, RSA of correlations.

Every measure here is the cosine of two vectors that hold a layer's relation of all pairs of texts,
centred in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from stratascope.measure.metrics import BoolArray, FloatArray
from stratascope.measure.similarity.features import Layer, UndefinedError, blocks
from stratascope.measure.similarity.forms import Centring, Form, Workers, value_of
from stratascope.measure.similarity.linear import BIASED_NARROW, UNBIASED_NARROW
from stratascope.measure.similarity.pairs import (
    CORRELATION,
    LINEAR,
    Pairs,
    Relation,
    Selection,
    gaussian,
    related,
)

FRACTION = 1.0
_CHUNK = 32768
# Centred relations this small, against the relation itself, are rounding.
_NOTHING = 1e-12
# Correlations that agree to this many decimals are ties.
_DECIMALS = 12


def linear_cka(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Linear centred kernel alignment of X (n, d1) and Y (n, d2), in [0, 1]; 1 on itself.

    ``|Xc'Yc|_F^2 / (|Xc'Xc|_F |Yc'Yc|_F)`` with columns centred. Unchanged by orthogonal maps,
    isotropic scaling and translation of either side. Biased upwards: on unrelated features it
    goes to 1 as d/n grows, so prefer `linear_cka_debiased`. n >= 3.

    Source: Kornblith et al. 2019, Similarity of Neural Network Representations Revisited, ICML.
    Raises StratascopeError for other shapes, NaN, or features that do not vary.
    """
    form = BIASED_NARROW if _narrow(x, y) else LINEAR_CKA
    return value_of(form, x, y, 3)


def linear_cka_debiased(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Linear CKA with the unbiased HSIC of X (n, d1) and Y (n, d2), in [-1, 1]; 1 on itself.

    ``HSIC1(K, L) / sqrt(HSIC1(K, K) HSIC1(L, L))``, ``n(n-3) HSIC1(K, L) = tr K~L~ + 1'K~1 1'L~1 /
    ((n-1)(n-2)) - 2/(n-2) 1'K~L~1``, with K = XX', K~ its diagonal set to 0. It is the cosine of
    the two U-centred matrices, and about 0 on unrelated features whatever d/n. Invariances as
    `linear_cka`. n >= 4. Computed by d x d or n x n matrices, whichever is smaller.

    Sources: Song et al. 2012, Feature Selection via Dependence Maximization, JMLR 13 (HSIC1);
    Nguyen et al. 2021, Do Wide and Deep Networks Learn the Same Things?, ICLR (its use for CKA).
    Raises StratascopeError as `linear_cka`, and where all pairs of texts relate alike.
    """
    form = UNBIASED_NARROW if _narrow(x, y) else LINEAR_CKA_DEBIASED
    return value_of(form, x, y, 4)


def rbf_cka(x: npt.ArrayLike, y: npt.ArrayLike, fraction: float = FRACTION) -> float:
    """CKA of Gaussian kernels of X (n, d1) and Y (n, d2), in [0, 1]; 1 on itself.

    ``exp(-|x_i - x_j|^2 / (2 s^2))``, on each side s = ``fraction`` times the median distance of
    two different texts. Invariances as `linear_cka`, scaling by way of s. Biased as it is. n >= 3.

    Source: Kornblith et al. 2019. Raises StratascopeError as `linear_cka`, and where the median
    distance is 0.
    """
    relation = gaussian(fraction)
    return value_of(_form(partial(related, relation=relation), relation, DOUBLE, 0.0), x, y, 3)


def rbf_cka_debiased(x: npt.ArrayLike, y: npt.ArrayLike, fraction: float = FRACTION) -> float:
    """`rbf_cka` with the unbiased HSIC of `linear_cka_debiased`, in [-1, 1]; 1 on itself. n >= 4."""
    relation = gaussian(fraction)
    return value_of(_form(partial(related, relation=relation), relation, UNBIASED), x, y, 4)


def rsa(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Representational similarity analysis of X (n, d1), Y (n, d2), in [-1, 1]; 1 on itself.

    Spearman's correlation, over the n(n-1)/2 pairs of texts, of the distances 1 - r, where r is
    Pearson's correlation of two texts' features; distances equal to 12 decimals are ties.
    Unchanged by isotropic scaling and by reordering features; not by rotation or translation,
    which change what a text's mean feature is. n >= 3.

    Source: Kriegeskorte et al. 2008, Representational similarity analysis, Front. Syst. Neurosci.
    Raises StratascopeError as `linear_cka`, where a text has the same number in every feature, and
    where all distances are equal (so with d = 1).
    """
    return value_of(RSA, x, y, 3)


def rsa_pearson(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """`rsa` with Pearson's correlation of the distances instead of Spearman's."""
    return value_of(RSA_PEARSON, x, y, 3)


def _narrow(x: npt.ArrayLike, y: npt.ArrayLike) -> bool:
    """Whether there are more texts than features: d x d is then smaller than n x n."""
    shapes = np.shape(x), np.shape(y)
    return all(len(shape) == 2 and shape[1] < shape[0] for shape in shapes)


def _double(sums: FloatArray, diagonal: FloatArray) -> tuple[FloatArray, float]:
    means = (sums + diagonal) / len(sums)
    return means, float(means.mean())


def _unbiased(sums: FloatArray, diagonal: FloatArray) -> tuple[FloatArray, float]:
    n = len(sums)
    return sums / (n - 2), float(sums.sum() / ((n - 1) * (n - 2)))


def _mean(sums: FloatArray, diagonal: FloatArray) -> tuple[FloatArray, float]:
    n = len(sums)
    return np.zeros(n), -float(sums.sum() / (n * (n - 1)))


DOUBLE = Centring(_double, diagonal=True)
UNBIASED = Centring(_unbiased, diagonal=False)
MEAN = Centring(_mean, diagonal=False)


def centred(pairs: Pairs, centring: Centring) -> FloatArray:
    """The centred relation as a vector of length 1: pairs, then the diagonal if it counts."""
    from scipy.spatial.distance import squareform

    square = squareform(pairs.values)
    rows, whole = centring.terms(square.sum(axis=1), pairs.diagonal)
    square -= rows[:, None]
    square -= rows
    square += whole
    vector: FloatArray = squareform(square, checks=False)
    if centring.diagonal:
        # A pair stands for (i, j) and (j, i).
        vector = np.concatenate([np.sqrt(2) * vector, pairs.diagonal - 2 * rows + whole])
    return _of_length_one(pairs, vector)


def _ranks(pairs: Pairs) -> FloatArray:
    from scipy.stats import rankdata

    ranks = rankdata(np.round(pairs.values, _DECIMALS))
    vector: FloatArray = ranks - ranks.mean()
    return _of_length_one(pairs, vector)


def _of_length_one(pairs: Pairs, vector: FloatArray) -> FloatArray:
    length = float(np.linalg.norm(vector))
    size = float(np.hypot(np.linalg.norm(pairs.values), np.linalg.norm(pairs.diagonal)))
    if length <= _NOTHING * size:
        raise UndefinedError(f"{pairs.name}: all pairs of texts relate alike: nothing to compare")
    vector /= length
    return vector


def _inner_products(
    a: Sequence[FloatArray],
    b: Sequence[FloatArray],
    wanted: BoolArray,
    order: Selection | None,
    workers: Workers,
) -> FloatArray:
    size = len(a[0])
    index = None
    if order is not None:
        # Where the vectors have no diagonal, nothing is picked from it.
        count = len(order.pairs)
        index = np.concatenate([order.pairs, count + order.rows])[:size]

    def products(part: slice) -> FloatArray:
        picked = part if index is None else index[part]
        left = np.array([vector[part] for vector in a])
        return np.asarray(left @ np.array([vector[picked] for vector in b]).T)

    total = np.zeros((len(a), len(b)))
    for part in workers.each(products, list(blocks(size, _CHUNK))):
        total += part
    return total


def pair_bytes(n: int, width: int) -> int:
    """Bytes of a relation of n texts."""
    return 4 * n * (n + 1)


def _form(
    prepare: Callable[[Layer], Pairs], relation: Relation, centring: Centring, low: float = -1.0
) -> Form:
    finish = partial(centred, centring=centring)
    streams = (relation, centring)
    return Form(prepare, finish, _inner_products, pair_bytes, low=low, streams=streams)


_GAUSSIAN = gaussian(FRACTION)
# Measures with the same function here share what it gives.
_gram = partial(related, relation=LINEAR)
_gaussian = partial(related, relation=_GAUSSIAN)
_correlations = partial(related, relation=CORRELATION)

LINEAR_CKA = _form(_gram, LINEAR, DOUBLE, low=0.0)
LINEAR_CKA_DEBIASED = _form(_gram, LINEAR, UNBIASED)
RBF_CKA = _form(_gaussian, _GAUSSIAN, DOUBLE, low=0.0)
RBF_CKA_DEBIASED = _form(_gaussian, _GAUSSIAN, UNBIASED)
RSA_PEARSON = _form(_correlations, CORRELATION, MEAN)
RSA = Form(_correlations, _ranks, _inner_products, pair_bytes)
