"""How large everything is that the benchmarks work on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """A model, a conversation, and the states of a study."""

    rounds: int
    # the model with random weights
    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    vocabulary: int
    # what it reads and writes
    prompt_words: int
    passes: int  # the prefill and the decode steps
    messages: int
    message_words: int
    references: int
    attention_words: int
    # a dataset, read by a model of other depth
    deep_layers: int
    texts: int
    text_tokens: int
    mixed_tokens: tuple[int, int]
    memory_texts: int
    # the states of many runs
    runs: int
    run_layers: int
    run_hidden: int
    looped_pairs: int
    # probes of many layers, of which a few are timed
    probe_rows: int
    probe_width: int
    probe_layers: int
    probe_timed: int
    # a study of many scenarios on several checkpoints
    many_scenarios: int
    many_checkpoints: int
    many_steps: int
    many_layers: int
    many_hidden: int


# A Llama of the size of a 70M model, and the scenario of Activation Lab's example: 20 turns and
# 5 references; datasets are read by one of 12 layers.
FULL = Sizes(
    rounds=5,
    layers=6,
    hidden=512,
    intermediate=2048,
    heads=8,
    key_value_heads=4,
    vocabulary=32000,
    prompt_words=300,
    passes=21,
    messages=20,
    message_words=14,
    references=5,
    attention_words=512,
    deep_layers=12,
    texts=256,
    text_tokens=64,
    mixed_tokens=(5, 200),
    memory_texts=100,
    runs=100,
    run_layers=32,
    run_hidden=1024,
    looped_pairs=50,
    probe_rows=2000,
    probe_width=2048,
    probe_layers=32,
    probe_timed=2,
    many_scenarios=1000,
    many_checkpoints=5,
    many_steps=20,
    many_layers=6,
    many_hidden=96,
)

# For the tests: every line of code, in seconds.
QUICK = Sizes(
    rounds=1,
    layers=2,
    hidden=32,
    intermediate=64,
    heads=4,
    key_value_heads=2,
    vocabulary=500,
    prompt_words=20,
    passes=4,
    messages=4,
    message_words=6,
    references=2,
    attention_words=24,
    deep_layers=3,
    texts=40,
    text_tokens=8,
    mixed_tokens=(5, 20),
    memory_texts=20,
    runs=6,
    run_layers=2,
    run_hidden=256,
    looped_pairs=5,
    probe_rows=60,
    probe_width=20,
    probe_layers=2,
    probe_timed=2,
    many_scenarios=3,
    many_checkpoints=2,
    many_steps=2,
    many_layers=2,
    many_hidden=24,
)
