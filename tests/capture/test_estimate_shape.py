"""The arithmetic on a config.json, against the models that transformers makes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig

from stratascope.capture import packing, sites
from stratascope.capture.families import FAMILIES, family_of
from stratascope.capture.features import writing
from stratascope.capture.loading import _auto_class
from stratascope.capture.run import _learn_widths
from stratascope.capture.writer import QUEUE_LENGTH
from stratascope.store.runs import SOURCES
from stratascope.study.estimate import disk, memory, shape_of
from stratascope.study.estimate.families import FAMILIES as SHAPES
from stratascope.study.estimate.flops import flops
from stratascope.study.schema import Capture

Configs = Callable[..., dict[str, Any]]

# What a family may be asked besides: key, value, and the model types that have the key.
FLAGS = [
    ("attention_bias", True, {"llama", "qwen3", "qwen3_moe", "gemma", "gemma2", "olmo2"}),
    ("attention_bias", False, {"gpt_neox"}),
    ("mlp_bias", True, {"llama"}),
    ("qkv_bias", False, {"qwen2_moe"}),
    ("qk_layernorm", True, {"phi", "stablelm"}),
    ("tie_word_embeddings", True, {"llama", "gpt2", "opt", "gptj", "phi", "falcon", "gemma3"}),
    ("enable_bias", False, {"opt"}),
    ("layer_norm_elementwise_affine", False, {"opt"}),
    ("n_inner", 40, {"gpt2", "gptj"}),
    ("ffn_hidden_size", 40, {"falcon"}),
    ("num_ln_in_parallel_attn", 1, {"falcon"}),
    ("num_experts", 0, {"qwen2_moe"}),
    ("type_vocab_size", 5, {"bert", "roberta"}),
]


def real(config: Any) -> int:
    """The parameters of the model itself, made without memory."""
    auto, extra = _auto_class(config)
    with torch.device("meta"):
        model = auto.from_config(copy.deepcopy(config), **extra)
    return sum(parameter.numel() for parameter in model.parameters())


def differing(configs: dict[str, Any]) -> dict[str, tuple[int, int]]:
    found = {}
    for name, config in configs.items():
        shape = shape_of(config.to_dict())
        assert shape is not None, name
        pair = shape.parameters, real(config)
        if pair[0] != pair[1]:
            found[name] = pair
    return found


def test_every_family_is_counted() -> None:
    """Each model type with sites has its arithmetic, and no other."""
    assert set(SHAPES) == set(FAMILIES)


def test_parameters_are_exact(configs: Configs) -> None:
    """Each architecture has to the last one as many parameters as the arithmetic says."""
    assert not differing(configs())
    assert not differing(configs(hidden_size=64))


@pytest.mark.parametrize(("key", "value", "types"), FLAGS)
def test_what_a_config_switches_is_counted(
    configs: Configs, key: str, value: Any, types: set[str]
) -> None:
    """Biases, norms, inner sizes and tied heads that a config asks for are in the count."""
    plain = configs()
    changed = configs(**{key: value})
    some = {name: c for name, c in changed.items() if c.model_type in types}
    assert {config.model_type for config in some.values()} == types
    assert not differing(some)
    counts = [(shape_of(some[n].to_dict()), shape_of(plain[n].to_dict())) for n in some]
    assert any(new != old for new, old in counts)


def test_keys_left_out_are_what_transformers_takes(configs: Configs) -> None:
    """Whichever key a config.json lacks, the sizes are those that transformers then makes."""
    compared = 0
    for name, config in configs().items():
        whole = config.to_dict()
        nested = {k for k in whole if isinstance(whole[k], dict) and "model_type" in whole[k]}
        for inside in (None, *sorted(nested)):
            for key in sorted(whole[inside] if inside else whole):
                if key == "model_type" or key in nested:
                    continue
                lacking = copy.deepcopy(whole)
                del (lacking[inside] if inside else lacking)[key]
                try:
                    taken = AutoConfig.for_model(**lacking).to_dict()
                except StrictDataclassError:
                    continue  # transformers itself refuses it
                assert shape_of(lacking) == shape_of(taken), (name, inside, key)
                compared += 1
    assert compared > 1000


def check_widths(loaded: Any) -> None:
    shape = shape_of(loaded.model.config.to_dict())
    assert shape is not None
    family = loaded.family
    assert (shape.packs, shape.shows_weights) == (family.packs, family.weights is not None)
    loaded.widths.clear()
    layers = range(loaded.layers)
    everything = Capture(
        attention_weights=family.weights is not None, logits=family.head is not None
    )
    _learn_widths(loaded, sites.capture_taps(loaded.model, family, everything, layers), 5)
    expected = dict(shape.whole)
    for layer in layers:
        expected |= {f"layer_{layer:02d}/{n}": w for n, w in shape.widths(layer).items()}
    assert loaded.widths == expected


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "opt_post", "falcon_alibi", "gemma3"])
def test_site_widths(loaded_model: Any, name: str) -> None:
    """Each site is as wide as what the model gives there, and no other site is counted."""
    check_widths(loaded_model(name))


@pytest.mark.slow
def test_site_widths_of_every_architecture(loaded_model: Any, configs: Configs) -> None:
    """The same for all architectures."""
    for name in configs():
        check_widths(loaded_model(name))


def test_operations_are_those_that_pytorch_counts(configs: Configs) -> None:
    """The operations of a pass are exactly what FlopCounterMode counts, experts included."""
    for name, config in configs().items():
        config._attn_implementation = "eager"  # what it counts of other attention depends on it
        auto, extra = _auto_class(config)
        model = auto.from_config(config, **extra).eval()
        if hasattr(model, "set_experts_implementation"):
            model.set_experts_implementation("eager")
        ids = torch.randint(5, 300, (2, 24))
        with FlopCounterMode(display=False) as counted, torch.inference_mode():
            model(input_ids=ids)
        shape = shape_of(config.to_dict())
        assert shape is not None
        heads = 0 if family_of(config).encoder else ids.numel()  # type: ignore[union-attr]
        assert flops(shape, ids.numel(), 2 * 24**2, heads) == counted.get_total_flops(), name


def test_what_the_estimate_assumes_of_other_modules() -> None:
    """The numbers that it copies, since it must not import torch, are still theirs."""
    assert {site.name: site.switch for site in sites.SITES} == disk.SWITCHES
    assert len(SOURCES) == disk.SOURCES
    assert packing.ROW_BUDGET == memory.ROW_TOKENS
    assert writing.QUEUE_BYTES["cpu"] == memory.QUEUE_BYTES
    assert QUEUE_LENGTH + 2 == memory.QUEUED
