"""A demo checkpoint as a notebook loads it, small models with random weights, and hooks counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

import stratascope as ss

TEXTS = ["I am so happy", "I feel that all is lost and I am sad.", "We are calm"]

SIZES: dict[str, Any] = {
    "vocab_size": 1200,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def random_model(kind: str, auto: Any = AutoModelForCausalLM, **special: Any) -> Any:
    """A model of transformers as a user has it: loaded without anything of Stratascope's."""
    torch.manual_seed(3)
    return auto.from_config(AutoConfig.for_model(kind, **SIZES | special)).eval()


def count_hooks(module: nn.Module) -> int:
    """All hooks and listeners on a module and below it, but those that transformers leaves itself."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    hooks = [h for m in module.modules() for kind in kinds for h in getattr(m, kind).values()]
    listeners = sum("_stratascope_listener" in part.__dict__ for part in module.modules())
    return listeners + sum(not hook.__module__.startswith("transformers") for hook in hooks)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model(demo: list[Path]) -> ss.Model:
    """The last demo checkpoint in float32; tests leave no hooks on it."""
    return ss.load(demo[-1], dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def hooks() -> Callable[[nn.Module], int]:
    return count_hooks


@pytest.fixture(scope="session")
def make() -> Callable[..., Any]:
    """Makes models of transformers with random weights: ``make("gpt2")``."""
    return random_model


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Three texts of different lengths."""
    return TEXTS
