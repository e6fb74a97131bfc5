"""Layers of one sequence against each other, and pictures of tensors."""

from __future__ import annotations

import numpy as np
import pytest

from stratascope.errors import StratascopeError
from stratascope.measure.depth import cross_layer
from stratascope.measure.pictures import enlarged, reduced, shades
from stratascope.measure.similarity import SIMILARITIES


def test_pairs_of_layers_equal_loops() -> None:
    """Cosines are means over tokens, centred ones of what each layer's mean leaves; CKA is beside."""
    draws = np.random.default_rng(0)
    layers = [draws.normal(size=(9, 5)) + 3 for _ in range(3)]
    found = cross_layer(layers)

    def cosine(x: np.ndarray, y: np.ndarray) -> float:
        each = [u @ v / np.sqrt((u @ u) * (v @ v)) for u, v in zip(x, y, strict=True)]
        return float(np.mean(each))

    for i, x in enumerate(layers):
        for j, y in enumerate(layers):
            assert found.cosine[i, j] == pytest.approx(cosine(x, y))
            assert found.centred[i, j] == pytest.approx(cosine(x - x.mean(0), y - y.mean(0)))
            cka = SIMILARITIES["linear_cka_debiased"].function(x, y)
            assert found.cka[i, j] == pytest.approx(cka)
    assert found.n == 9
    np.testing.assert_allclose(np.diag(found.cosine), 1)


def test_few_tokens_leave_measures_undefined() -> None:
    """One token has a cosine and no centre, three have no debiased CKA."""
    one = cross_layer([np.ones((1, 4)), np.ones((1, 4))])
    assert one.cosine[0, 1] == pytest.approx(1)
    assert np.isnan(one.centred).all()
    three = cross_layer([np.eye(3), np.eye(3)])
    assert three.centred[0, 1] == pytest.approx(1)
    assert np.isnan(three.cka).all()
    with pytest.raises(StratascopeError, match="differ in shape"):
        cross_layer([np.ones((2, 3)), np.ones((2, 4))])


def test_shades_are_as_defined() -> None:
    """Each way to normalise puts its ends and its middle where the docstring says."""
    picture = reduced([[-1.0, 0.0], [1.0, 3.0]], "signed")
    ends = (-5.0, 5.0)
    assert shades(picture, "none", *ends).tolist() == [[0, 0], [1, 1]]
    assert shades(picture, "per_image", *ends).tolist() == [[0, 0.25], [0.5, 1]]
    np.testing.assert_allclose(shades(picture, "signed", *ends), [[1 / 3, 0.5], [2 / 3, 1]])
    np.testing.assert_allclose(shades(picture, "global", *ends), [[0.4, 0.5], [0.6, 0.8]])
    assert reduced([[-2.0]], "abs").tolist() == [[2]]
    flat = np.zeros((1, 2))
    assert shades(flat, "per_image", 0, 1).tolist() == [[0, 0]]
    assert shades(flat, "signed", 0, 1).tolist() == [[0.5, 0.5]]


def test_pictures_are_never_lines() -> None:
    """A number becomes a block of whole pixels where a side is short, and stays a pixel where it is long."""
    small = np.arange(6, dtype=np.uint8).reshape(1, 6)
    big = enlarged(small)
    assert big.shape == (128, 132)
    assert (big[::128, ::22] == small).all()
    assert enlarged(np.zeros((200, 500), np.uint8)).shape == (200, 500)
    for wrong in (np.zeros(3), np.zeros((0, 2)), np.array([[np.nan]])):
        with pytest.raises(StratascopeError, match="picture"):
            reduced(wrong, "signed")
