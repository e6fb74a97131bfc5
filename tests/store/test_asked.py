"""What jobs ask a scheduler for follows from what they will do."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stratascope.store.alone import alone
from stratascope.store.asked import asked, texts_of
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.dataset import Dataset
from stratascope.study.features import FeatureJob, FeatureSet, Part
from stratascope.study.jobs import CaptureJob
from stratascope.study.schema import CaptureJobs, Model

LLAMA_8B = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "dtype": "bfloat16",
}  # fmt: skip
BYTES_8B = 8_030_261_248 * 2
DEFAULT = CaptureJobs()


def checkpoint(folder: Path, config: object = LLAMA_8B, **model: object) -> Checkpoint:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    given = Model.model_validate({"id": str(folder), "dtype": "bfloat16", "device": "cpu"} | model)
    return Checkpoint(folder.name, given, str(folder), None, folder.name)


def capture_job(model: Checkpoint) -> CaptureJob:
    return CaptureJob(model, 0, 1, (), ())


def features_job(model: Checkpoint, of: int = 1, **dataset: object) -> FeatureJob:
    features = FeatureSet("d", Dataset.model_validate({"data": "d.jsonl"} | dataset), "c", model, 1)
    return FeatureJob(model, 1, of, (Part(features, 1, of),))


def test_memory_holds_the_weights_in_the_precision_of_the_run(tmp_path: Path) -> None:
    """An 8B model: its bfloat16 weights and a margin; in float32, from bfloat16 files, thrice as much."""
    half = asked(capture_job(checkpoint(tmp_path / "a")), tmp_path, DEFAULT)
    full = asked(capture_job(checkpoint(tmp_path / "b", dtype="float32")), tmp_path, DEFAULT)
    assert 1.25 * BYTES_8B < half.memory_mb << 20 < 1.35 * BYTES_8B
    assert 3 * 1.25 * BYTES_8B < full.memory_mb << 20 < 3 * 1.35 * BYTES_8B
    assert half.gpus == 0


def test_time_follows_from_tokens_and_shards(tmp_path: Path) -> None:
    """Operations at the documented speed, told by hand; half of the shards take half of it."""
    model = checkpoint(tmp_path / "a")
    (tmp_path / "d.jsonl").write_bytes(b"x" * 4_000_000)
    one, half = (asked(features_job(model, of), tmp_path, DEFAULT).minutes for of in (1, 2))
    # A million tokens through 7 billion parameters (no embedding, no head), two operations each.
    least = 15 + 3 * (1e6 * 2 * 6.979e9 / (5e9 * DEFAULT.threads)) / 60
    assert least - 15 < one - 15 < 1.1 * (least - 15)
    assert half - 15 == pytest.approx((one - 15) / 2, rel=0.02)


def test_the_config_wins_and_gpus_follow_the_device(tmp_path: Path) -> None:
    """What the study says stands; one GPU unless a device map asks for several."""
    told = CaptureJobs(memory_mb=7, runtime_minutes=8, gpus=4)
    job = capture_job(checkpoint(tmp_path / "a", device="cuda"))
    assert asked(job, tmp_path, told).__dict__ == {"memory_mb": 7, "minutes": 8, "gpus": 1}
    spread = checkpoint(tmp_path / "b", device="auto", device_map="auto")
    assert asked(capture_job(spread), tmp_path, told).gpus == 4
    assert asked(capture_job(spread), tmp_path, DEFAULT).gpus == 1


@pytest.mark.parametrize("config", [{"model_type": "llama"}, [], {"model_type": "nobody-knows"}])
def test_an_unknown_model_asks_for_the_default(tmp_path: Path, config: object) -> None:
    """No known sizes: 4,000 MB and 240 minutes at least, and no error; the job will say what is wrong."""
    found = asked(capture_job(checkpoint(tmp_path / "a", config)), tmp_path, DEFAULT)
    assert found.memory_mb >= 4000
    assert found.minutes >= 15
    hub = replace(checkpoint(tmp_path / "b"), source="nobody/none", revision="0" * 40)
    assert asked(capture_job(hub), tmp_path, DEFAULT).memory_mb == 4000


def test_texts_are_told_from_sizes(tmp_path: Path) -> None:
    """Four bytes a token of text; token ids by their width; a random part has its share."""
    (tmp_path / "d.jsonl").write_bytes(b"x" * 64_000)
    (tmp_path / "d.bin").write_bytes(b"x" * 64_000)
    assert texts_of(Dataset(data="d.jsonl"), tmp_path).tokens == 16_000
    assert texts_of(Dataset(data="d.jsonl", max_samples=25), tmp_path).tokens == 1_600
    ids = texts_of(Dataset(data="d.bin", sequence=100), tmp_path)
    assert (ids.count, ids.tokens, ids.longest) == (320, 32_000, 100)


def test_it_is_asked_without_torch() -> None:
    """Building the workflow's graph pays for no import of torch or transformers."""
    code = (
        "import sys, stratascope.store.asked; print({'torch', 'transformers'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    """Two that make one target do it one after the other, and the second says that it waits."""
    target, done, said = Path("results/captures/a-1.json"), [], []

    def second() -> None:
        with alone(tmp_path, target, said.append):
            done.append("second")

    with alone(tmp_path, target, pytest.fail):
        waiting = threading.Thread(target=second)
        waiting.start()
        while not said:
            time.sleep(0.01)
        done.append("first")
    waiting.join()
    assert done == ["first", "second"]
    assert "waiting" in said[0]
    with alone(tmp_path, Path("results/captures/b-2.json"), pytest.fail):
        pass
