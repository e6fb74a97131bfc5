"""The recipe of the embedded checkpoints: one training run, saved at four moments.

A Llama of six layers learns the grammar's conversations from random weights, on a CPU, in
minutes. Each moment is an ordinary Hugging Face folder `step-N`; `record.json` holds what was
measured. Every conversation is seen once: the grammar does not run dry.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import platform
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from stratascope.demo.batches import Batch, encode, group, stream
from stratascope.demo.grammar import generate
from stratascope.demo.tokenizer import train_tokenizer
from stratascope.errors import StratascopeError

RECORD_FORMAT = 1
HELD_OUT_SEED_STEP = 1_000_003  # seed + this: conversations that training never draws
FOLDER_LIMIT = 1_500_000  # bytes, so that the four stay small in git


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the checkpoints, together with the library versions."""

    seed: int = 7
    threads: int = 2
    steps: int = 1600
    saved: tuple[float, ...] = (0.0, 0.05, 0.25, 1.0)  # moments, as fractions of the steps
    vocab_size: int = 1200
    tokenizer_conversations: int = 4000
    hidden_size: int = 96
    layers: int = 6
    heads: int = 4
    key_value_heads: int = 2
    intermediate_size: int = 240
    max_length: int = 1024  # tokens
    batch_tokens: int = 2048
    learning_rate: float = 4e-3
    warm_up: float = 0.03  # fraction of the steps
    weight_decay: float = 0.05
    user_weight: float = 0.3  # weight of a user's or system's token in the loss; assistant's is 1
    held_out_conversations: int = 150

    @property
    def moments(self) -> tuple[int, ...]:
        """The steps after which a checkpoint is saved, without repeats."""
        return tuple(sorted({round(part * self.steps) for part in self.saved}))


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """The untrained model; its random weights follow from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        max_position_embeddings=recipe.max_length,
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,
    )
    return LlamaForCausalLM(config)


def token_losses(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Negative log likelihood in nats of each token after the first, (rows, tokens - 1).

    No attention mask: padding lies to the right, and attention is causal.
    """
    logits = model(input_ids=batch.ids, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), batch.ids[:, 1:], reduction="none"
    )


def held_out_loss(model: LlamaForCausalLM, batches: Iterable[Batch]) -> dict[str, float]:
    """Mean negative log likelihood in nats a token: of the assistant's tokens, and of all."""
    spoken = real = 0.0
    spoken_count = real_count = 0
    with torch.inference_mode():
        for batch in batches:
            losses = token_losses(model, batch).double()
            is_spoken, is_real = batch.spoken[:, 1:], batch.real[:, 1:]
            spoken += float(losses[is_spoken].sum())
            real += float(losses[is_real].sum())
            spoken_count += int(is_spoken.sum())
            real_count += int(is_real.sum())
    return {"assistant": spoken / spoken_count, "all": real / real_count}


def _rate(step: int, recipe: Recipe) -> float:
    """Warm-up, then half a cosine down to a twentieth."""
    warm_up = max(1, round(recipe.warm_up * recipe.steps))
    if step < warm_up:
        return recipe.learning_rate * (step + 1) / warm_up
    done = (step - warm_up) / max(1, recipe.steps - warm_up)
    return recipe.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def _optimizer(model: LlamaForCausalLM, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that decays matrices only, not the norms' weights."""
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    vectors = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))


