from __future__ import annotations

from typing import Any

import pytest

from stratascope.capture.prompts import (
    TemplateRefusalError,
    check_context,
    content_tokens,
    find_content,
    render,
    token_text,
    tokenize,
)
from stratascope.errors import StratascopeError
from stratascope.study.schema import Message

# Like templates that cut thoughts out of what the assistant said.
THINKS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if '[think]' in m['content'] %}"
    "<thoughts>{{ m['content'].split('[think]')[1] }}</thoughts>{% else %}{{ m['content'] }}"
    "{% endif %}<|im_end|>\n{% endfor %}"
)


def talk(*contents: str) -> list[Message]:
    roles = ("user", "assistant")
    return [Message(role=roles[i % 2], content=text) for i, text in enumerate(contents)]


def test_without_a_template_contents_are_joined_and_specials_added(tokenizer: Any) -> None:
    """No template: newlines between contents, and the tokenizer's own defaults."""
    plain = tokenizer(None, add_bos=True)
    text = render(plain, talk("Hello", " bear"))
    assert text == "Hello\n bear"
    tokens = tokenize(plain, text)
    assert tokens.ids == plain(text)["input_ids"]
    assert tokens.ids[0] == plain.bos_token_id


def test_a_template_writes_the_special_tokens_itself(tokenizer: Any, chatml: str) -> None:
    """With a template the tokenizer adds nothing, and the rendering ends with the generation prompt."""
    chat = tokenizer(chatml, add_bos=True)
    text = render(chat, talk("Hello"))
    assert text.endswith("<|im_start|>assistant\n")
    ids = tokenize(chat, text).ids
    assert chat.bos_token_id not in ids
    assert chat.decode(ids) == text


@pytest.mark.parametrize("template", [None, "<s>{{ bos_token }}{{ messages[0]['content'] }}"])
def test_two_beginnings_are_refused(tokenizer: Any, template: str | None) -> None:
    """A prompt that begins with two BOS tokens is an error, whoever wrote the second one."""
    broken = tokenizer(template, add_bos=True)
    with pytest.raises(StratascopeError, match="two '<s>' in front of the prompt"):
        tokenize(broken, render(broken, talk("<s>Hello")))


def test_context_overflow_names_the_numbers() -> None:
    """A run longer than the context is refused with prompt, new tokens and limit; equal is fine."""
    check_context(500, 13, 512)
    check_context(500, 1200, None)
    with pytest.raises(StratascopeError, match=r"500 tokens.* is 14.*513.* context holds 512"):
        check_context(500, 14, 512)


def test_a_refusal_carries_the_templates_reason(tokenizer: Any) -> None:
    """What a template raises is the reason of the error."""
    strict = tokenizer("{{ raise_exception('roles must\nalternate') }}")
    with pytest.raises(TemplateRefusalError, match=r"conversation: roles must alternate$"):
        render(strict, talk("Hello"))


def shown(tokenizer: Any, messages: list[Message]) -> str | None:
    text = render(tokenizer, messages)
    span = find_content(tokenizer, messages, text)
    if span is None:
        return None
    tokens = tokenize(tokenizer, text)
    picked = content_tokens(tokens, span)
    assert picked == list(range(picked[0], picked[-1] + 1))
    assert span[0] >= len(render(tokenizer, messages[:-1], False)) if messages[:-1] else True
    assert text[span[0] : span[1]] == messages[-1].content.strip()
    return str(tokenizer.decode([tokens.ids[i] for i in picked]))


@pytest.mark.parametrize("template", ["chatml", None])
@pytest.mark.parametrize(
    "contents",
    [
        ("Tell me a story.",),
        ("Hello", "Hello"),  # repeats an earlier message
        ("Hello", "assistant"),  # is also the role in the header and the generation prompt
        ("Hello", "user"),
        ("a", "b", "im_end"),  # is also part of the end marker
        ("Hello", "  The bear.\n\n"),  # templates and tokenizers treat white space differently
        ("Hello", "wörld 🐻 emoji: 🏞️"),  # characters of several tokens
        ("Hello", "{{ messages }} {% raw %}"),  # is not template code
    ],
)
def test_content_is_found_where_it_stands(
    tokenizer: Any, chatml: str, contents: tuple[str, ...], template: str | None
) -> None:
    """Content tokens are those of the last message, however it repeats or resembles the template."""
    made = tokenizer(chatml if template else None)
    text = shown(made, talk(*contents))
    assert text is not None
    assert contents[-1].strip() in text
    assert len(text) <= len(contents[-1]) + 2


def test_content_that_the_template_changes_is_not_guessed(tokenizer: Any) -> None:
    """Where a template rewrites the content there is no span; where it merely looks, there is."""
    made = tokenizer(THINKS)
    assert shown(made, talk("a", "well [think] hm [think] yes")) is None
    assert shown(made, talk("a", "plain")) == "plain"
    assert shown(made, talk("a", " \n")) is None


def test_each_token_shows_its_text(tokenizer: Any) -> None:
    """Token by token, texts are what the whole text is made of, spaces and specials included."""
    made = tokenizer(None)
    ids = made("<s>The river sang a song")["input_ids"]
    assert "".join(token_text(made, i) for i in ids) == "<s>The river sang a song"


def test_a_tokenizer_without_offsets_says_what_to_do(tokenizer: Any) -> None:
    """Without character offsets the content's tokens are unknown: an error with the remedy."""
    tokens = tokenize(tokenizer(None), "Hello")
    blind = type(tokens)(tokens.text, tokens.ids, None)
    with pytest.raises(StratascopeError, match=r"snapshot_positions: \[generation_prompt\]"):
        content_tokens(blind, (0, 2))
