"""The stages of the pipeline and their versions: the one place that says when old results are stale.

A stage's version is part of the digest of everything it makes. Raise it when a change to the code
changes the bytes a stage leaves; the next ``snakemake`` then makes them again. A test records a hash
of each stage's code and fails when code changed while version and recorded hash did not: either
raise the version, or, where the bytes stay the same, record the new hash (``make stages``).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage: its version, and the modules (relative to the package) that shape its bytes."""

    version: int
    code: tuple[str, ...]


# What makes logits of the residual stream.
_READOUT = (
    "analyses/looks.py",
    "analyses/places.py",
    "analyses/readout.py",
    "capture/weights.py",
    "measure/readout.py",
    "store/traces.py",
    "store/weights.py",
    "study/readouts.py",
)

# What reads stored runs as they are.
_LOOK = ("analyses/microscope.py", "analyses/places.py", "store/traces.py")

STAGES = {
    "capture": Stage(2, ("capture", "store/tensors.py")),
    "features": Stage(1, ("capture/features", "store/datasets", "store/features.py")),
    "neurons": Stage(2, ("capture/features", "capture/neurons", "store/datasets")),
    "questions": Stage(
        1,
        (
            "capture/questions",
            "capture/generation.py",
            "capture/prompts.py",
            "study/grading.py",
            "study/questions.py",
        ),
    ),
    "probes": Stage(
        1,
        (
            "measure/probes",
            "measure/bootstrap.py",
            "analyses/probes.py",
            "analyses/texts.py",
            "store/probes.py",
        ),
    ),
    "readings": Stage(1, ("analyses/readings.py",)),
    "transfer": Stage(
        1,
        ("measure/probes", "measure/bootstrap.py", "analyses/transfer.py", "analyses/texts.py"),
    ),
    "similarity": Stage(
        1,
        (
            "measure/similarity",
            "measure/bootstrap.py",
            "analyses/similarity.py",
            "analyses/texts.py",
        ),
    ),
    "lens": Stage(1, (*_READOUT, "measure/lens.py", "analyses/lens.py", "capture/vocabulary.py")),
    "residual": Stage(1, (*_READOUT, "measure/residual.py", "analyses/residual.py")),
    "selectivity": Stage(
        1,
        (
            "measure/neurons",
            "measure/probes/nulls.py",
            "measure/multiple.py",
            "analyses/neurons.py",
            "analyses/neuron_files.py",
            "analyses/neuron_table.py",
            "analyses/texts.py",
            "store/neurons.py",
        ),
    ),
    "attention": Stage(
        1, (*_LOOK, "analyses/attention.py", "measure/attention.py", "measure/metrics.py")
    ),
    "induction": Stage(
        1, ("api/heads.py", "measure/attention.py", "measure/multiple.py", "capture/attention.py")
    ),
    "cross_layer": Stage(
        1,
        (
            *_LOOK,
            "analyses/cross_layer.py",
            "measure/depth.py",
            "measure/metrics.py",
            "measure/similarity",
        ),
    ),
    "trajectory": Stage(1, (*_LOOK, "analyses/trajectories.py")),
    "heatmaps": Stage(
        1, (*_LOOK, "analyses/heatmaps.py", "measure/pictures.py", "store/pictures.py")
    ),
    "states": Stage(1, ("store/states.py", "store/runs.py")),
    "tables": Stage(
        3,
        (
            "measure",
            "report/tables",
            "report/headline.py",
            "report/probing.py",
            "report/moving.py",
            "study/pairs.py",
        ),
    ),
    "report": Stage(4, ("report",)),
}


def version(stage: str) -> int:
    """The version of a stage by name."""
    return STAGES[stage].version
