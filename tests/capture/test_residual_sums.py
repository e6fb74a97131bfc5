"""Direct contributions to a token's logit, against the logits that the model computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stratascope.analyses.readout import End
from stratascope.analyses.residual import HEAD_SITES, SITES, Chosen, residual_rows
from stratascope.api.loading import wrap
from stratascope.api.traces import record_trace
from stratascope.capture.weights import open_weights
from stratascope.store.traces import Trace

NAMES = (
    "llama", "qwen3", "mistral", "mixtral", "qwen2_moe", "gemma", "gemma2", "gemma3",
    "gemma3_images", "phi", "phi3", "gpt2", "gpt_neox", "gpt_neox_serial", "gptj", "opt", "bloom",
    "falcon", "falcon_new", "falcon_alibi", "olmo2", "stablelm", "stablelm_parallel",
)  # fmt: skip
IDS = [5, 60, 7, 300, 41, 12]
TOKENS = [9, 3, 350]
ROWS = [0, 3, 5]


@torch.no_grad()
def recorded(loaded: Any, name: str) -> tuple[Trace, End, np.ndarray]:
    """A trace with all that the residual stream needs, the model's end, and its logits."""
    sites = (*SITES, *(() if name == "falcon_alibi" else HEAD_SITES))
    trace = record_trace(wrap(loaded.model, loaded.tokenizer), IDS, sites=sites)
    logits = loaded.model(torch.tensor([IDS]), use_cache=False).logits[0].double().numpy()
    return trace, End.of(*open_weights(loaded.checkpoint)), logits


@pytest.mark.parametrize("name", NAMES)
def test_contributions_sum_to_the_logit(loaded_model: Any, name: str) -> None:
    """Embedding, attention, MLPs and biases sum to the logit before the cap, heads to attention."""
    loaded = loaded_model(f"{name}+chat")
    trace, end, logits = recorded(loaded, name)
    rows = residual_rows(trace, end, Chosen(ROWS, TOKENS), str)
    if name in ("gemma2", "gemma3"):  # undo the cap
        logits = 3 * np.arctanh(logits / 3)
    assert len(rows) == len(ROWS) * loaded.layers
    for place, (row, token) in enumerate(zip(ROWS, TOKENS, strict=True)):
        own = rows[place * loaded.layers : (place + 1) * loaded.layers]
        assert {r["position"] for r in own} == {row}
        whole = own[0]
        assert whole["logit"] == pytest.approx(logits[row, token], abs=1e-4)
        parts = [r["attn_logit"] + r["mlp_logit"] for r in own]
        total = sum(parts) + whole["embedding_logit"]
        total += whole["norm_bias_logit"] + whole["unembed_bias_logit"]
        assert total == pytest.approx(whole["logit"], abs=1e-4)
        assert abs(whole["rest_logit"]) < 1e-4
        for r in own:
            if name == "falcon_alibi":
                assert r["head_logits"] is None
            else:
                by_head = sum(r["head_logits"]) + r["attn_bias_logit"]
                assert by_head == pytest.approx(r["attn_logit"], abs=1e-4)
