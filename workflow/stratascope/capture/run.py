"""One run, or one set of references, from a loaded checkpoint into a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from stratascope.capture import prompts
from stratascope.capture.describe import (
    describe_environment,
    describe_model,
    describe_scenario,
    describe_tokenizer,
)
from stratascope.capture.generation import Step, check_generates, generate, reads_head
from stratascope.capture.gradients import capture_gradients, check_gradients, gradient_specs
from stratascope.capture.loading import Loaded
from stratascope.capture.recorder import record
from stratascope.capture.sites import (
    Tap,
    capture_taps,
    resolve_layers,
    unknown_architecture,
)
from stratascope.capture.snapshots import take_references, take_snapshots
from stratascope.capture.writer import ActivationWriter
from stratascope.store.hashes import recorded
from stratascope.store.runs import GRADIENTS, SOURCES
from stratascope.store.tensors import DTYPES, TensorFile, TensorSpec, bytes_of
from stratascope.study.digest import digest
from stratascope.study.estimate.disk import listing_bytes, reference_set_bytes, state_bytes
from stratascope.study.runs import ReferenceSet, Run
from stratascope.study.schema import Message
from stratascope.study.stages import version

RUN_FORMAT = "stratascope-run-1"
REFERENCES_FORMAT = "stratascope-references-1"
ACTIVATIONS = "activations.safetensors"
SNAPSHOTS = "snapshots.safetensors"
REFERENCES = "references.safetensors"

# Called after each forward pass of a generation: passes done, passes at most.
Progress = Callable[[int, int], None]


def prefix_name(messages: Sequence[Message]) -> str:
    """What identifies a conversation prefix by its content: the same in every run that has it."""
    return digest([message.model_dump(mode="json") for message in messages])


def _prompt(loaded: Loaded, run: Run) -> prompts.Tokens:
    tokens = prompts.tokenize(loaded.tokenizer, prompts.render(loaded.tokenizer, run.messages))
    prompts.check_context(len(tokens.ids), run.generation.max_new_tokens, loaded.context)
    return tokens


def _taps(loaded: Loaded, run: Run) -> tuple[list[int], list[Tap]]:
    check_generates(loaded)
    layers = resolve_layers(run.capture.layers, loaded.layers)
    taps = capture_taps(loaded.model, loaded.family, run.capture, layers)
    check_gradients(loaded, run, taps)
    return layers, taps


def _learn_widths(loaded: Loaded, taps: Sequence[Tap], token: int) -> None:
    """Fill ``loaded.widths`` by a forward pass of one token; works for any module."""
    unknown = [tap for tap in taps if tap.names[0] not in loaded.widths]
    if not unknown:
        return

    def note(names: tuple[str, ...], tensor: torch.Tensor) -> None:
        # (tokens, width), or (heads, tokens, context): what is not counted in tokens.
        width = tensor.shape[-1] if tensor.ndim == 2 else tensor.shape[0]
        loaded.widths.update(dict.fromkeys(names, width))

    with torch.inference_mode(), record(loaded.model, unknown, note) as recording:
        loaded.model(input_ids=torch.tensor([[token]], device=loaded.device), use_cache=False)
        recording.check_pass(1)


def _specs(
    loaded: Loaded, run: Run, taps: Sequence[Tap], prompt: Sequence[int]
) -> dict[str, TensorSpec]:
    """Every tensor of a run at its largest: the last token generated is not fed back."""
    _learn_widths(loaded, taps, prompt[0])
    dtype = DTYPES[run.capture.store_dtype]
    tokens = len(prompt) + run.generation.max_new_tokens - 1
    specs = {}
    for tap in taps:
        for name in tap.names:
            width = loaded.widths[name]
            if tap.where == "weights":
                specs[name] = TensorSpec(dtype, (width, tokens, tokens), (1, 2))
            else:
                specs[name] = TensorSpec(dtype, (tokens, width))
    return specs


def plan_bytes(loaded: Loaded, run: Run) -> int:
    """How many bytes the folder of ``run`` takes at most, JSON files included.

    Raises:
        StratascopeError: what ``capture_run`` would refuse before it starts.
    """
    layers, taps = _taps(loaded, run)
    prompt = _prompt(loaded, run).ids
    specs = _specs(loaded, run, taps, prompt)
    capture, new, messages = run.capture, run.generation.max_new_tokens, len(run.messages)
    hidden, positions = int(loaded.config.hidden_size), len(capture.snapshot_positions)
    vectors = state_bytes(hidden, positions, len(layers), messages)
    text = listing_bytes(len(specs), capture.top_k_probs, len(prompt), new, messages)
    gradients = gradient_specs(run, specs, len(prompt))
    return bytes_of(specs) + bytes_of(gradients) + vectors + text


def reference_bytes(loaded: Loaded, references: ReferenceSet) -> int:
    """How many bytes the folder of ``references`` takes at most.

    Raises:
        StratascopeError: layers that the model does not have.
    """
    layers = resolve_layers(references.layers, loaded.layers)
    hidden, positions = int(loaded.config.hidden_size), len(references.positions)
    characters = sum(len(m.content) for r in references.references for m in r.messages)
    rows = len(references.references)
    return reference_set_bytes(hidden, positions, len(layers), rows, characters)


def capture_run(loaded: Loaded, run: Run, folder: Path, progress: Progress | None = None) -> None:
    """Capture ``run`` into the existing, empty ``folder``.

    Leaves ``activations.safetensors``, ``gradients.safetensors`` if it is asked for,
    ``snapshots.safetensors``, ``steps.json`` and ``run.json`` (last). After an error the folder holds
    no activations or no gradients, and is to be removed.

    Raises:
        StratascopeError: layers, modules or an architecture that do not go together, a prompt that
            is too long or that the template refuses, values that are not finite.
    """
    layers, taps = _taps(loaded, run)
    prompt = _prompt(loaded, run)
    specs = _specs(loaded, run, taps, prompt.ids)
    with TensorFile(folder / ACTIVATIONS, specs) as file:
        generated, rows = _generate(loaded, run, taps, prompt.ids, file, folder, progress)
        file.finish(rows)
    gradients = capture_gradients(loaded, run, taps, prompt.ids, generated, folder / GRADIENTS)
    snapshots = take_snapshots(
        loaded, run.messages, layers, run.capture.snapshot_positions, prefix_name
    )
    _save_states(folder / SNAPSHOTS, snapshots.states)
    summary = {
        "format": RUN_FORMAT,
        "label": run.label,
        "digest": run.digest,
        "stage": {"name": "capture", "version": version("capture")},
        "parent": run.parent,
        "scenario": describe_scenario(run),
        "model": describe_model(loaded),
        "tokenizer": describe_tokenizer(loaded),
        "prompt_token_ids": prompt.ids,
        "prompt_tokens": loaded.show(prompt.ids),
        "generated_token_ids": generated,
        "generated_text": loaded.tokenizer.decode(generated, skip_special_tokens=True),
        "layers": layers,
        "rows": {"prompt": len(prompt.ids), "total": rows},
        "snapshots": snapshots.summary,
        **({"gradients": gradients} if gradients else {}),
        "files": recorded(folder.iterdir(), folder),
        "env": describe_environment(loaded),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _write_json(folder / "run.json", summary)


def _generate(
    loaded: Loaded,
    run: Run,
    taps: Sequence[Tap],
    prompt: Sequence[int],
    file: TensorFile,
    folder: Path,
    progress: Progress | None,
) -> tuple[list[int], int]:
    """Generate and record; returns the generated tokens and the rows written."""
    steps = generate(
        loaded,
        prompt,
        run.generation,
        top_k_probs=run.capture.top_k_probs,
        all_logits=reads_head(loaded.model, taps),
    )
    dtype = getattr(torch, run.capture.store_dtype)
    generated: list[int] = []
    rows = 0
    with (
        (folder / "steps.json").open("w", encoding="utf-8") as listing,
        ActivationWriter(file, dtype, loaded.device) as writer,
        record(loaded.model, taps, writer) as recording,
    ):
        listing.write('{"steps": [')
        for step in steps:
            recording.check_pass(len(step.input_ids))
            generated.append(step.generated)
            rows = step.stop
            writer.step += 1
            # A line a step, written at once: a long run's list is never held in memory.
            listing.write(",\n" if step.number else "\n")
            listing.write(_json(_step_record(loaded, step, file.specs, run.capture.store_dtype)))
            if progress is not None:
                progress(step.number + 1, run.generation.max_new_tokens)
        listing.write("\n]}\n")
        writer.drain()
    return generated, rows


def _step_record(
    loaded: Loaded, step: Step, specs: Mapping[str, TensorSpec], dtype: str
) -> dict[str, object]:
    tokens = loaded.show([step.generated, *(choice.id for choice in step.top)])
    rows = len(step.input_ids)
    return {
        "step": step.number,
        "kind": step.kind,
        "seq_len": step.stop,
        "rows": [step.start, step.stop],
        "input_token_ids": step.input_ids,
        "input_tokens": loaded.show(step.input_ids),
        "generated_token_id": step.generated,
        "generated_token": tokens[0],
        "logit_argmax_id": step.argmax,
        "logit_argmax_logprob": step.logprob,
        "entropy": step.entropy,
        "top_k": [
            {"id": choice.id, "token": token, "logprob": choice.logprob}
            for choice, token in zip(step.top, tokens[1:], strict=True)
        ],
        "tensors_file": ACTIVATIONS,
        "tensor_index": {
            name: {
                "shape": [rows, spec.shape[1]]
                if spec.token_axes == (0,)
                else [spec.shape[0], rows, step.stop],
                "dtype": dtype,
            }
            for name, spec in specs.items()
        },
    }


def capture_references(loaded: Loaded, references: ReferenceSet, folder: Path) -> None:
    """Capture a reference set into the existing, empty ``folder``.

    Leaves ``references.safetensors`` and ``references.json`` (last).

    Raises:
        StratascopeError: as for ``capture_run``; a reference without one of its positions.
    """
    if loaded.family is None:
        raise unknown_architecture(loaded.model)
    layers = resolve_layers(references.layers, loaded.layers)
    taken = take_references(
        loaded,
        [reference.label for reference in references.references],
        [reference.messages for reference in references.references],
        layers,
        references.positions,
    )
    _save_states(folder / REFERENCES, taken.states)
    summary = {
        "format": REFERENCES_FORMAT,
        "digest": references.digest,
        "stage": {"name": "capture", "version": version("capture")},
        "model": describe_model(loaded),
        "layers": layers,
        "sources": list(SOURCES),
        **taken.summary,
        "files": recorded(folder.iterdir(), folder),
        "env": describe_environment(loaded),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _write_json(folder / "references.json", summary)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _save_states(path: Path, states: Mapping[str, NDArray[np.float32]]) -> None:
    # Not safetensors' save_file: it makes files that only their owner can read.
    path.write_bytes(save(dict(states)))


def _write_json(path: Path, value: object) -> None:
    path.write_text(_json(value) + "\n", encoding="utf-8")
