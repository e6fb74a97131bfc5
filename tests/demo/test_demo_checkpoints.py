"""The recipe yields checkpoints that load and learn, and the shipped ones keep their promises."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stratascope.demo.batches import encode, group, pad
from stratascope.demo.grammar import generate
from stratascope.demo.tokenizer import END
from stratascope.demo.train import Recipe, held_out_loss, run_recipe, train_demo
from stratascope.errors import StratascopeError

SHIPPED = Path(__file__).parents[2] / "models" / "demo"
RECORD: dict[str, Any] = json.loads((SHIPPED / "record.json").read_text(encoding="utf-8"))
FOLDERS = [SHIPPED / row["folder"] for row in RECORD["checkpoints"]]
TINY = replace(
    Recipe(), steps=3, saved=(0.0, 1.0), tokenizer_conversations=60, vocab_size=400,
    held_out_conversations=4, batch_tokens=300, hidden_size=16, heads=2, key_value_heads=1,
    intermediate_size=16, layers=2, threads=1,
)  # fmt: skip


def _load(folder: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def _fresh_loss(folder: Path) -> float:
    """Assistant loss on 12 conversations of a seed that neither training nor the record used."""
    model, tokenizer = _load(folder)
    examples = encode(list(generate(987_654, 12)), tokenizer, 1024)
    return held_out_loss(model, group(examples, tokenizer.pad_token_id, 2048))["assistant"]


def test_recipe_saves_loadable_checkpoints(tmp_path: Path) -> None:
    """A few steps leave exactly the promised folders, and a record that is true."""
    rows = run_recipe(tmp_path, TINY, progress=lambda line: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.json", "step-0", "step-3"]
    assert json.loads((tmp_path / "record.json").read_text())["checkpoints"] == rows
    for row in rows:
        folder = tmp_path / row["folder"]
        model, tokenizer = _load(folder)
        weights = (folder / "model.safetensors").read_bytes()
        assert hashlib.sha256(weights).hexdigest() == row["weights_sha256"]
        assert sum(path.stat().st_size for path in folder.iterdir()) == row["bytes"]
        assert model.config.vocab_size == len(tokenizer)


def test_recipe_repeats_itself(tmp_path: Path) -> None:
    """The same recipe gives the same weights and losses; another seed does not."""
    first = run_recipe(tmp_path / "a", TINY, progress=lambda line: None)
    again = run_recipe(tmp_path / "b", TINY, progress=lambda line: None)
    other = run_recipe(tmp_path / "c", replace(TINY, seed=8), progress=lambda line: None)
    assert first == again
    assert first[-1]["weights_sha256"] != other[-1]["weights_sha256"]


def test_recipe_refuses_what_cannot_work(tmp_path: Path) -> None:
    """No steps, no threads, a file for a folder, and too large a model are errors that say so."""
    with pytest.raises(StratascopeError, match="steps is 0"):
        train_demo(tmp_path, steps=0)
    with pytest.raises(StratascopeError, match="threads 0"):
        train_demo(tmp_path, threads=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(StratascopeError, match="is a file"):
        train_demo(tmp_path / "file")
    with pytest.raises(StratascopeError, match=r"step-0 takes \d+ bytes"):
        run_recipe(tmp_path / "big", replace(TINY, hidden_size=512), progress=lambda line: None)
    assert list((tmp_path / "big").iterdir()) == []


def test_only_the_assistant_speaks() -> None:
    """The loss counts an assistant's words and end token, but no role token and no padding."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDERS[-1])
    talks = list(generate(5, 6))
    batch = pad(encode(talks, tokenizer, 1024), tokenizer.pad_token_id)
    for row, talk in enumerate(talks):
        spoken = tokenizer.decode(batch.ids[row][batch.spoken[row]])
        said = [m.content + END for m in talk.messages if m.role == "assistant"]
        assert spoken == "".join(said)
        whole = [{"role": m.role, "content": m.content} for m in talk.messages]
        rendered = tokenizer.apply_chat_template(whole, tokenize=False)
        assert tokenizer.decode(batch.ids[row][batch.real[row]]) == rendered


def test_padding_does_not_change_the_loss() -> None:
    """A conversation's loss is the same alone and beside a longer one."""
    model, tokenizer = _load(FOLDERS[1])
    examples = encode(list(generate(6, 8)), tokenizer, 1024)
    short, *_, long = sorted(examples, key=lambda example: len(example.ids))
    alone = held_out_loss(model, [pad([short], 0)])["assistant"] * sum(short.spoken)
    other = held_out_loss(model, [pad([long], 0)])["assistant"] * sum(long.spoken)
    both = held_out_loss(model, [pad([short, long], 0)])["assistant"]
    assert both == pytest.approx((alone + other) / sum(short.spoken + long.spoken), rel=1e-5)


def test_shipped_sizes() -> None:
    """Four folders of at most 1.5 MB each, below 6 MB in all, as the record says."""
    sizes = [sum(path.stat().st_size for path in folder.iterdir()) for folder in FOLDERS]
    assert sizes == [row["bytes"] for row in RECORD["checkpoints"]]
    assert len(sizes) == 4
    assert max(sizes) <= 1_500_000
    assert sum(sizes) < 6_000_000


def test_shipped_weights_are_the_recorded_ones() -> None:
    """The shipped weights have the recorded hashes, and the record is of today's recipe."""
    for folder, row in zip(FOLDERS, RECORD["checkpoints"], strict=True):
        weights = (folder / "model.safetensors").read_bytes()
        assert hashlib.sha256(weights).hexdigest() == row["weights_sha256"]
    assert RECORD["recipe"] == json.loads(json.dumps(asdict(Recipe())))


def test_shipped_checkpoints_load_without_a_warning() -> None:
    """Each shipped folder loads in silence, as a model that ends its turn with the end token."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger("transformers").addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded = [_load(folder) for folder in FOLDERS]
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    assert [record.getMessage() for record in records] == []
    for model, tokenizer in loaded:
        assert model.generation_config.eos_token_id == tokenizer.eos_token_id
        assert model.config.max_position_embeddings == tokenizer.model_max_length == 1024


def test_shipped_checkpoints_have_learned() -> None:
    """On fresh conversations the loss falls from each checkpoint to the next, far in the end."""
    losses = [_fresh_loss(folder) for folder in FOLDERS]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 6
    assert losses[-1] < 0.3
    for loss, row in zip(losses, RECORD["checkpoints"], strict=True):
        assert loss == pytest.approx(row["held_out_loss"], rel=0.5, abs=0.1)


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("Yesterday my dog ran away.", "dog"),
        ("My sister broke my guitar. I was furious!", "guitar"),
        ("Hi, I am Rosa. I passed the music exam.", "Rosa"),
        ("I am sitting by the lake. I am at peace.", "lake"),
    ],
)
def test_last_checkpoint_reads_and_ends(text: str, needed: str) -> None:
    """The last checkpoint's reply takes up the user's word and ends its turn by itself."""
    model, tokenizer = _load(FOLDERS[-1])
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    mask = torch.ones_like(ids)
    out = model.generate(ids, attention_mask=mask, max_new_tokens=50, do_sample=False)
    reply = tokenizer.decode(out[0, ids.shape[1] :])
    assert needed in reply
    assert reply.endswith(END)
