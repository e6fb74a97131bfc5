"""The memory that is estimated, against the peak of real captures, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

pytestmark = [pytest.mark.slow, pytest.mark.simulation]

# What the estimate may be, in times the measured peak.
BAND = (0.9, 1.3)
SIZES: dict[str, Any] = {"vocab_size": 32000, "max_position_embeddings": 4096, "eos_token_id": None}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 8}
    | {"num_attention_heads": 12, "num_key_value_heads": 4, "bos_token_id": 0},
    "gemma2": {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 4}
    | {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64, "bos_token_id": 0},
    "gpt2": {"n_embd": 768, "n_layer": 6, "n_head": 12, "bos_token_id": 0},
}
# The model, what it runs in, characters of the prompt, and what is captured.
CASES: list[tuple[str, str, int, dict[str, Any]]] = [
    ("llama", "float32", 2500, {"layers": [0, 7]}),
    ("llama", "bfloat16", 1000, {"attention_weights": False, "logits": False, "layers": [0]}),
    ("llama", "float32", 1500, {"attention_weights": False, "gradients": {"of": "generated"}}),
    ("gemma2", "float32", 2500, {"attention_weights": False, "layers": [0, 3]}),
    ("gpt2", "float32", 3500, {"logits": False, "layers": [0, 5]}),
]
CHILD = """
import json, resource, sys
from pathlib import Path
from stratascope.capture import budget
from stratascope.capture.job import Item, capture_missing
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.estimate import estimate
from stratascope.study.runs import Run
from stratascope.study.schema import Capture, Generation, Message, Model

folder, out, dtype, characters, capture = json.loads(sys.argv[1])
model = Model(id="m", dtype=dtype, device="cpu")
checkpoint = Checkpoint("m", model, folder, None, "")
text = ("The bear was happy, and the river sang all day long. " * 1000)[:characters]
messages = tuple(Message(role=role, content=part) for role, part in
                 [("user", text[:characters // 2]), ("assistant", "Well."), ("user", text[characters // 2:])])
run = Run("r", "r", "r", checkpoint, messages, Generation(max_new_tokens=4), Capture(**capture), None, 1)
requires, found = budget._require, []
budget._require = lambda label, work, *rest: (found.append(estimate(work)), requires(label, work, *rest))
capture_missing([Item(run, Path(out))], lambda line: None)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([found[0].memory.ram, peak, found[0].disk]))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, chatml: str) -> Any:
    """Models of 40 to 110 million random parameters in float32, made when they are asked for."""

    def folder(kind: str) -> Path:
        path = tmp_path_factory.getbasetemp() / f"large-{kind}"
        if not path.exists():
            torch.manual_seed(1)
            config = AutoConfig.for_model(kind, **SIZES | MODELS[kind])
            AutoModelForCausalLM.from_config(config).save_pretrained(path)
            tokenizer(chatml).save_pretrained(path)
        return path

    return folder


@pytest.mark.parametrize(("kind", "dtype", "characters", "capture"), CASES)
def test_memory_is_what_a_capture_takes(
    large: Any, tmp_path: Path, kind: str, dtype: str, characters: int, capture: dict[str, Any]
) -> None:
    """The peak of the process is within the band around the estimate; its disk is what was said."""
    out = tmp_path / "runs" / "r"
    asked = json.dumps([str(large(kind)), str(out), dtype, characters, capture])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, asked],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    estimated, peak, disk = json.loads(done.stdout.splitlines()[-1])
    print(f"{kind} {dtype}: {estimated / 1e6:.0f} MB estimated, {peak / 1e6:.0f} MB at the peak")
    assert BAND[0] <= estimated / peak <= BAND[1]
    written = sum(path.stat().st_size for path in out.iterdir())
    assert 0.9 * disk <= written <= disk  # where little is captured, what lists it weighs more
