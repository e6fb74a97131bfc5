"""Neurons of texts in a notebook: the same numbers as by hand, and as of the command's own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import stratascope as ss
from stratascope.errors import StratascopeError


def test_neurons_of_texts_in_memory(model: ss.Model, texts: list[str]) -> None:
    """Counts, means and the strongest text of a neuron are those of the recorded activations."""
    found = ss.neurons(model, texts, layers=[2], top_k=2, permutations=0)
    with model.record("mlp_act", layers=[2]) as acts:
        for text in texts:
            model(text)
    each = [part["layer_02/mlp_act"][0].numpy() for part in acts.passes]
    every = np.concatenate(each)
    rows = found.rows()
    assert [row["neuron"] for row in rows] == list(range(every.shape[1]))
    assert {row["count"] for row in rows} == {len(every)}
    np.testing.assert_allclose([row["mean"] for row in rows], every.mean(0), rtol=1e-4, atol=1e-6)
    best = int(every.max(0).argmax())
    first = found.examples(2, best)[0]
    assert first["value"] == pytest.approx(float(every[:, best].max()), rel=1e-5)
    assert first["text"].replace("«", "").replace("»", "") in texts


def test_neurons_against_labels_stay_where_they_are_told(
    model: ss.Model, texts: list[str], tmp_path: Path
) -> None:
    """With labels a row tells which a neuron depends on; with ``out`` the counts are kept there."""
    moods = ["good", "bad", "good"]
    out = tmp_path / "counted"
    found = ss.neurons(model, texts, labels=moods, layers=[0, 5], permutations=2, out=out)
    assert {row["property"] for row in found.rows(most=3)} == {"label"}
    assert len(found.rows(most=3)) == 6
    assert (out / "run.json").is_file()
    with pytest.raises(StratascopeError, match="layer 3 was not read"):
        found.examples(3, 0)
