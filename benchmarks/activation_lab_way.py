"""What Activation Lab does to capture a scenario, written anew from its description.

The model runs in eager attention throughout; forward hooks move each tensor to the CPU; each forward
pass leaves one compressed NPZ file; then each message of the conversation and each reference costs a
forward pass of its own, and leaves a compressed NPZ file with its last token's states.

    python benchmarks/activation_lab_way.py SCENARIO.yaml OUT MODEL_FOLDER...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

Chat = Sequence[Mapping[str, str]]
Kept = dict[str, torch.Tensor]

SOURCES = ("hidden_in", "hidden_out", "attn_out", "mlp_down_out")
# Where a Llama computes each site: the module inside a layer, and whether its input is meant.
SITES: dict[str, tuple[str, bool]] = {
    "hidden_in": ("", True),
    "q": ("self_attn.q_proj", False),
    "k": ("self_attn.k_proj", False),
    "v": ("self_attn.v_proj", False),
    "attn_out": ("self_attn", False),
    "mlp_gate": ("mlp.gate_proj", False),
    "mlp_up": ("mlp.up_proj", False),
    "mlp_act": ("mlp.down_proj", True),
    "mlp_down_in": ("mlp.down_proj", True),
    "mlp_down_out": ("mlp", False),
    "hidden_out": ("", False),
}


@dataclass(frozen=True)
class Work:
    """What to capture; everything goes to the disk in float16."""

    messages: Chat
    passes: int
    references: Mapping[str, Chat] = field(default_factory=dict)
    attention_weights: bool = True
    logits: bool = True
    top_k: int = 20


def capture(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, work: Work, folder: Path
) -> list[int]:
    """Capture ``work`` into the empty ``folder``; returns the generated tokens."""
    prompt = _tokens(tokenizer, work.messages)
    generated, steps = _generate(model, tokenizer, prompt, work, folder / "tensors")
    names = tokenizer.convert_ids_to_tokens(prompt)
    info = {"prompt_token_ids": prompt, "prompt_tokens": names, "generated_token_ids": generated}
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    (folder / "steps.json").write_text(json.dumps({"steps": steps}), encoding="utf-8")
    for i, message in enumerate(work.messages):
        name = f"conversation_snapshots/snapshot_{i:02d}_{message['role']}.npz"
        _save(folder / name, last_states(model, _tokens(tokenizer, work.messages[: i + 1])))
    for label, messages in work.references.items():
        path = folder / "references" / f"ref_{label}.npz"
        _save(path, last_states(model, _tokens(tokenizer, messages)))
    return generated


def last_states(model: nn.Module, ids: Sequence[int]) -> Kept:
    """One forward pass: each layer's four sources at the last token, (hidden,)."""
    with torch.inference_mode(), _hooks(model, SOURCES) as kept:
        model(input_ids=torch.tensor([ids]), use_cache=False)
    return {name: tensor[0, -1] for name, tensor in kept.items() if "/" in name}


def read_run(folder: Path, passes: int) -> dict[str, list[np.ndarray]]:
    """Each tensor's steps, as ``capture`` left them."""
    steps: dict[str, list[np.ndarray]] = {}
    for step in range(passes):
        with np.load(folder / "tensors" / f"step_{step:03d}.npz") as arrays:
            for name in arrays.files:
                steps.setdefault(name, []).append(arrays[name])
    return steps


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[int],
    work: Work,
    folder: Path,
) -> tuple[list[int], list[dict[str, Any]]]:
    generated: list[int] = []
    steps: list[dict[str, Any]] = []
    ids, cache = prompt, None
    for number in range(work.passes):
        with torch.inference_mode(), _hooks(model, tuple(SITES)) as kept:
            output = model(
                input_ids=torch.tensor([ids]),
                past_key_values=cache,
                use_cache=True,
                output_attentions=work.attention_weights,
            )
        if work.attention_weights:
            weights = enumerate(output.attentions)
            kept |= {f"layer_{i:02d}/attn_weights": tensor.cpu() for i, tensor in weights}
        if work.logits:
            kept["logits"] = output.logits.cpu()
        arrays = _save(folder / f"step_{number:03d}.npz", kept)
        cache = output.past_key_values
        generated.append(int(output.logits[0, -1].argmax()))
        steps.append(_step(tokenizer, number, ids, output.logits[0, -1], arrays, work.top_k))
        if generated[-1] == tokenizer.eos_token_id:
            break
        ids = generated[-1:]
    return generated, steps


def _step(
    tokenizer: PreTrainedTokenizerBase,
    number: int,
    ids: list[int],
    logits: torch.Tensor,
    arrays: Mapping[str, np.ndarray],
    top_k: int,
) -> dict[str, Any]:
    values, best = torch.log_softmax(logits.float(), -1).topk(top_k)
    choices = zip(best.tolist(), values.tolist(), strict=True)
    return {
        "step": number,
        "kind": "decode" if number else "prefill",
        "input_token_ids": ids,
        "input_tokens": [tokenizer.decode([i]) for i in ids],
        "generated_token_id": int(best[0]),
        "top_k": [{"id": i, "token": tokenizer.decode([i]), "logprob": p} for i, p in choices],
        "tensors_file": f"tensors/step_{number:03d}.npz",
        "tensor_index": {
            name: {"shape": array.shape, "dtype": str(array.dtype)}
            for name, array in arrays.items()
        },
    }


@contextmanager
def _hooks(model: nn.Module, sites: Sequence[str]) -> Iterator[Kept]:
    """Keep the tensors of ``sites``, and the embeddings, of the passes inside the block."""
    kept: Kept = {}
    base: Any = getattr(model, "model", model)
    handles = [base.embed_tokens.register_forward_hook(_keeper(kept, "embeddings", False))]
    for number, layer in enumerate(base.layers):
        for site in sites:
            path, is_input = SITES[site]
            keep = _keeper(kept, f"layer_{number:02d}/{site}", is_input)
            handles.append(layer.get_submodule(path).register_forward_hook(keep))
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _keeper(kept: Kept, name: str, is_input: bool) -> Callable[[nn.Module, Any, Any], None]:
    def keep(_: nn.Module, args: Any, output: Any) -> None:
        value = args if is_input else output
        kept[name] = (value[0] if isinstance(value, tuple) else value).detach().to("cpu")

    return keep


def _save(path: Path, tensors: Kept) -> dict[str, np.ndarray]:
    arrays = {name: tensor.to(torch.float16).numpy() for name, tensor in tensors.items()}
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # names are no options
    return arrays


def _tokens(tokenizer: PreTrainedTokenizerBase, messages: Chat) -> list[int]:
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def main(scenario: Path, out: Path, *models: Path) -> None:
    """Capture a scenario file on each model, into ``<out>/<model's name>``."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parsed = yaml.safe_load(scenario.read_text(encoding="utf-8"))
    work = Work(
        messages=parsed["prompt"]["messages"],
        passes=parsed["generation"]["max_new_tokens"],
        references={item["label"]: item["messages"] for item in parsed["reference_states"]},
    )
    for path in models:
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype="float32", attn_implementation="eager"
        )
        folder = out / path.name
        folder.mkdir()
        capture(model.eval(), AutoTokenizer.from_pretrained(path), work, folder)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
