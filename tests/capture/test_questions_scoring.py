"""Batched answers and log-probabilities against one prompt at a time, on every architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stratascope.capture import prompts
from stratascope.capture.generation import generate
from stratascope.capture.loading import Loaded
from stratascope.capture.questions import prefixes, scoring
from stratascope.capture.questions.answering import answers
from stratascope.capture.questions.prefixes import batches, read
from stratascope.capture.questions.scoring import continuation, logprobs
from stratascope.errors import StratascopeError
from stratascope.study.schema import Generation

# Every way to tell positions and to keep a cache; the others take their time.
QUICK = ["llama", "mistral_window", "gpt2", "bloom"]
SLOW = [
    "qwen3", "mixtral", "qwen3_moe", "gemma2_window", "gemma3", "phi3", "gpt_neox", "gptj", "opt",
    "falcon", "falcon_alibi", "olmo2",
]  # fmt: skip
DECODERS = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
SAMPLING = {"do_sample": True, "temperature": 1.7, "top_k": 60, "seed": 3}


def some_prompts(loaded: Loaded, lengths: tuple[int, ...] = (3, 17, 9, 30, 9)) -> list[list[int]]:
    chance = torch.Generator().manual_seed(1)
    most = loaded.config.vocab_size
    return [torch.randint(4, most, (n,), generator=chance).tolist() for n in lengths]


def alone(loaded: Loaded, prompt: list[int], text: list[int]) -> float:
    """The log-probability by transformers alone: one sequence, no cache, no padding, in float64."""
    with torch.no_grad():
        logits = loaded.model(torch.tensor([prompt + text]), use_cache=False).logits[0].double()
    rows = torch.log_softmax(logits, dim=-1)[len(prompt) - 1 : -1]
    return sum(float(row[token]) for row, token in zip(rows, text, strict=True))


@pytest.mark.parametrize("name", DECODERS)
def test_a_batch_is_as_good_as_one_at_a_time(
    loaded_model: Callable[[str], Loaded], name: str
) -> None:
    """Prompts of unlike length in one batch: the tokens of `generate`, log-probabilities to 1e-5."""
    loaded = loaded_model(name)
    asked = some_prompts(loaded)
    for settings in (Generation(max_new_tokens=8), Generation(max_new_tokens=8, **SAMPLING)):
        found = answers(loaded, read(loaded, asked), settings)
        expected = [[step.generated for step in generate(loaded, p, settings)] for p in asked]
        assert found == expected
    texts = some_prompts(loaded, (1, 4, 7))
    pairs = [(row, text) for row in range(len(asked)) for text in texts]
    prefix = read(loaded, asked)
    scores = logprobs(loaded, prefix, pairs)
    assert [score.tokens for score in scores] == [1, 4, 7] * len(asked)
    for (row, text), score in zip(pairs, scores, strict=True):
        assert score.total == pytest.approx(alone(loaded, asked[row], text), rel=1e-5)
        assert score.per_token == pytest.approx(score.total / len(text))
    # Scoring leaves the prefix as it was: the same again, and generation still goes on from it.
    assert logprobs(loaded, prefix, pairs) == scores
    assert answers(loaded, prefix, Generation(max_new_tokens=8)) == answers(
        loaded, read(loaded, asked), Generation(max_new_tokens=8)
    )


def test_small_passes_change_nothing(
    loaded_model: Callable[[str], Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many continuations go into a pass, their log-probabilities are the same."""
    loaded = loaded_model("llama")
    asked, texts = some_prompts(loaded), some_prompts(loaded, (2, 5, 3, 8))
    pairs = [(row, text) for row in range(len(asked)) for text in texts]
    together = [score.total for score in logprobs(loaded, read(loaded, asked), pairs)]
    passes = 0
    forward = scoring.forward

    def counted(*args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal passes
        passes += 1
        return forward(*args, **kwargs)

    monkeypatch.setattr(scoring, "forward", counted)
    monkeypatch.setattr(scoring, "PASS_TOKENS", 8)
    apart = [score.total for score in logprobs(loaded, read(loaded, asked), pairs)]
    assert passes > 5
    assert apart == pytest.approx(together, rel=1e-5)


def test_one_token_needs_no_further_pass(
    loaded_model: Callable[[str], Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompt's own pass says how likely each first token is; all of them add up to 1."""
    loaded = loaded_model("llama")
    prefix = read(loaded, some_prompts(loaded))

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a pass that nothing needs")

    monkeypatch.setattr(scoring, "forward", refuse)
    every = [(1, [token]) for token in range(loaded.config.vocab_size)]
    total = sum(torch.tensor(score.total).exp() for score in logprobs(loaded, prefix, every))
    assert float(total) == pytest.approx(1, rel=1e-5)


def test_an_answer_ends_at_its_end(loaded_model: Callable[[str], Loaded]) -> None:
    """An end token ends one answer, as in `generate`, while the others of the batch go on."""
    loaded = loaded_model("llama")
    asked = some_prompts(loaded)
    free = answers(loaded, read(loaded, asked), Generation(max_new_tokens=10))
    ends = {answer[i] for i, answer in zip((1, 4, 9), free, strict=False)}
    ending = replace(loaded, tokenizer=_Ending(loaded.tokenizer, sorted(ends)))
    found = answers(ending, read(ending, asked), Generation(max_new_tokens=10))
    assert found == [
        [s.generated for s in generate(ending, p, Generation(max_new_tokens=10))] for p in asked
    ]
    assert len({len(answer) for answer in found}) > 1
    assert all(set(answer[:-1]).isdisjoint(ends) for answer in found)


class _Ending:
    """A tokenizer with other end tokens: ``end_tokens`` asks the model first, then this."""

    def __init__(self, tokenizer: Any, ends: list[int]) -> None:
        self.eos_token_id = ends
        self.tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def test_batches_hold_every_prompt_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours in length, under the budget; a prompt larger than the budget, or near the border, alone."""
    monkeypatch.setattr(prefixes, "QUESTION_TOKENS", 100)
    lengths = [7, 60, 300, 7, 40, 50, 8, 9]
    found = list(batches(lengths, 10, None))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 100
    order = [lengths[i] for batch in found for i in batch]
    assert order == sorted(order)
    assert len(found) < len(lengths)
    bordered = list(batches(lengths, 10, 55))
    assert [[lengths[i] for i in batch] for batch in bordered][-3:] == [[50], [60], [300]]


# Continuations


def test_a_choice_follows_a_prompt_as_text_does(
    loaded_model: Callable[[str], Loaded], conversation: Any
) -> None:
    """Prompt and continuation together are the tokens of the whole text, template or not."""
    for name in ("llama", "llama+chat"):
        loaded = loaded_model(name)
        prompt = prompts.tokenize(loaded.tokenizer, prompts.render(loaded.tokenizer, conversation))
        between = "" if name.endswith("chat") else " "
        for text in ("river", "the river sang all day", "日本", " spaced"):
            ids = continuation(loaded, prompt, text)
            gap = "" if text.startswith(" ") else between
            assert loaded.tokenizer.decode(ids) == gap + text
            whole = prompts.tokenize(loaded.tokenizer, prompt.text + gap + text).ids
            assert prompt.ids + ids == whole


def test_no_token_reaches_over_the_border(loaded_model: Callable[[str], Loaded]) -> None:
    """Where text and prompt would merge into one token, the prompt keeps the tokens that were read."""
    loaded = loaded_model("llama+chat")
    tokenizer = loaded.tokenizer
    text = "the river"
    whole = prompts.tokenize(tokenizer, text).ids
    beginnings = [prompts.tokenize(tokenizer, text[:i]).ids for i in range(1, len(text))]
    cut = 1 + next(i for i, ids in enumerate(beginnings) if ids != whole[: len(ids)])
    prompt = prompts.tokenize(tokenizer, text[:cut])
    ids = continuation(loaded, prompt, text[cut:])
    assert tokenizer.decode(ids) == text[cut:]


def test_what_cannot_be_scored_is_refused(
    loaded_model: Callable[[str], Loaded], folders: Callable[[str], Path], monkeypatch: Any
) -> None:
    """Logits that are not finite are an error, and so is a text without tokens."""
    loaded = loaded_model("llama+chat")
    prompt = prompts.tokenize(loaded.tokenizer, "The bear")
    with pytest.raises(StratascopeError, match="'' has no tokens"):
        continuation(loaded, prompt, "")
    with pytest.raises(StratascopeError, match="so no token has a probability"):
        prefixes.finite(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(StratascopeError, match="not finite"):
        prefixes.finite(torch.tensor([[float("inf"), 0.0]]))
    assert prefixes.finite(torch.tensor([[float("-inf"), 0.0]])).shape == (1, 2)
