"""The measures of similarity and what is known about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stratascope.errors import StratascopeError
from stratascope.measure.similarity import kernels, linear, neighbours, rowspace
from stratascope.measure.similarity.forms import Form

Invariance = Literal[
    "orthogonal",  # rotations and reflections of features
    "isotropic_scaling",  # all features times one positive number
    "feature_permutation",  # features in another order
    "translation",  # one vector added to every text's features
    "invertible_linear",  # any invertible matrix
]


@dataclass(frozen=True)
class Similarity:
    """A measure of how alike two representations X (n, d1) and Y (n, d2) of n texts are.

    ``function(X, Y)`` is the measure; ``form`` its steps, and ``narrow`` the same from the side of
    features, without n x n matrices. Values lie from ``low`` to ``high``, and on a representation
    and itself are ``same``; ``lower_is_closer`` tells a distance from a similarity. ``invariances``
    hold for a change of either side, those ``of_second`` for one of Y alone; both are complete. All
    are unchanged by the same reordering of texts on both sides. ``minimum`` texts are needed.
    """

    function: Callable[..., float]
    form: Form
    invariances: frozenset[Invariance]
    same: float = 1.0
    minimum: int = 3
    lower_is_closer: bool = False
    symmetric: bool = True
    of_second: frozenset[Invariance] = frozenset()
    narrow: Form | None = None

    @property
    def low(self) -> float:
        """The least value."""
        return self.form.low

    @property
    def high(self) -> float:
        """The greatest value."""
        return self.form.high


_RIGID: frozenset[Invariance] = frozenset(
    {"orthogonal", "isotropic_scaling", "feature_permutation", "translation"}
)

SIMILARITIES: dict[str, Similarity] = {
    "linear_cka_debiased": Similarity(
        kernels.linear_cka_debiased, kernels.LINEAR_CKA_DEBIASED, _RIGID, minimum=4,
        narrow=linear.UNBIASED_NARROW,
    ),
    "linear_cka": Similarity(
        kernels.linear_cka, kernels.LINEAR_CKA, _RIGID, narrow=linear.BIASED_NARROW
    ),
    "rbf_cka_debiased": Similarity(
        kernels.rbf_cka_debiased, kernels.RBF_CKA_DEBIASED, _RIGID, minimum=4
    ),
    "rbf_cka": Similarity(kernels.rbf_cka, kernels.RBF_CKA, _RIGID),
    "svcca": Similarity(rowspace.svcca, rowspace.SVCCA, _RIGID),
    "pwcca": Similarity(
        rowspace.pwcca, rowspace.PWCCA, _RIGID - {"orthogonal"}, symmetric=False,
        of_second=frozenset({"orthogonal", "invertible_linear"}),
    ),
    "procrustes": Similarity(
        rowspace.procrustes, rowspace.PROCRUSTES, _RIGID, same=0.0, lower_is_closer=True
    ),
    "angular": Similarity(
        rowspace.angular, rowspace.ANGULAR, _RIGID, same=0.0, lower_is_closer=True
    ),
    "rsa": Similarity(kernels.rsa, kernels.RSA, frozenset({"isotropic_scaling", "feature_permutation"})),
    "rsa_pearson": Similarity(
        kernels.rsa_pearson, kernels.RSA_PEARSON,
        frozenset({"isotropic_scaling", "feature_permutation"}),
    ),
    "mutual_knn": Similarity(
        neighbours.mutual_knn, neighbours.MUTUAL_KNN, _RIGID - {"translation"},
        minimum=neighbours.NEIGHBOURS + 2,
    ),
}  # fmt: skip


def measure_of(name: str) -> Similarity:
    """A measure by name. Raises StratascopeError, with the names there are, for another."""
    if name not in SIMILARITIES:
        raise StratascopeError(
            f"no similarity measure {name!r}; there are {', '.join(SIMILARITIES)}"
        )
    return SIMILARITIES[name]
