from __future__ import annotations

from typing import Any

import pytest
import torch

from stratascope.capture.generation import choose, end_tokens, filter_logits, generate
from stratascope.errors import StratascopeError
from stratascope.study.schema import Generation

PROMPT = [5, 9, 80, 33]


def test_greedy_equals_transformers_generate(loaded_model: Any) -> None:
    """Greedy tokens are those of model.generate, and each step says what went in and where."""
    for name in ("llama", "mistral_window"):
        loaded = loaded_model(name)
        steps = list(generate(loaded, PROMPT, Generation(max_new_tokens=20), top_k_probs=3))
        expected = loaded.model.generate(
            torch.tensor([PROMPT]), max_new_tokens=20, do_sample=False, pad_token_id=1
        )
        tokens = [step.generated for step in steps]
        assert PROMPT + tokens == expected[0].tolist()
        assert [step.kind for step in steps] == ["prefill"] + ["decode"] * 19
        assert [(s.start, s.stop) for s in steps] == [(0, 4)] + [(i, i + 1) for i in range(4, 23)]
        assert steps[0].input_ids == PROMPT
        assert [step.input_ids for step in steps[1:]] == [[token] for token in tokens[:-1]]


@torch.no_grad()
def test_numbers_of_a_step_follow_from_the_logits(loaded_model: Any) -> None:
    """argmax, its log-probability, entropy in nats and the top tokens are those of the softmax."""
    loaded = loaded_model("qwen2")
    *_, last = generate(loaded, PROMPT, Generation(max_new_tokens=3), top_k_probs=4)
    fed = [*PROMPT, *(s.generated for s in generate(loaded, PROMPT, Generation(max_new_tokens=2)))]
    logits = loaded.model(torch.tensor([fed])).logits[0, -1].double()
    p = torch.softmax(logits, -1)
    assert last.argmax == int(p.argmax()) == last.generated
    assert last.logprob == pytest.approx(float(p.max().log()), abs=1e-4)
    assert last.entropy == pytest.approx(float(-(p * p.log()).sum()), abs=1e-4)
    values, ids = p.topk(4)
    assert [choice.id for choice in last.top] == ids.tolist()
    assert [c.logprob for c in last.top] == pytest.approx(values.log().tolist(), abs=1e-4)
    everything = next(iter(generate(loaded, PROMPT, Generation(), top_k_probs=10_000)))
    assert len(everything.top) == loaded.config.vocab_size
    assert sum(2.718281828**c.logprob for c in everything.top) == pytest.approx(1, abs=1e-4)


def kept(logits: list[float], **settings: Any) -> list[int]:
    filtered = filter_logits(torch.tensor(logits), Generation(do_sample=True, **settings))
    return torch.isfinite(filtered).nonzero().flatten().tolist()


def test_top_p_keeps_the_token_that_crosses_the_threshold() -> None:
    """Of probabilities .5 .3 .15 .05, p=.6 keeps two, p=.5 one, p=0 one, p=1 all."""
    logits = torch.tensor([0.15, 0.5, 0.05, 0.3]).log().tolist()
    assert kept(logits, top_p=0.6) == [1, 3]
    assert kept(logits, top_p=0.81) == [0, 1, 3]
    assert kept(logits, top_p=0.4999) == [1]
    assert kept(logits, top_p=0.0) == [1]
    assert kept(logits, top_p=1.0) == [0, 1, 2, 3]


def test_top_k_and_temperature() -> None:
    """top_k keeps exactly k, ties to the lower id; temperature divides; the filters combine."""
    assert kept([1.0, 2.0, 2.0, 2.0], top_k=2) == [1, 2]
    assert kept([1.0, 2.0, 3.0], top_k=0) == [0, 1, 2]
    assert kept([1.0, 2.0, 3.0], top_k=99) == [0, 1, 2]
    halved = filter_logits(torch.tensor([1.0, 2.0]), Generation(temperature=2))
    assert halved.tolist() == [0.5, 1.0]
    # Within the two kept by top_k the first has .5/.8 = .625 of the weight.
    logits = torch.tensor([0.15, 0.5, 0.05, 0.3]).log().tolist()
    assert kept(logits, top_k=2, top_p=0.62) == [1]


def test_sampling_follows_the_seed_and_the_distribution(loaded_model: Any) -> None:
    """One seed, one text; other seeds, others; temperature 0 is greedy; frequencies are right."""
    loaded = loaded_model("llama")

    def text(**settings: Any) -> list[int]:
        wanted = Generation(**{"max_new_tokens": 12, "do_sample": True} | settings)
        return [step.generated for step in generate(loaded, PROMPT, wanted)]

    assert text(seed=1) == text(seed=1)
    assert len({tuple(text(seed=seed)) for seed in range(4)}) == 4
    assert text(temperature=0) == text(do_sample=False)
    assert text(top_k=1, temperature=5) == text(do_sample=False)
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([0.7, 0.2, 0.1]).log()
    drawn = [choose(logits, Generation(do_sample=True), generator) for _ in range(3000)]
    assert drawn.count(0) / 3000 == pytest.approx(0.7, abs=0.03)


def test_end_of_sequence_ends_and_is_not_fed_back(loaded_model: Any) -> None:
    """The end token is the last generated one; any of several, from the model or the tokenizer."""
    loaded = loaded_model("llama")
    free = list(generate(loaded, PROMPT, Generation(max_new_tokens=10)))
    end = free[4].generated
    first = [step.generated for step in free].index(end)
    settings = loaded.model.generation_config
    before = settings.eos_token_id
    try:
        settings.eos_token_id = [end, 399]
        assert end_tokens(loaded) == {end, 399, loaded.tokenizer.eos_token_id}
        steps = list(generate(loaded, PROMPT, Generation(max_new_tokens=10)))
    finally:
        settings.eos_token_id = before
    assert [s.generated for s in steps] == [s.generated for s in free[: first + 1]]
    assert steps[-1].generated == end
    assert all(end not in step.input_ids for step in steps)


def test_logits_that_are_not_finite_are_an_error(loaded_model: Any) -> None:
    """A model that computes NaN gives no token; the error names the step."""
    loaded = loaded_model("llama")
    weight = loaded.model.lm_head.weight
    kept_row = weight.data[3].clone()
    weight.data[3] = float("nan")
    try:
        with pytest.raises(StratascopeError, match="logits at step 0: not finite"):
            list(generate(loaded, PROMPT, Generation()))
    finally:
        weight.data[3] = kept_row


def test_the_head_is_computed_only_where_it_is_wanted(loaded_model: Any) -> None:
    """Without `all_logits` the head sees one row a pass."""
    loaded = loaded_model("llama")
    rows: list[int] = []
    hook = loaded.model.lm_head.register_forward_hook(lambda *a: rows.append(a[2].shape[1]))
    try:
        list(generate(loaded, PROMPT, Generation(max_new_tokens=2)))
        list(generate(loaded, PROMPT, Generation(max_new_tokens=2), all_logits=True))
    finally:
        hook.remove()
    assert rows == [1, 1, 4, 1]
