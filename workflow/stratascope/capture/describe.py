"""What ``run.json`` says of the scenario, the model, the tokenizer and the machine."""

from __future__ import annotations

import platform

import numpy as np
import torch
import transformers

from stratascope.capture import prompts
from stratascope.capture.families import heads_of
from stratascope.capture.loading import Loaded
from stratascope.study.runs import Run


def describe_scenario(run: Run) -> dict[str, object]:
    """The scenario as parsed, with its defaults, for this run alone."""
    return {
        "name": run.scenario,
        "model": run.checkpoint.model.model_dump(mode="json"),
        "prompt": {"messages": [message.model_dump(mode="json") for message in run.messages]},
        "generation": run.generation.model_dump(mode="json"),
        "capture": run.capture.model_dump(mode="json"),
    }


def describe_model(loaded: Loaded) -> dict[str, object]:
    """Which weights, and the architecture's numbers and module paths."""
    config, checkpoint = loaded.config, loaded.checkpoint
    return {
        "id": checkpoint.model.id,
        "revision": checkpoint.revision,
        "identity": checkpoint.identity,
        "arch": {
            "family": loaded.model.config.model_type,
            "num_layers": loaded.layers,
            "hidden_size": config.hidden_size,
            "num_attention_heads": config.num_attention_heads,
            "num_key_value_heads": heads_of(config).shared,
            "vocab_size": config.vocab_size,
            "modules": loaded.family.paths() if loaded.family is not None else {},
        },
    }


def describe_tokenizer(loaded: Loaded) -> dict[str, object]:
    """The tokenizer's size, its special tokens, and whether it has a chat template."""
    tokenizer = loaded.tokenizer
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "chat_template": prompts.has_template(tokenizer),
    }


def describe_environment(loaded: Loaded) -> dict[str, object]:
    """Versions and machine: what may change the last digits."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "device": str(loaded.device),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }
