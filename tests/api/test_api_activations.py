"""What can be done with recorded tensors: looked up, pooled, summed up, compared, saved."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from safetensors import safe_open

import stratascope as ss


@pytest.fixture(scope="module")
def acts(model: ss.Model, texts: list[str]) -> Iterator[ss.Activations]:
    with model.record("hidden_out", "q", "attn_weights", "logits", layers=[0, 3]) as found:
        model(texts)
    return found


# Looking up


def test_by_name_and_by_site_and_layer(acts: ss.Activations) -> None:
    """A tensor is found by its name and by site and layer, the last layer recorded as -1."""
    tensor = acts["layer_03/hidden_out"]
    assert acts["hidden_out", 3] is tensor
    assert acts["hidden_out", -1] is tensor
    assert acts["hidden_out", -2] is acts["layer_00/hidden_out"]
    assert (acts.layers, acts.sites) == ([0, 3], ["q", "attn_weights", "hidden_out"])
    assert len(acts) == len(list(acts)) == len(dict(acts)) == 7
    assert "layer_03/q" in acts
    assert "q" not in acts
    stacked = acts.stack("hidden_out")
    assert stacked.shape == (2, 3, len(max(acts.tokens, key=len)), 96)
    assert torch.equal(stacked[1], tensor)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("hidden_out", r"site of layers 0, 3: write acts\['hidden_out', 0\], or acts\.stack"),
        ("layer_03/hiden_out", "did you mean 'layer_03/hidden_out'"),
        (("hidden_out", 4), "no tensor 'layer_04/hidden_out' was recorded"),
        (("hidden_out", -3), "no tensor 'layer_-3/hidden_out' was recorded"),
        ("?", "there are layer_00/q, "),
    ],
)
def test_a_name_that_is_not_there(acts: ss.Activations, key: Any, message: str) -> None:
    """The error is a KeyError that reads as a sentence and names what is near."""
    with pytest.raises(KeyError, match=message) as caught:
        acts[key]
    assert isinstance(caught.value, ss.StratascopeError)
    assert acts.get(key) is None


def test_how_it_shows_itself(acts: ss.Activations) -> None:
    """The table of tensors in a terminal and in a notebook, texts of others escaped."""
    tokens = acts.ids.shape[1]
    assert f"layer_03/hidden_out    3 x {tokens} x 96" in repr(acts)
    assert f"<td>layer_03/hidden_out</td><td>3 x {tokens} x 96</td>" in acts._repr_html_()
    from stratascope.api.tables import Rows

    assert (
        Rows([{"a": "<b>"}])
        ._repr_html_()
        .endswith("<tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>")
    )


# One row a text


@pytest.mark.parametrize("position", ["last", "mean", 0, 2, -3])
def test_pooled_rows_are_those_of_the_text_alone(
    model: ss.Model, acts: ss.Activations, texts: list[str], position: Any
) -> None:
    """Pooling a padded batch is what each text alone gives; attention weights are left out."""
    pooled = acts.pooled(position)
    assert set(pooled) == {name for name in acts if not name.endswith("attn_weights")}
    assert pooled.texts == texts
    for row, text in enumerate(texts):
        with model.record("hidden_out", layers=3) as alone:
            model(text)
        own = alone["hidden_out", 3][0]
        index = -1 if position == "last" else position
        expected = own.mean(0) if position == "mean" else own[index]
        assert torch.allclose(pooled["hidden_out", 3][row], expected, atol=1e-5)


def test_pooling_what_is_not_there(acts: ss.Activations) -> None:
    """A token beyond a text, a word that is no position, and rows that are pooled already are errors."""
    for position, message in ((4, "text 0 has 4 tokens, so none at 4"), ("first", "write 'last'")):
        with pytest.raises(ss.StratascopeError, match=message):
            acts.pooled(position)
    with pytest.raises(ss.StratascopeError, match="nothing here has one row a token"):
        acts.pooled("last").pooled("last")


# Statistics


def test_statistics_leave_padding_out(
    model: ss.Model, acts: ss.Activations, texts: list[str]
) -> None:
    """A batch has the statistics of its texts' own numbers, attention weights included."""
    rows = {row["name"]: row for row in acts.stats()}
    for name in ("layer_03/hidden_out", "layer_03/attn_weights"):
        alone = []
        for text in texts:
            with model.record(name) as one:
                model(text)
            alone.append(one[name].double())
        together = torch.cat([tensor.flatten() for tensor in alone]).numpy()
        found = rows[name]
        assert found["mean"] == pytest.approx(together.mean(), rel=1e-5)
        assert found["std"] == pytest.approx(together.std(), rel=1e-5)
        assert found["sparsity"] == pytest.approx((together == 0).mean())
        assert found["kurtosis"] == pytest.approx(scipy.stats.kurtosis(together), rel=1e-3)
        entropies = [
            scipy.stats.entropy(tensor.abs().reshape(-1, tensor.shape[-1]).numpy(), axis=1)
            for tensor in alone
        ]
        assert found["entropy"] == pytest.approx(np.concatenate(entropies).mean(), rel=1e-5)
        assert found["shape"] == tuple(acts[name].shape)


