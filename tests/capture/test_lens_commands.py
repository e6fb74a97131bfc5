"""`logit-lens` and `residual` as people type them: on a run, on NPZ files, on a model with a prompt."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from stratascope.capture.run import capture_run
from stratascope.cli import cli
from stratascope.errors import StratascopeError
from stratascope.store.export import export_run
from stratascope.store.identity import identify

DEMO = Path(__file__).parents[2] / "models" / "demo" / "step-0"
KEYS = {"layer", "argmax_token", "argmax_logprob", "kl_from_final", "top"}


def rows_of(command: str, *words: object) -> list[dict[str, Any]]:
    done = CliRunner().invoke(cli, [command, *map(str, words), "--format", "json"])
    assert done.exit_code == 0, done.output + str(done.exception)
    found: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return found


def error_of(command: str, *words: object) -> str:
    done = CliRunner().invoke(cli, [command, *map(str, words)])
    assert done.exit_code != 0
    assert isinstance(done.exception, StratascopeError), done.output
    assert "\n" not in str(done.exception)
    return str(done.exception)


@pytest.fixture(scope="module")
def places(
    loaded_model: Any, make_run: Any, folders: Any, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A study with a run of a model that it names by a relative folder, and the run as NPZ files."""
    root: Path = tmp_path_factory.mktemp("study")
    loaded = loaded_model("llama+chat")
    known = replace(loaded.checkpoint, identity=identify(folders("llama+chat")))
    loaded = replace(loaded, checkpoint=known)
    (root / "config").mkdir()
    (root / "config" / "config.yaml").write_text("{}")
    (root / loaded.checkpoint.model.id).symlink_to(folders("llama+chat"))
    run = root / "results" / "runs" / "test"
    run.mkdir(parents=True)
    capture_run(loaded, make_run(loaded), run)
    export_run(run, "npz", "steps", root / "results" / "npz")
    return loaded, run, root / "results" / "npz"


@torch.no_grad()
def test_the_lens_reads_the_models_own_distributions(places: Any) -> None:
    """At the last layer every number is that of the model's logits; every layer has the seed's keys."""
    loaded, run, _ = places
    rows = rows_of("logit-lens", run, "--position", "all", "--top-k", 3)
    assert set(rows[0]) >= KEYS
    info = json.loads((run / "run.json").read_text())
    ids = info["prompt_token_ids"] + info["generated_token_ids"]
    out = loaded.model(torch.tensor([ids[:-1]]), use_cache=False).logits[0].log_softmax(-1)
    last = [row for row in rows if row["layer"] == loaded.layers - 1]
    assert [row["position"] for row in last] == list(range(len(ids) - 1))
    for row, said in zip(last, out, strict=True):
        top = said.topk(3)
        text = [loaded.texts.get(i) or loaded.tokenizer.decode([i]) for i in top.indices.tolist()]
        assert [item["token"] for item in row["top"]] == text
        assert [item["logprob"] for item in row["top"]] == pytest.approx(
            top.values.tolist(), abs=1e-4
        )
        assert row["argmax_token"] == row["final_token"] == text[0]
        assert (row["rank_of_final"], row["kl_from_final"]) == (1, 0)
        came = ids[row["position"] + 1]
        assert row["logprob_of_next"] == pytest.approx(float(said[came]), abs=1e-4)
        assert row["rank_of_next"] == 1 + int((said > said[came]).sum())


def test_npz_files_and_runs_say_the_same(places: Any) -> None:
    """Activation Lab's files give a run's numbers; they name their model, found from the study."""
    _, run, npz = places
    for command in ("logit-lens", "residual"):
        a, b = (rows_of(command, place, "--steps", "0,2") for place in (run, npz))
        assert len(a) == len(b) == 6
        for x, y in zip(a, b, strict=True):
            for key, value in x.items():
                if isinstance(value, float):
                    assert y[key] == pytest.approx(value, abs=1e-5), key


def test_weights_that_changed_since_are_refused(places: Any, folders: Any, tmp_path: Path) -> None:
    """Of a run whose model's files are others now nothing is read, unless they are named."""
    loaded, run, _ = places
    model = Path(shutil.copytree(folders("llama+chat"), tmp_path / "model"))
    assert rows_of("residual", run, "--model", model)
    config = model / "config.json"
    config.write_text(config.read_text() + " ")
    shutil.copytree(run, tmp_path / "results" / "runs" / "test")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("{}")
    (tmp_path / loaded.checkpoint.model.id).symlink_to(model)
    moved = tmp_path / "results" / "runs" / "test"
    assert "not those that" in error_of("logit-lens", moved)
    assert rows_of("logit-lens", moved, "--model", model)


