"""The README beside the checkpoints, from `record.json` and from what the checkpoints really say.

`python -m stratascope.demo.readme models/demo` writes it again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

# Conversations whose replies are shown; each is the user's turns, the model answers between.
SAMPLES: tuple[tuple[str, ...], ...] = (
    ("My dog ran away. I cried all night.",),
    ('My brother said, "You are lazy." I slammed the door!',),
    ("I do not feel afraid any more. The rain is falling softly on the roof.",),
    ("Hello! My name is Nora. My sisters gave me a violin. Can you believe it?",
     "But now I am sad because my friend Tom is moving away to the city. What should I do?",
     "I feel calm. Do you remember my name?"),
    ("I am so excited about the party tomorrow, my best friend will come!",),
)  # fmt: skip
MAX_NEW_TOKENS = 40

_TEXT = """\
# The demo checkpoints

One small chat model at {count} moments of one training run, made by this project from nothing but
its own grammar of conversations (`workflow/stratascope/demo/`). They exist so that the embedded
study has something true to look at: a model that learns to tell feelings apart.

Made with

    stratascope train-demo --out models/demo

in {seconds:.0f} seconds of wall time on {threads} CPU threads, shared with whatever else the
machine did. `record.json` holds the recipe, the measurements, the hashes of the weights and the
library versions; this page is written from it, and from the checkpoints' own replies, by
`python -m stratascope.demo.readme models/demo`.

## The model

A Llama (`LlamaForCausalLM`): {layers} layers, hidden size {hidden_size}, {heads} attention heads on
{key_value_heads} key-value heads, MLP width {intermediate_size}, tied embeddings, {parameters:,}
parameters, saved as float16; load it with `dtype=torch.float32` on a CPU. Byte-level BPE with
{vocab_size} tokens, so no text is unknown; `<|system|>`, `<|user|>`, `<|assistant|>` open a
message and `<|end|>` closes it. There is no BOS. Up to {max_length} tokens.

Trained with AdamW for {steps} steps of at most {batch_tokens} tokens, every conversation seen
once, an assistant's token with weight 1 and any other with weight {user_weight}.

## What was measured

Held-out: {held_out_conversations} conversations of another seed. Loss in nats a token of the
assistant's messages, measured on the rounded weights as they are shipped.

| checkpoint | held-out loss | perplexity | loss of all tokens | bytes |
|---|---|---|---|---|
{rows}

The last loss of all tokens stays high, as it must: what a user says next is chance.

## What they say

The same prompts, greedy, at most {max_new_tokens} tokens; `...` marks a reply that did not end by
itself. In longer conversations each checkpoint goes on from its own replies.

{samples}

## Limits

- The world is tiny (some 900 words: people, pets, exams, letters, rain, eight feelings). It reads
  sentences built like those it learned from; to others it still answers in its own world's terms,
  often beside the point, and sometimes in broken words.
- It may tell the past for the present, or mistake who "him" or "her" is.
- It repeats what it reads more than it understands it; it is a specimen, not an assistant.
- It was trained on conversations of at most {max_length} tokens, most of them of one to seven
  exchanges.
- Runs with the same seed, threads and library versions end in the same bytes on one machine, as
  `tests/demo` checks on short runs; another machine or another version may round otherwise.

## Licence

Made by this project, texts and weights alike, without any outside data; the project's licence
holds for them.
"""


def _reply(model: Any, tokenizer: Any, messages: list[dict[str, str]]) -> str:
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
    )[0, ids.shape[1] :]
    ended = out[-1] == tokenizer.eos_token_id
    text: str = tokenizer.decode(out, skip_special_tokens=True)
    return text if ended else f"{text}..."


def _code(text: str) -> str:
    """Inline code that any text fits into, on one line of a Markdown list."""
    return "`` " + " ".join(text.replace("``", "''").split()) + " ``"


def _conversation(models: dict[str, tuple[Any, Any]], turns: tuple[str, ...]) -> str:
    told: dict[str, list[dict[str, str]]] = {name: [] for name in models}
    lines = []
    for turn in turns:
        lines.append(f"**{turn}**\n")
        for name, (model, tokenizer) in models.items():
            told[name].append({"role": "user", "content": turn})
            reply = _reply(model, tokenizer, told[name])
            told[name].append({"role": "assistant", "content": reply})
            lines.append(f"- {name}: {_code(reply)}")
        lines.append("")
    return "\n".join(lines)


def readme(folder: Path) -> str:
    """The README's text for the checkpoints and the record in `folder`."""
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    models = {
        row["folder"]: (
            AutoModelForCausalLM.from_pretrained(folder / row["folder"], dtype=torch.float32),
            AutoTokenizer.from_pretrained(folder / row["folder"]),
        )
        for row in record["checkpoints"]
    }
    rows = "\n".join(
        f"| `{row['folder']}` | {row['held_out_loss']:.3f} | {row['held_out_perplexity']:.2f} "
        f"| {row['held_out_loss_all_tokens']:.3f} | {row['bytes']:,} |"
        for row in record["checkpoints"]
    )
    return _TEXT.format(
        **record["recipe"],
        count=len(models),
        seconds=record["seconds"],
        parameters=record["parameters"],
        rows=rows,
        max_new_tokens=MAX_NEW_TOKENS,
        samples="\n".join(_conversation(models, turns) for turns in SAMPLES).rstrip(),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    (target / "README.md").write_text(readme(target), encoding="utf-8")
