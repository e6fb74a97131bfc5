"""The tables of docs/scale.md are what the program's own estimate says."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from stratascope.study.dataset import Dataset
from stratascope.study.estimate import Files, Work, estimate, shape_of
from stratascope.study.estimate.planned import BYTES_PER_TOKEN, Texts, dataset_work
from stratascope.study.estimate.work import RunWork
from stratascope.study.pairs import MOST_PAIRS, chosen_pairs
from stratascope.study.schema import Capture, Model
from stratascope.study.validate import validate

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
KEYS = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
)
# What the page says it assumes.
TEXT_TOKENS = 512
OPERATIONS_A_SECOND = 400e12
PROMPT_TOKENS, NEW_TOKENS, MESSAGES = 1000, 100, 20
LEAN = {"attention_weights": False, "logits": False}
STATES = LEAN | {"hidden_states": False, "qkv": False, "mlp": False}


def table(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, its header left out."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    return [line.split(" | ") for line in lines[1:]]


def size(count: float) -> str:
    """Bytes in decimal units, two digits."""
    for unit, scale in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if count >= scale:
            return f"{float(f'{count / scale:.2g}'):g} {unit}"
    return f"{float(f'{count / 1e6:.2g}'):g} MB"


def power(count: float) -> str:
    digits, exponent = f"{count:.1e}".split("e")
    return f"{digits}·10<sup>{int(exponent)}</sup>"


def hours(operations: float) -> str:
    found = operations / OPERATIONS_A_SECOND / 3600
    return f"{float(f'{found:.2g}'):g}"


@cache
def models() -> dict[str, Work]:
    """Each model of the page by name, from its row."""
    found = {}
    for name, parameters, weights, *numbers in table("Models"):
        config = {
            "model_type": "llama",
            "tie_word_embeddings": name == "1B",
            "torch_dtype": "bfloat16",
            **dict(zip(KEYS, map(int, numbers), strict=True)),
        }
        shape = shape_of(config)
        assert shape is not None
        model = Model(id=name, dtype="bfloat16")
        found[name] = Work(shape, Files.of(config), model, "cuda")
        said = estimate(found[name]).weights
        assert said is not None
        assert [f"{shape.parameters / 1e9:.1f}·10<sup>9</sup>", size(said)] == [parameters, weights]
    return found


def test_datasets() -> None:
    """Operations, hours, bytes and files of a dataset, for every model and number of tokens."""
    said = table("Datasets")
    expected = []
    for name, model in models().items():
        for exponent in range(5, 10):
            texts = -(-(10**exponent) // TEXT_TOKENS)
            tokens = texts * TEXT_TOKENS
            read = Texts(texts, tokens, TEXT_TOKENS, tokens * BYTES_PER_TOKEN)
            found = []
            for position in ("last", "all"):
                spec = validate(Dataset, {"data": "texts.jsonl", "position": position}, "page")
                found.append(estimate(dataset_work(model, spec, read)))
            last, every = found
            assert last.disk and every.disk and last.flops  # noqa: PT018 - all known
            files = -(-texts // spec.shard_texts) + 2
            expected.append(
                [
                    name,
                    f"10<sup>{exponent}</sup>",
                    power(last.flops),
                    hours(last.flops),
                    size(last.disk),
                    size(every.disk),
                    f"{files:,}",
                ]
            )
    assert said == expected


def test_conversations() -> None:
    """Bytes of a run with everything, without the largest tensors, and with states alone."""
    expected = []
    for name, model in models().items():
        found = [
            estimate(
                replace(
                    model,
                    runs=(RunWork(Capture(**kept), PROMPT_TOKENS, NEW_TOKENS, MESSAGES),),
                )
            )
            for kept in ({}, LEAN, STATES)
        ]
        assert found[0].flops
        sizes = [size(item.disk or 0) for item in found]
        thousands = [size(5000 * (item.disk or 0)) for item in found[::2]]
        expected.append([name, power(found[0].flops), *sizes, *thousands])
    assert table("Conversations") == expected


def test_pairs() -> None:
    """The number of pairs that the page gives for 1,000 scenarios on 5 checkpoints."""
    names = [f"scenario-{number}" for number in range(1000)]
    pairs = len(chosen_pairs([c for c in range(5) for _ in names], names * 5))
    text = PAGE.read_text(encoding="utf-8")
    assert f"{pairs:,} pairs" in text
    assert f"{MOST_PAIRS:,}" in text


@pytest.mark.parametrize("count", [1.4e6, 2.5e9, 66e12, 4.13e15])
def test_sizes_are_read_back(count: float) -> None:
    """What the tables print means the number that went in, to two digits."""
    number, unit = size(count).split()
    scale = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15}[unit]
    assert float(number) * scale == pytest.approx(count, rel=0.05)