def test_statistics_are_rows_for_pandas(acts: ss.Activations) -> None:
    """`pd.DataFrame` takes them as they are; their text is an aligned table."""
    rows = acts.stats(threshold=0.5)
    frame = pd.DataFrame(rows)
    assert list(frame.columns) == [
        "name", "layer", "site", "shape", "mean", "std", "min", "max", "norm", "sparsity", "entropy",
        "kurtosis", "non_finite",
    ]  # fmt: skip
    assert frame.loc[frame.site == "hidden_out", "layer"].tolist() == [0, 3]
    assert frame.loc[frame.name == "logits", "layer"].isna().all()
    assert frame.sparsity.between(0.01, 1).all()
    assert repr(rows).splitlines()[0].split() == list(frame.columns)
    assert len(repr(rows).splitlines()) == 2 + len(acts)
    assert rows._repr_html_().count("<tr>") == 1 + len(acts)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_stats_of_any_tensor(dtype: torch.dtype) -> None:
    """`ss.stats` takes tensors of every precision, with a graph or without, and arrays."""
    tensor = torch.linspace(-3, 5, 24).reshape(4, 6).to(dtype).requires_grad_()
    exact = tensor.detach().double().numpy()
    assert ss.stats(tensor) == ss.stats(exact)
    assert ss.stats(tensor)["norm"] == pytest.approx(np.linalg.norm(exact))


def test_cosine_of_two_recordings(model: ss.Model, acts: ss.Activations) -> None:
    """Vector by vector, 1 with itself; other shapes and other names are errors."""
    with model.record("hidden_out", layers=[0, 3]) as one:
        model("I am so happy")
    own = one.cosine(one)
    assert own["layer_03/hidden_out"] == pytest.approx(np.ones((1, 4)))
    found = one.pooled("last").cosine(one.pooled(0))["layer_03/hidden_out"]
    a, b = one["hidden_out", 3][0, -1], one["hidden_out", 3][0, 0]
    assert found == pytest.approx(torch.cosine_similarity(a, b, dim=0).item(), abs=1e-6)
    with pytest.raises(ss.StratascopeError, match=r"pool both first"):
        acts.cosine(one)
    with pytest.raises(ss.StratascopeError, match="no tensor of the same name"):
        acts.cosine({"else": torch.ones(1)})