def _train(
    model: LlamaForCausalLM, batches: Iterator[Batch], recipe: Recipe
) -> Iterator[tuple[int, float]]:
    """Train; yields (steps done, mean loss of the assistant's tokens in the last batch)."""
    optimizer = _optimizer(model, recipe)
    for step in range(recipe.steps):
        batch = next(batches)
        for settings in optimizer.param_groups:
            settings["lr"] = _rate(step, recipe)
        losses = token_losses(model, batch)
        weights = torch.where(batch.spoken, 1.0, recipe.user_weight) * batch.real
        loss = (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield step + 1, float(losses.detach()[batch.spoken[:, 1:]].mean())


def _save(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> LlamaForCausalLM:
    """Save as float16 under a temporary name, then rename; returns the rounded model."""
    rounded = copy.deepcopy(model).half()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".saving-") as temporary:
        target = Path(temporary) / folder.name
        rounded.save_pretrained(target)
        tokenizer.save_pretrained(target)
        size = sum(path.stat().st_size for path in target.iterdir())
        if size > FOLDER_LIMIT:
            raise StratascopeError(
                f"{folder.name} takes {size} bytes; at most {FOLDER_LIMIT} are allowed: "
                "choose a smaller hidden_size, intermediate_size or vocab_size"
            )
        shutil.rmtree(folder, ignore_errors=True)
        target.rename(folder)
    return rounded.float()


def _moment(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    held_out: list[Batch],
    folder: Path,
    recent: list[float],
) -> dict[str, Any]:
    """Save one moment, and the row of `record.json` about it."""
    rounded = _save(model, tokenizer, folder)
    loss = held_out_loss(rounded.eval(), held_out)
    weights = (folder / "model.safetensors").read_bytes()
    return {
        "folder": folder.name,
        "train_loss": sum(recent) / len(recent) if recent else None,
        "held_out_loss": loss["assistant"],
        "held_out_perplexity": math.exp(loss["assistant"]),
        "held_out_loss_all_tokens": loss["all"],
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }


def run_recipe(
    out: Path, recipe: Recipe, progress: Callable[[str], object] = print
) -> list[dict[str, Any]]:
    """Train as the recipe says and write the checkpoints and `record.json` below `out`.

    Returns one row a saved moment: step, folder, losses in nats a token, perplexity, bytes, hash.
    """
    if recipe.steps < 1 or recipe.threads < 1:
        raise StratascopeError(
            f"steps is {recipe.steps} and threads {recipe.threads}; both must be 1 or more"
        )
    if out.exists() and not out.is_dir():
        raise StratascopeError(f"{out} is a file; name a folder for the checkpoints")
    threads_before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        return _run(out, recipe, progress)
    finally:
        torch.set_num_threads(threads_before)


def _run(out: Path, recipe: Recipe, progress: Callable[[str], object]) -> list[dict[str, Any]]:
    begun = time.perf_counter()
    transformers.utils.logging.disable_progress_bar()  # `progress` tells what is worth telling
    sample = generate(recipe.seed, recipe.tokenizer_conversations)
    tokenizer = train_tokenizer(
        (message.content for talk in sample for message in talk.messages),
        recipe.vocab_size,
        recipe.max_length,
    )
    model = build_model(recipe, tokenizer)
    others = list(generate(recipe.seed + HELD_OUT_SEED_STEP, recipe.held_out_conversations))
    held_out = group(
        encode(others, tokenizer, recipe.max_length), tokenizer.pad_token_id, recipe.batch_tokens
    )
    batches = stream(
        generate(recipe.seed, recipe.steps * recipe.batch_tokens),  # far more than are drawn
        tokenizer,
        recipe.max_length,
        recipe.batch_tokens,
        random.Random(recipe.seed),  # noqa: S311 - repeatable, not secret
    )
    rows: list[dict[str, Any]] = []
    recent: list[float] = []

    def save(step: int) -> None:
        folder = out / f"step-{step}"
        rows.append({"step": step, **_moment(model, tokenizer, held_out, folder, recent[-50:])})
        seconds = time.perf_counter() - begun
        progress(f"step {step}: held-out loss {rows[-1]['held_out_loss']:.3f} ({seconds:.0f} s)")

    save(0)
    for step, loss in _train(model, batches, recipe):
        recent.append(loss)
        if step % 200 == 0:
            progress(f"step {step}: training loss {sum(recent[-50:]) / len(recent[-50:]):.3f}")
        if step in recipe.moments:
            save(step)
    record = {
        "format": RECORD_FORMAT,
        "recipe": asdict(recipe),
        "parameters": model.num_parameters(),
        "checkpoints": rows,
        "seconds": round(time.perf_counter() - begun, 1),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
    }
    (out / "record.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return rows


def train_demo(
    out: Path,
    seed: int = Recipe.seed,
    steps: int | None = None,
    threads: int = Recipe.threads,
    progress: Callable[[str], object] = print,
) -> list[dict[str, Any]]:
    """Make the embedded checkpoints again below `out`; `steps` shortens or lengthens the run.

    The same seed, steps, threads and library versions give the same weights on the same machine.
    Raises StratascopeError for settings or a folder that cannot work.
    """
    recipe = replace(Recipe(), seed=seed, threads=threads)
    if steps is not None:
        recipe = replace(recipe, steps=steps)
    return run_recipe(Path(out), recipe, progress)
