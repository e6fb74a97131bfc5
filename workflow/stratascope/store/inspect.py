"""A captured run in a few lines of text and a row a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from stratascope.store.runs import RunFolder
from stratascope.store.traces import LAYER, Trace


def describe(run: RunFolder) -> str:
    """What the run is: model, prompt, generation, tensors, size."""
    info, arch = run.info, run.info["model"]["arch"]
    size = sum(path.stat().st_size for path in run.path.iterdir())
    snapshots = info["snapshots"]
    lines = [
        f"run         {info['label']}  ({info['digest']})",
        f"model       {info['model']['id']}  {arch['family']}, {arch['num_layers']} layers, "
        f"{arch['hidden_size']} wide, {arch['num_attention_heads']} heads",
        f"layers      {_ranges(info['layers'])}",
        f"tokens      {info['rows']['prompt']} of prompt, {len(info['generated_token_ids'])} generated",
        f"snapshots   {len(snapshots['messages'])} messages, {snapshots['method']}: "
        f"{', '.join(snapshots['positions'])}",
        f"tensors     {len(run.activations.entries)} in {size / 1e6:.1f} MB",
        f"sites       {', '.join(_sites(run))}",
        *_gradients(run),
        f"captured    {info['created_at']} with torch {info['env']['torch']} on {info['env']['device']}",
        f"generated   {info['generated_text']!r}",
    ]
    return "\n".join(lines) + "\n"


def step_rows(run: RunFolder) -> list[dict[str, Any]]:
    """One row a forward pass: what went in, what came out, how sure."""
    return [
        {
            "step": step["step"],
            "kind": step["kind"],
            "tokens": len(step["input_token_ids"]),
            "context": step["seq_len"],
            "generated": repr(step["generated_token"]),
            "logprob": step["logit_argmax_logprob"],
            "entropy": step["entropy"],
        }
        for step in run.steps
    ]


def describe_trace(trace: Trace) -> str:
    """What a sequence is that left no run folder: model, tokens, tensors."""
    written = len(trace.generated)
    lines = [
        f"sequence    {trace.label}",
        f"model       {trace.model or 'not known'}",
        f"layers      {_ranges(trace.layers)}",
        f"tokens      {len(trace)} read in {len(trace.steps)} steps, {written} generated",
        f"sites       {', '.join(trace.sites)}",
    ]
    return "\n".join(lines) + "\n"


def pass_rows(trace: Trace) -> list[dict[str, Any]]:
    """One row a forward pass, as `step_rows`; how sure it was where logits were recorded."""
    logits = trace.tensor("logits") if "logits" in trace.read else None
    rows = []
    for step, read in enumerate(trace.steps):
        follows = read.stop < len(trace)
        rows.append(
            {
                "step": step,
                "kind": "decode" if step else "prefill",
                "tokens": len(read),
                "context": read.stop,
                "generated": repr(trace.tokens[read.stop]) if follows else None,
                **_sureness(None if logits is None else logits[read.stop - 1]),
            }
        )
    return rows


def tensor_rows(trace: Trace) -> list[dict[str, Any]]:
    """One row a tensor: ``layer`` (none of those of the whole model), ``site``, ``shape``.

    (rows, width): a row a token; attention weights are (heads, rows, rows).
    """
    rows = []
    for name in trace.read:
        found = LAYER.fullmatch(name)
        layer, site = (int(found[1]), found[2]) if found else (None, name)
        rows.append({"layer": layer, "site": site, "shape": list(trace.tensor(name).shape)})
    return rows


def _sureness(logits: np.ndarray | None) -> dict[str, float | None]:
    """Log-probability of the likeliest token and entropy of all, in nats."""
    if logits is None:
        return {"logprob": None, "entropy": None}
    x = logits.astype(np.float64)
    logs = x - x.max() - np.log(np.exp(x - x.max()).sum())
    return {"logprob": float(logs.max()), "entropy": float(-(np.exp(logs) * logs).sum())}


def _sites(run: RunFolder) -> list[str]:
    """The kinds of tensors in the run's file."""
    names = (name.partition("/")[2] or name for name in run.activations.entries)
    return list(dict.fromkeys(names))


def _gradients(run: RunFolder) -> list[str]:
    if run.gradients is None:
        return []
    asked = run.info["gradients"]
    what = "what was generated" if asked["token"] is None else f"{asked['token']!r} next"
    return [
        f"gradients   of the log-probability of {what}, {asked['value']:.4f}: "
        f"{len(run.gradients.entries)} tensors, {asked['rows']} rows"
    ]


def _ranges(numbers: list[int]) -> str:
    """``[0, 1, 2, 5]`` as ``0-2, 5``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts) or "none"
