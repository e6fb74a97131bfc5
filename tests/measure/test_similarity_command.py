from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from stratascope.cli import cli
from stratascope.errors import StratascopeError
from stratascope.measure.similarity import SIMILARITIES

Ask = Callable[..., Result]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """`stratascope similarity` beside a.npz and b.npz: two models, two sites, topics of texts."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(48, 4))
    for name, noise in (("a", 0.5), ("b", 1.0)):
        arrays = {
            f"layers.{layer}.{site}": common @ rng.normal(size=(4, 7))
            + noise * rng.normal(size=(48, 7))
            for layer in range(3)
            for site in ("mlp", "attn")
        }
        np.savez(tmp_path / f"{name}.npz", topic=np.arange(48) // 3, **arrays)
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(cli, ["similarity", *words])


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exception is None, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["rows"]
    return found


def test_each_pair_of_layers_of_each_site_is_a_row(ask: Ask) -> None:
    """JSON holds site, layers, measure, value and n; the value is the measure of the two arrays."""
    found = rows(ask("a.npz", "b.npz", "--format", "json"))
    assert len(found) == 2 * 9
    a, b = np.load("a.npz"), np.load("b.npz")
    for row in found:
        assert list(row) == ["site", "layer_a", "layer_b", "layer", "measure", "value", "n"]
        assert row["layer"] == (row["layer_a"] if row["layer_a"] == row["layer_b"] else None)
        x, y = (
            a[f"layers.{row['layer_a']}.{row['site']}"],
            b[f"layers.{row['layer_b']}.{row['site']}"],
        )
        expected = SIMILARITIES[row["measure"]].function(x, y)
        assert row["value"] == pytest.approx(expected, abs=1e-12)
        assert row["n"] == 48


def test_without_b_the_layers_of_a_are_compared(ask: Ask) -> None:
    """A against itself: every layer with every other, 1 on the diagonal, the same both ways."""
    found = rows(ask("a.npz", "--sites", "mlp", "--format", "json"))
    values = {(row["layer_a"], row["layer_b"]): row["value"] for row in found}
    assert len(values) == 9
    for (i, j), value in values.items():
        assert value == pytest.approx(values[j, i])
        assert (value == pytest.approx(1.0)) == (i == j)


@pytest.mark.parametrize("measure", SIMILARITIES)
def test_every_measure_can_be_asked_for(ask: Ask, measure: str) -> None:
    """Each name of the table is accepted, and the help names it."""
    found = rows(ask("a.npz", "b.npz", "--measure", measure, "--same-layer", "--format", "json"))
    assert {row["measure"] for row in found} == {measure}
    assert [row["layer"] for row in found] == [0, 1, 2, 0, 1, 2]
    assert measure in ask("--help").output


def test_nulls_and_intervals_are_columns(ask: Ask) -> None:
    """Asked for, p, null and interval stand beside the value; groups are drawn whole."""
    words = ["a.npz", "b.npz", "--layers", "0,2", "--sites", "attn", "--permutations", "19"]
    words += ["--bootstrap", "40", "--group", "topic", "--measure", "linear_cka_debiased"]
    words += ["--measure", "procrustes", "--seed", "3"]
    result = ask(*words, "--format", "csv")
    table = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(table[0]) == [
        "site", "layer_a", "layer_b", "layer", "measure", "value", "lower", "upper", "p",
        "null_mean", "null_bound", "n", "groups",
    ]  # fmt: skip
    assert [(row["layer_a"], row["layer_b"]) for row in table] == 2 * [
        ("0", "0"), ("0", "2"), ("2", "0"), ("2", "2"),
    ]  # fmt: skip
    for row in table:
        assert float(row["lower"]) <= float(row["value"]) <= float(row["upper"])
        assert (float(row["p"]), row["groups"], row["n"]) == (0.05, "16", "48")
    assert ask(*words, "--format", "csv", "--threads", "1").stdout == result.stdout
    assert ask(*words[:-1], "4", "--format", "csv").stdout != result.stdout


def test_what_has_no_value_is_null_with_a_reason(ask: Ask) -> None:
    """A layer that does not vary is null in JSON and empty in a table; standard error says why."""
    arrays = dict(np.load("a.npz"))
    arrays["layers.1.mlp"] = np.ones((48, 7))
    np.savez("flat.npz", **arrays)
    result = ask("flat.npz", "b.npz", "--sites", "mlp", "--same-layer", "--format", "json")
    assert [row["value"] is None for row in rows(result)] == [False, True, False]
    assert "layers.1.mlp of a: all texts have the same features" in result.stderr


def test_sites_on_one_side_are_told(ask: Ask) -> None:
    """What is left out because the other side lacks it is named on standard error."""
    arrays = {name: array for name, array in np.load("b.npz").items() if "attn" not in name}
    np.savez("mlp.npz", **arrays)
    result = ask("a.npz", "mlp.npz", "--format", "json")
    assert {row["site"] for row in rows(result)} == {"mlp"}
    assert "only in A, left out: attn" in result.stderr


def test_mistakes_are_errors(ask: Ask) -> None:
    """Unknown measures, sites, layers and fields, and other texts, are one line."""
    np.savez("short.npz", layer_0=np.random.default_rng(0).normal(size=(40, 3)))
    mistakes = {
        "no similarity measure 'cka'": ["a.npz", "--measure", "cka"],
        "no site 'resid'": ["a.npz", "--sites", "resid"],
        "no layer is wanted": ["a.npz", "--layers", "7"],
        "neither a layer nor a range": ["a.npz", "--layers", "two"],
        "no field 'colour'; there are topic": ["a.npz", "--bootstrap", "5", "--group", "colour"],
        "48 rows, .* 40": ["a.npz", "short.npz"],
        "not there": ["none.npz"],
    }
    for message, words in mistakes.items():
        result = ask(*words)
        assert isinstance(result.exception, StratascopeError), words
        with pytest.raises(StratascopeError, match=message):
            raise result.exception
        assert result.stdout == ""
