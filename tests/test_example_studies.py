"""The studies of studies/: valid, pinned before anything is planned, and as their pages say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from stratascope.errors import StratascopeError
from stratascope.store.datasets import content_of
from stratascope.store.identity import identify
from stratascope.store.tensorread import TensorReader
from stratascope.study.config import read_scenarios, read_study
from stratascope.study.plan import make_plan

FOLDER = Path(__file__).parents[1] / "studies"
STUDIES = sorted(path.parent.parent for path in FOLDER.glob("*/config/config.yaml"))


@pytest.mark.parametrize("folder", STUDIES, ids=lambda p: p.name)
def test_example_study_parses_and_asks_for_a_lock(folder: Path, tmp_path: Path) -> None:
    """Each study is valid, asks for `stratascope lock`, and once locked plans without a network."""
    study = read_study(folder)
    scenarios = read_scenarios(folder, study)
    with pytest.raises(StratascopeError, match="is not pinned; run `stratascope lock`"):
        make_plan(folder, identify, content_of)
    for name in ("config", "scenarios"):
        shutil.copytree(folder / name, tmp_path / name)
    keys = [f"{entry.id}@{entry.revision or 'main'}" for entry in study.checkpoints.values()]
    lock = {key: f"{number:040x}" for number, key in enumerate(keys)}
    (tmp_path / "config" / "lock.json").write_text(json.dumps(lock))
    assert len(make_plan(tmp_path, identify, content_of).runs) == len(scenarios) * len(
        study.checkpoints
    )


def test_emotion_study_is_as_its_page_says() -> None:
    """Three conversations of twenty messages, and references for each feeling and for none."""
    folder = FOLDER / "where-do-emotions-lie"
    found = [file.scenario for file in read_scenarios(folder, read_study(folder))]
    assert [len(scenario.prompt[0].messages) for scenario in found] == [20, 20, 20]
    for scenario in found:
        roles = [message.role for message in scenario.prompt[0].messages]
        assert roles == ["system", *["user", "assistant"] * 9, "user"]
        assert {reference.label for reference in scenario.reference_states} == {
            "joy", "fear", "anger", "sadness", "apathy", "peace", "neutral",
        }  # fmt: skip


@pytest.mark.slow
def test_pythia_study_captures_the_residual_stream(tmp_path: Path, stratascope: Any) -> None:
    """Its settings capture, from a GPT-NeoX of twelve layers, the tensors that its page counts."""
    make_neox(tmp_path / "models" / "tiny")
    shutil.copytree(FOLDER / "pythia-training" / "scenarios", tmp_path / "scenarios")
    config = yaml.safe_load((FOLDER / "pythia-training/config/config.yaml").read_text())
    config["checkpoints"] = {"tiny": {"id": "models/tiny"}}
    config["defaults"]["generation"]["max_new_tokens"] = 2
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    job = make_plan(tmp_path, identify, content_of).captures[0]
    done = stratascope(tmp_path, "capture", f"results/captures/{job.name}.json")
    assert done.returncode == 0, done.stderr
    streams = {f"layer_{i:02d}/{site}" for i in range(12) for site in ("hidden_in", "hidden_out")}
    for run in job.runs:
        path = tmp_path / "results" / "runs" / run.folder / "activations.safetensors"
        found = TensorReader.open(path).entries
        assert set(found) == {"embeddings", "final_norm"} | streams
        assert {(entry["dtype"], entry["shape"][1]) for entry in found.values()} == {("F32", 16)}
    page = (FOLDER / "pythia-training" / "README.md").read_text(encoding="utf-8")
    assert "(2 + 12 x 2) x 768 x 4 = 79,872 bytes" in page
    assert len(found) * 768 * 4 == 79_872


def make_neox(folder: Path) -> None:
    """A GPT-NeoX with random weights and a tokenizer of single bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    bytes_only = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    raw = Tokenizer(models.BPE(vocab=bytes_only, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=raw).save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = GPTNeoXConfig(
        num_hidden_layers=12, vocab_size=256, bos_token_id=None, eos_token_id=None, **sizes
    )
    GPTNeoXForCausalLM(config).save_pretrained(folder)