# On disk


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_saved_and_loaded(acts: ss.Activations, tmp_path: Path, suffix: str) -> None:
    """What comes back has the tensors bit by bit, the texts, tokens and mask; and the same bytes again."""
    path = acts.save(tmp_path / f"x{suffix}")
    found = ss.load_activations(path)
    assert set(found) == set(acts)
    assert all(torch.equal(found[name], acts[name]) for name in acts)
    assert (found.texts, found.tokens, found.model) == (acts.texts, acts.tokens, "step-1600")
    assert torch.equal(found.mask, acts.mask)
    assert repr(found.stats()) == repr(acts.stats())
    before = path.read_bytes()
    found.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_others_read_what_was_saved(acts: ss.Activations, tmp_path: Path) -> None:
    """NumPy and safetensors by themselves find the tensors under their names, and the metadata."""
    with np.load(acts.save(tmp_path / "x.npz")) as file:
        assert np.array_equal(file["layer_03/q"], acts["q", 3].numpy())
        assert json.loads(str(file["metadata"]))["texts"] == acts.texts
    with safe_open(acts.save(tmp_path / "x.safetensors"), "np") as file:
        assert np.array_equal(file.get_tensor("layer_03/q"), acts["q", 3].numpy())
        assert json.loads(file.metadata()["stratascope"])["tokens"] == acts.tokens


def test_bfloat16_is_exact(demo: list[Path], tmp_path: Path) -> None:
    """A model in bfloat16 is saved bit by bit as safetensors, and as the same numbers in NPZ."""
    half = ss.load(demo[0], dtype=torch.bfloat16, device="cpu")
    # Two sites that are one tensor, which safetensors by itself refuses.
    with half.record("hidden_out", "mlp_act", "mlp_down_in", layers=1) as acts:
        half("I am so happy")
    exact = ss.load_activations(acts.save(tmp_path / "x.safetensors"))
    wide = ss.load_activations(acts.save(tmp_path / "x.npz"))
    for name in acts:
        assert acts[name].dtype == exact[name].dtype == torch.bfloat16
        assert torch.equal(acts[name], exact[name])
        assert torch.equal(acts[name].float(), wide[name])


def test_modules_without_tokens_are_saved_too(tmp_path: Path) -> None:
    """Tensors of any module, whose texts nobody knows, come back; asking for the texts says why not."""
    model = ss.wrap(torch.nn.Sequential(torch.nn.Linear(3, 2)))
    with model.record("0") as acts:
        model(torch.ones(4, 3))
    found = ss.load_activations(acts.save(tmp_path / "x.safetensors"))
    assert torch.equal(found["0"], acts["0"])
    for wanted in ("texts", "tokens"):
        with pytest.raises(ss.StratascopeError, match="called without token ids"):
            getattr(found, wanted)
    assert pd.DataFrame(found.stats()).shape[0] == 1


def test_files_of_others_are_read(tmp_path: Path) -> None:
    """An NPZ or safetensors file that somebody else wrote is its tensors."""
    np.savez(tmp_path / "x.npz", **{"layers.0.mlp": np.ones((2, 3, 4), np.float32)})
    assert ss.load_activations(tmp_path / "x.npz")["layers.0.mlp"].shape == (2, 3, 4)


def test_files_that_cannot_be_read(acts: ss.Activations, tmp_path: Path) -> None:
    """A missing, a damaged and a foreign file, and a suffix that says nothing, are one-line errors."""
    (tmp_path / "torn.safetensors").write_bytes(b"\x00" * 30)
    (tmp_path / "torn.npz").write_bytes(b"PK and no zip")
    for name, message in (
        ("none.npz", "no such file"),
        ("torn.safetensors", "damaged"),
        ("torn.npz", "damaged"),
        ("x.pkl", r"are \.safetensors or \.npz"),
    ):
        with pytest.raises(ss.StratascopeError, match=message):
            ss.load_activations(tmp_path / name)
    with pytest.raises(ss.StratascopeError, match=r"save activations as \.safetensors or \.npz"):
        acts.save(tmp_path / "x.pt")


def test_importing_costs_nothing() -> None:
    """`import stratascope` brings neither torch nor NumPy, and answers a wrong name as modules do."""
    code = (
        "import sys, stratascope as ss\n"
        "assert not {'torch', 'transformers', 'numpy', 'pandas'} & set(sys.modules)\n"
        "ss.nothing"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().endswith("module 'stratascope' has no attribute 'nothing'")


def test_every_name_that_is_offered_is_there() -> None:
    """What `__all__` lists can be had, is listed by `dir`, and says what it is for."""
    assert set(ss.__all__) <= set(dir(ss))
    assert all(getattr(ss, name).__doc__ for name in ss.__all__)
