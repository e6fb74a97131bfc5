"""What the probes of a dataset say of every token of the study's own conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from stratascope.errors import StratascopeError
from stratascope.store.commit import write_json
from stratascope.store.probes import load_probes
from stratascope.store.runs import RunFolder, read_json, tensor_name
from stratascope.study.analyses import ReadingJob

# A label's best layer is the one with the highest of these, whichever its probe has.
BEST_BY = ("accuracy", "r2")
DIGITS = 4


def read_tokens(job: ReadingJob, probes: Path, runs: Path, target: Path) -> None:
    """Apply each label's best probe to every token of the job's runs; write the index ``target``.

    ``probes`` and ``runs`` are the folders that hold them. The probes are those fitted on all texts.
    For classes the values are probabilities, of the second one where there are two; for numbers
    they are what the probe predicts.

    Raises:
        StratascopeError: a run without the site and layer that a probe reads.
    """
    index = probes / f"{job.probes.name}.json"
    content = read_json(index)
    fitted, about = load_probes(index.with_suffix(".safetensors"))
    folders = [RunFolder.open(runs / run.folder) for run in job.runs]
    tokens = {}
    for label, described in about["labels"].items():
        best = _best(content["rows"], label)
        if best is None or best["layer"] is None:
            continue
        name = tensor_name(best["layer"], best["site"])
        tokens[label] = {
            "site": best["site"],
            "layer": best["layer"],
            "classes": described["classes"],
            "conversations": [
                _conversation(folder, name, fitted[f"{label}/{name}"], described)
                for folder in folders
            ],
        }
    write_json(
        target,
        {
            "dataset": content["dataset"],
            "checkpoint": content["checkpoint"],
            "digest": job.digest,
            "tokens": tokens,
        },
    )


def _best(rows: Sequence[dict[str, Any]], label: str) -> dict[str, Any] | None:
    judged = [row for row in rows if row["label"] == label and row["measure"] in BEST_BY]
    known = [row for row in judged if row["estimate"] is not None]
    return max(known, key=lambda row: row["estimate"], default=None)


def _conversation(
    folder: RunFolder, name: str, probe: Mapping[str, np.ndarray], described: Mapping[str, Any]
) -> dict[str, Any]:
    info = folder.info
    if name not in folder.activations:
        raise StratascopeError(
            f"{folder.path.name}: holds no {name}, which a probe reads; capture all layers and hidden_states"
        )
    states = folder.activations.float32(name).astype(np.float64)
    logits = states @ probe["weights"] + probe["bias"]
    rows = len(states)
    said = [*info["prompt_tokens"], *(step["generated_token"] for step in folder.steps)]
    return {
        "run": info["label"],
        "tokens": said[:rows],
        "prompt": info["rows"]["prompt"],
        "messages": _messages(info["snapshots"]["messages"]),
        "values": np.round(_values(logits, described), DIGITS).T.tolist(),
    }


def _values(logits: np.ndarray, described: Mapping[str, Any]) -> np.ndarray:
    if described["kind"] == "ridge":
        return logits
    return np.asarray(expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1))


def _messages(messages: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """Role, first token and the one after the last of each message's content, where known."""
    found = []
    for message in messages:
        indices = message["tokens"].get("content_mean", {}).get("indices", [])
        if indices:
            found.append([message["role"], indices[0], indices[-1] + 1])
    return found
