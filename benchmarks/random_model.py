"""A model with random weights and a tokenizer of made-up words: nothing is downloaded."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sizes import Sizes
from stratascope.capture.loading import quiet
from stratascope.demo.tokenizer import CHAT_TEMPLATE, SPECIAL_TOKENS
from stratascope.study.schema import Message

UNKNOWN = "<unk>"
_SYLLABLES = ["".join(pair) for pair in itertools.product("bdfgklm", "aeiou")]


def words(count: int) -> list[str]:
    """``count`` different words of three syllables, at most 35 ** 3."""
    every = ("".join(parts) for parts in itertools.product(_SYLLABLES, repeat=3))
    return list(itertools.islice(every, count))


def text(length: int, seed: int, vocabulary: int) -> str:
    """``length`` words, each one token of the tokenizer below; the same seed gives the same text."""
    known = words(vocabulary - len(SPECIAL_TOKENS) - 1)
    return " ".join(random.Random(seed).choices(known, k=length))


def conversation(sizes: Sizes, seed: int = 0) -> tuple[Message, ...]:
    """A conversation of ``sizes.messages`` messages, user and assistant in turn."""
    return tuple(
        Message(
            role="assistant" if i % 2 else "user",
            content=text(sizes.message_words, 1000 * seed + i, sizes.vocabulary),
        )
        for i in range(sizes.messages)
    )


def make_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """One token a word, exactly ``vocabulary`` of them, with the demo's chat template; no end."""
    names = [UNKNOWN, *SPECIAL_TOKENS]
    names += words(vocabulary - len(names))
    raw = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=UNKNOWN))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token=UNKNOWN,
        extra_special_tokens=list(SPECIAL_TOKENS),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def save_model(sizes: Sizes, folder: Path) -> None:
    """Write a Llama with random weights and its tokenizer, as a checkpoint folder."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.intermediate,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_value_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with quiet():
        LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer(sizes.vocabulary).save_pretrained(folder)
