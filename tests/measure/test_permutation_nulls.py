from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

from stratascope.measure.permutation import (
    against,
    flipped,
    least_p,
    relabellings,
    sign_flips,
)

TOLD = ((0, 2, 3), (1,), (4,), (2, 4), (1,))


def test_relabelling_keeps_what_belongs_together() -> None:
    """Each conversation uses its own names, each once; the data come first; other names stay."""
    maps = relabellings(TOLD, ["s"] * 5, 6, 0, 300)
    assert (maps[0] == np.arange(6)).all()
    for c in (0, 3):
        own = list(TOLD[c])
        assert (np.sort(maps[:, c][:, own], axis=1) == own).all()
        rest = [label for label in range(6) if label not in own]
        assert (maps[:, c][:, rest] == rest).all()
    drawn = {tuple(row) for row in maps[:, 0][:, [0, 2, 3]].tolist()}
    assert len(drawn) == 6


def test_conversations_with_one_label_exchange_it_within_their_stratum() -> None:
    """The labels of such conversations are shuffled among them, and only where references agree."""
    maps = relabellings(TOLD, ["s", "s", "s", "s", "other"], 6, 1, 300)
    became = np.stack([maps[:, 1, 1], maps[:, 2, 4]], axis=1)
    assert {tuple(pair) for pair in became.tolist()} == {(1, 4), (4, 1)}
    assert (maps[:, 4, 1] == 1).all()
    together = relabellings(TOLD, ["s"] * 5, 6, 1, 300)
    for draw in together:
        names = [draw[1, 1], draw[2, 4], draw[4, 1]]
        assert Counter(map(int, names)) == Counter({1: 2, 4: 1})


def test_the_least_p_is_how_often_nothing_changes() -> None:
    """Two conversations with two labels each have 4 relabellings, so no p-value is below about 1/4."""
    maps = relabellings([(0, 1), (2, 3)], ["s", "s"], 4, 2, 4000)
    assert least_p(maps) == pytest.approx(0.25, abs=0.03)
    assert least_p(relabellings([(0,), (0,)], ["s", "s"], 2, 2, 50)) == 1.0


def test_every_pattern_of_signs_for_few_clusters() -> None:
    """4 conversations have 16 patterns, the data first; many have random ones, the data first."""
    assert sorted(map(tuple, sign_flips(4, 0).tolist())) == sorted(product((-1.0, 1.0), repeat=4))
    for clusters in (4, 30):
        signs = sign_flips(clusters, 0, 500)
        assert (signs[0] == 1).all()
        assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(sign_flips(30, 0, 500)[1:].mean()) < 0.05


def test_flipped_totals() -> None:
    """A total over the root of the sum of squares, with gaps left out, as by a plain loop."""
    sums = np.random.default_rng(3).normal(size=(5, 3))
    sums[1, 1], sums[1:, 2] = np.nan, np.nan
    signs = sign_flips(5, 0)
    found = flipped(sums, signs)
    for j in (0, 1):
        known = ~np.isnan(sums[:, j])
        size = np.sqrt((sums[known, j] ** 2).sum())
        expected = [(row[known] * sums[known, j]).sum() / size for row in signs]
        np.testing.assert_allclose(found[:, j], expected)
    assert np.isnan(found[:, 2]).all()
    np.testing.assert_allclose((found[:, 0] ** 2).mean(), 1)


def test_p_is_the_share_of_draws_that_reach_the_data() -> None:
    """One statistic alone: p by counting, one- and two-sided, and no correction."""
    draws = np.random.default_rng(4).normal(2, 3, size=(200, 1))
    draws[0] = 5.5
    one = against(draws, two_sided=False)
    assert one.p[0] == (draws >= 5.5).mean()
    assert one.corrected[0] == one.p[0]
    assert one.null[0] == pytest.approx(draws.mean())
    two = against(draws, two_sided=True)
    away = abs(draws - draws.mean())
    assert two.p[0] == (away >= away[0]).mean()


def test_correction_is_by_the_largest_statistic() -> None:
    """Independent statistics are corrected nearly as by Sidak, equal ones not at all."""
    rng = np.random.default_rng(5)
    apart = rng.normal(size=(2000, 20))
    apart[0] = 0.0
    apart[0, 3] = np.quantile(apart[1:, 3], 0.99)
    tested = against(apart, two_sided=False)
    assert tested.p[3] == pytest.approx(0.01, abs=0.002)
    assert tested.corrected[3] == pytest.approx(1 - 0.99**20, abs=0.03)
    assert (tested.corrected >= tested.p).all()
    # The unit of a statistic does not matter.
    scaled = against(apart * np.arange(1, 21) + 7, two_sided=False)
    np.testing.assert_array_equal(scaled.corrected, tested.corrected)
    same = against(np.repeat(apart[:, 3:4], 20, axis=1), two_sided=False)
    np.testing.assert_array_equal(same.corrected, same.p)


def test_what_is_not_defined_is_not_tested() -> None:
    """A gap in the data is NaN and corrects nothing; one in a draw counts as large; no variation is 1."""
    draws = np.random.default_rng(6).normal(size=(100, 3))
    draws[0] = [9.0, np.nan, 0.0]
    draws[1, 0] = np.nan
    draws[:, 2] = 0.5
    tested = against(draws, two_sided=False)
    assert tested.p[0] == 0.02
    assert np.isnan([tested.null[1], tested.p[1], tested.corrected[1]]).all()
    assert tested.p[2] == 1.0
    assert tested.part(1, (2, 1)).p.shape == (2, 1)
