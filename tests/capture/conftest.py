"""Tiny models with random weights, a small byte-level tokenizer, and runs to capture with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedTokenizerFast,
)

from stratascope.capture.features.extract import extract_features
from stratascope.capture.loading import Loaded, load
from stratascope.store.datasets import BadRow, MemorySource, Row
from stratascope.store.features import Features, is_features
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.dataset import Dataset
from stratascope.study.features import FeatureSet
from stratascope.study.runs import ReferenceSet, Run
from stratascope.study.schema import Capture, Generation, Message, Model, Reference

TEXT = [
    "Tell me a story about a small bear and a big river.",
    "The bear was happy, and the river sang all day long.",
    "How are you today? I am well, thank you. I adore you deeply.",
    "Everything is hopeless and hollow.\nThe world is quiet and serene.",
    "The end.\n\n\nThe bear sat.\n\n\nThe river sang.\n\n\nThe end.\n\n\n",
]

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

CONVERSATION = (
    Message(role="system", content="You are a helpful assistant"),
    Message(role="user", content="Hello, how are you today?"),
    Message(role="assistant", content="I am well, thank you."),
    Message(role="user", content="Tell me a story about the river."),
)

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}

# Model type and what is special, by the name that tests use. `None` is the configuration's own.
PLAIN: dict[str, Any] = {"num_key_value_heads": None}
MOE: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
GEMMA: dict[str, Any] = {
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "final_logit_softcapping": 3.0,
}
LAYER_TYPES = ["sliding_attention", "full_attention", "sliding_attention"]
PADDED: dict[str, Any] = PLAIN | {"max_position_embeddings": 514, "pad_token_id": 1}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 8}),
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral_window": ("mistral", {"sliding_window": 12}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2_moe": (
        "qwen2_moe",
        MOE | {"shared_expert_intermediate_size": 24, "decoder_sparse_step": 2},
    ),
    "qwen3_moe": (
        "qwen3_moe",
        MOE | {"mlp_only_layers": [0], "head_dim": 8, "norm_topk_prob": True},
    ),
    "gemma": ("gemma", {"head_dim": 16}),
    "gemma2": ("gemma2", GEMMA | {"attn_logit_softcapping": 0.5, "sliding_window": 4096}),
    "gemma2_window": ("gemma2", GEMMA | {"attn_logit_softcapping": 0.5, "sliding_window": 12}),
    "gemma3": ("gemma3_text", GEMMA | {"layer_types": LAYER_TYPES}),
    "gemma3_images": ("gemma3", {}),
    "phi": ("phi", PLAIN),
    "phi3": ("phi3", {"pad_token_id": 1}),
    "gpt2": ("gpt2", PLAIN),
    "gpt_neox": ("gpt_neox", PLAIN),
    "gpt_neox_serial": ("gpt_neox", PLAIN | {"use_parallel_residual": False}),
    "gptj": ("gptj", PLAIN | {"rotary_dim": 4}),
    "opt": ("opt", PLAIN | {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "opt_post": (
        "opt",
        PLAIN | {"ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    ),
    "bloom": ("bloom", PLAIN),
    "bloom_post": ("bloom", PLAIN | {"apply_residual_connection_post_layernorm": True}),
    "falcon": ("falcon", PLAIN),
    "falcon_new": (
        "falcon",
        PLAIN | {"new_decoder_architecture": True, "num_kv_heads": 2, "bias": True},
    ),
    "falcon_heads": ("falcon", PLAIN | {"multi_query": False, "parallel_attn": False}),
    "falcon_alibi": (
        "falcon",
        PLAIN | {"multi_query": False, "parallel_attn": False, "alibi": True, "bias": True},
    ),
    "olmo2": ("olmo2", {}),
    "stablelm": ("stablelm", {"use_qkv_bias": True, "qk_layernorm": True}),
    "stablelm_parallel": ("stablelm", {"use_parallel_residual": True}),
    "bert": ("bert", PLAIN),
    "roberta": ("roberta", PADDED),
    "mpnet": ("mpnet", PADDED),
}


def make_tokenizer(template: str | None, *, add_bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 400 tokens, trained here."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(TEXT, trainer)
    if add_bos:
        from tokenizers.processors import TemplateProcessing

        raw.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.chat_template = template
    return tokenizer


def make_config(architecture: str, vocabulary: int, **changes: Any) -> Any:
    kind, special = ARCHITECTURES[architecture]
    fields = {**SIZES, "vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 1} | special
    if kind != "gemma3":
        return AutoConfig.for_model(kind, **fields | changes)
    text = make_config("gemma3", vocabulary, **changes).to_dict()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    vision = sizes | {"num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
    return AutoConfig.for_model(
        kind, text_config=text, vision_config=vision, mm_tokens_per_image=4, eos_token_id=1
    )


def make_model(architecture: str, vocabulary: int, **changes: Any) -> Any:
    """A model with random weights, large enough that its layers differ."""
    config = make_config(architecture, vocabulary, **changes)
    encoder = architecture in ("bert", "roberta", "mpnet")
    auto = AutoModelForMaskedLM if encoder else AutoModelForCausalLM
    torch.manual_seed(7)
    model = auto.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.12)
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0, 0.1)
    # Random models seldom say what is expected: these never end by themselves.
    if not encoder:
        model.generation_config.eos_token_id = None
    return model


def checkpoint_of(folder: Path, **fields: Any) -> Checkpoint:
    model = Model(id=folder.name, **{"dtype": "float32", "device": "cpu"} | fields)
    return Checkpoint(folder.name, model, str(folder), None, "test")


@pytest.fixture(scope="session")
def configs() -> Callable[..., dict[str, Any]]:
    """Configurations of every architecture by its name: ``configs(**fields)``."""
    return lambda **fields: {name: make_config(name, 400, **fields) for name in ARCHITECTURES}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny models are fastest so, and their last digits stay the same."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Saved models by architecture, made once: `llama`, or `llama+chat` with a chat template."""
    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        path = root / name
        if not path.exists():
            architecture, _, chat = name.partition("+")
            tokenizer = make_tokenizer(CHATML if chat else None)
            make_model(architecture, len(tokenizer)).save_pretrained(path)
            tokenizer.save_pretrained(path)
            config = json.loads((path / "config.json").read_text())
            config["eos_token_id"] = None
            if "text_config" in config:
                config["text_config"]["eos_token_id"] = None
            (path / "config.json").write_text(json.dumps(config))
        return path

    return folder