def test_a_model_with_a_prompt(places: Any, folders: Any) -> None:
    """Without a run: each token of the prompt, and the token that is asked for against another."""
    place = folders("llama+chat")
    rows = rows_of("logit-lens", place, "--prompt", "a small bear", "--position", "all")
    assert {row["step"] for row in rows} == {0}
    last = rows_of("logit-lens", place, "--prompt", "a small bear", "--layers", "-1")
    assert last[0]["next_token"] is None
    words = ("residual", place, "--prompt", "a small bear", "--layers", "2")
    one, other, both = (
        rows_of(*words, *more)[0]
        for more in (("--token", 9), ("--token", 30), ("--token", 9, "--against", 30))
    )
    assert both["logit"] == pytest.approx(one["logit"] - other["logit"], abs=1e-4)
    for x, y, z in zip(one["head_logits"], other["head_logits"], both["head_logits"], strict=True):
        assert z == pytest.approx(x - y, abs=1e-4)
    likeliest = rows_of(*words)[0]
    assert likeliest["target_token"] == last[0]["argmax_token"]


def test_tables_and_csv_print(places: Any) -> None:
    """For eyes tokens are in quotes and lists short; for spreadsheets lists are JSON."""
    _, run, _ = places
    for form in ("table", "csv"):
        for command, column in (("logit-lens", "top"), ("residual", "head_logits")):
            done = CliRunner().invoke(cli, [command, str(run), "--steps", "0", "--format", form])
            assert done.exit_code == 0
            assert column in done.stdout.splitlines()[0]


def test_a_run_is_read_without_torch(places: Any) -> None:
    """With safetensors neither command imports torch or transformers."""
    _, run, _ = places
    for command in ("logit-lens", "residual"):
        code = (
            "import sys; from stratascope.cli import cli; "
            f"cli([{command!r}, {str(run)!r}, '--format', 'csv'], standalone_mode=False); "
            "assert not {'torch', 'transformers'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_sums_hold_in_what_a_run_stored(places: Any) -> None:
    """The rows of one token sum to its logit, heads to attention, in the printed digits."""
    _, run, _ = places
    rows = rows_of("residual", run, "--steps", "1")
    total = sum(row["attn_logit"] + row["mlp_logit"] for row in rows)
    whole = ("embedding_logit", "norm_bias_logit", "unembed_bias_logit", "rest_logit")
    assert total + sum(rows[0][key] for key in whole) == pytest.approx(rows[0]["logit"], abs=1e-4)
    for row in rows:
        assert np.sum(row["head_logits"]) == pytest.approx(row["attn_logit"], abs=1e-4)


def test_a_tuned_lens_is_fitted_and_used(places: Any, folders: Any, tmp_path: Path) -> None:
    """`tune-lens` tells the KL on texts held out; its maps change all layers but the last."""
    _, run, _ = places
    layers = np.random.default_rng(0).normal(size=(3, 80, 32)).astype(np.float32)
    names = {f"layer_{i:02d}/hidden_out": layer for i, layer in enumerate(layers)}
    np.savez(tmp_path / "features.npz", **names)
    out = tmp_path / "tuned.safetensors"
    told = rows_of("tune-lens", folders("llama+chat"), tmp_path / "features.npz", "--out", out)
    assert [(row["layer"], row["n"]) for row in told] == [(0, 16), (1, 16)]
    plain, tuned = (
        rows_of("logit-lens", run, "--steps", "0", *more) for more in ((), ("--tuned", out))
    )
    assert tuned[2] == plain[2]
    assert tuned[0]["kl_from_final"] != plain[0]["kl_from_final"]
    wrong = ("logit-lens", run, "--tuned", out, "--site", "attn_out")
    assert "its maps are of hidden_out" in error_of(*wrong)


def test_mistakes_are_told_in_one_line(places: Any, folders: Any) -> None:
    """A site, token, step, position or model that is not there, and an encoder: what would be right."""
    _, run, npz = places
    assert "hidden_in, attn_out" in error_of("logit-lens", run, "--site", "mlp_act")
    assert "did you mean hidden_out?" in error_of("logit-lens", run, "--site", "hidden_ot")
    assert "no step 99; there are" in error_of("logit-lens", run, "--steps", "99")
    assert "has 0 to" in error_of("residual", run, "--position", "999")
    assert "is not one token but" in error_of("residual", run, "--token", "small bear")
    assert "the vocabulary has 0 to" in error_of("residual", run, "--token", "99999")
    assert "name it with --model" in error_of("logit-lens", npz, "--model", "no/such")
    assert "it is another model's" in error_of("logit-lens", run, "--model", DEMO)
    bert = ("logit-lens", folders("bert"), "--prompt", "a bear")
    assert "a bert is an encoder" in error_of(*bert)
