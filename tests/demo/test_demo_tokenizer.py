"""The demo tokenizer: loses no text, and renders conversations so that prefixes stay prefixes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from stratascope.demo.grammar import generate
from stratascope.demo.tokenizer import END, ROLES, SPECIAL_TOKENS, train_tokenizer

VOCABULARY = 400


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """A small tokenizer that has gone through a folder, as the shipped one has."""
    texts = [message.content for talk in generate(1, 100) for message in talk.messages]
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(texts, VOCABULARY, 1024).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


_TOKENIZER = train_tokenizer(["a small world"], 300, 1024)


@settings(max_examples=150, deadline=None)
@given(st.text())
def test_any_text_round_trips(text: str) -> None:
    """Every Unicode text decodes to itself, unless it spells a special token."""
    ids = _TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert _TOKENIZER.decode(ids) == text


@pytest.mark.parametrize(
    "text", ["", "  two  spaces ", "naïve 日本語 \U0001f436\U0001f3fd\n\t", "a ,b ."]
)
def test_saved_tokenizer_round_trips(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """After saving and loading, spaces, emoji and other scripts still come back unchanged."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids


def test_special_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    """Special tokens are one token each, the vocabulary has its size, the end token is EOS."""
    for token in SPECIAL_TOKENS:
        assert (
            tokenizer(f"dog{token}cat", add_special_tokens=False)["input_ids"].count(
                tokenizer.convert_tokens_to_ids(token)
            )
            == 1
        )
    assert len(tokenizer) == VOCABULARY
    assert tokenizer.eos_token == END
    assert tokenizer.bos_token is None


def test_any_prefix_renders_to_a_prefix(tokenizer: PreTrainedTokenizerBase) -> None:
    """For roles in any order, each prefix's text and tokens begin the longer conversation's."""
    rng = random.Random(0)
    for _ in range(20):
        messages = [
            {
                "role": rng.choice(ROLES),
                "content": rng.choice(["Hi.", " space ", "", "\n\n", '"so"']),
            }
            for _ in range(6)
        ]
        whole = tokenizer.apply_chat_template(messages, tokenize=False)
        whole_ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
        for stop in range(1, 6):
            part = tokenizer.apply_chat_template(messages[:stop], tokenize=False)
            ids = tokenizer(part, add_special_tokens=False)["input_ids"]
            assert whole.startswith(part)
            assert whole_ids[: len(ids)] == ids


def test_generation_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    """The generation prompt is the assistant's token, also after a system message alone."""
    messages = [{"role": "system", "content": "You are kind."}]
    assert (
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        == "<|system|>You are kind.<|end|><|assistant|>"
    )


def test_unknown_role_is_an_error(tokenizer: PreTrainedTokenizerBase) -> None:
    """A role that the model has never seen is refused, and the message names it."""
    with pytest.raises(TemplateError, match="unknown role tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)