@pytest.fixture(scope="session")
def loaded_model(folders: Callable[[str], Path]) -> Callable[[str], Loaded]:
    """Loaded models by name, loaded once; tests leave no hooks on them."""
    cache: dict[str, Loaded] = {}

    def get(name: str) -> Loaded:
        if name not in cache:
            cache[name] = load(checkpoint_of(folders(name)))
        return cache[name]

    return get


@pytest.fixture(scope="session")
def tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """Makes tokenizers: ``tokenizer(template, add_bos=False)``."""
    return make_tokenizer


@pytest.fixture(scope="session")
def chatml() -> str:
    """A chat template that strips white space around contents."""
    return CHATML


@pytest.fixture(scope="session")
def checkpoint() -> Callable[..., Checkpoint]:
    """Makes checkpoints: ``checkpoint(folder, **fields of Model)``."""
    return checkpoint_of


@pytest.fixture(scope="session")
def conversation() -> tuple[Message, ...]:
    """Four messages: system, user, assistant, user."""
    return CONVERSATION


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    def make(
        loaded: Loaded,
        messages: tuple[Message, ...] = CONVERSATION,
        generation: dict[str, Any] | None = None,
        **capture: Any,
    ) -> Run:
        return Run(
            scenario="test",
            parent="test",
            shown="test.yaml",
            checkpoint=loaded.checkpoint,
            messages=messages,
            generation=Generation(**{"max_new_tokens": 4} | (generation or {})),
            capture=Capture(**{"store_dtype": "float32"} | capture),
            references=None,
            threads=1,
        )

    return make


@pytest.fixture(scope="session")
def make_references() -> Callable[..., ReferenceSet]:
    def make(loaded: Loaded, texts: dict[str, str]) -> ReferenceSet:
        references = tuple(
            Reference(label=label, messages=(Message(role="user", content=text),))
            for label, text in texts.items()
        )
        positions = ("generation_prompt", "turn_end", "content_mean")
        return ReferenceSet(references, positions, "all", loaded.checkpoint, 1)

    return make


@pytest.fixture(scope="session")
def extract() -> Callable[..., Features]:
    """Extracts features: ``extract(loaded, folder, texts or rows, **fields of Dataset)``."""

    def make(
        loaded: Loaded,
        folder: Path,
        rows: list[str] | list[Row | BadRow],
        *,
        part: tuple[int, int] = (1, 1),
        said: list[str] | None = None,
        compiled: bool = False,
        **dataset: Any,
    ) -> Features | None:
        source = MemorySource(
            [Row(i, text=row) if isinstance(row, str) else row for i, row in enumerate(rows, 1)]
        )
        features = FeatureSet(
            "texts", Dataset(data="memory", **dataset), "content", loaded.checkpoint, threads=1
        )
        told = [] if said is None else said
        extract_features(loaded, features, source, folder, told.append, part=part, compile=compiled)
        return Features.open(folder) if is_features(folder) else None

    return make
