"""The microscope of the workflow: each part finds what it needs, runs or a model, and writes its index."""

from __future__ import annotations

from pathlib import Path

from stratascope.store.commit import write_json
from stratascope.study.looks import LookJob
from stratascope.study.microscope import Induction


def look(job: LookJob, runs: Path, target: Path) -> None:
    """Make the job's index ``target``; ``runs`` is the folder that holds the runs.

    Each part imports what it needs: most of them need no model, and no torch.
    """
    if job.part in ("lens", "residual"):
        _read_out(job, runs, target)
    elif job.part == "induction":
        _try_heads(job, target)
    else:
        _look_at_runs(job, runs, target)


def _look_at_runs(job: LookJob, runs: Path, target: Path) -> None:
    from stratascope.analyses.microscope import draw_runs, look_at_runs

    if job.part == "heatmaps":
        draw_runs(job, runs, target)
    else:
        look_at_runs(job, runs, target)


def _read_out(job: LookJob, runs: Path, target: Path) -> None:
    """The parts that need the end of the model, too."""
    from stratascope.analyses.looks import look as read_out
    from stratascope.analyses.readout import End
    from stratascope.capture.vocabulary import vocabulary_of
    from stratascope.capture.weights import open_weights

    end = End.of(*open_weights(job.checkpoint))
    read_out(job, runs, end, vocabulary_of(job.checkpoint).text, target)


def _try_heads(job: LookJob, target: Path) -> None:
    """The part that runs the model on random tokens; on one thread, so that its bytes are the same."""
    import torch

    from stratascope.api.heads import detect_heads
    from stratascope.api.model import Model
    from stratascope.capture.loading import load

    assert isinstance(job.spec, Induction)
    torch.set_num_threads(1)
    loaded = load(job.checkpoint)
    found = detect_heads(
        Model(loaded.model, loaded.tokenizer, job.checkpoint),
        layers=job.spec.layers,
        sequences=job.spec.sequences,
        length=job.spec.length,
        seed=job.spec.seed,
    )
    rows = [{"checkpoint": job.checkpoint.name, **row} for row in found.rows()]
    write_json(target, {"checkpoint": job.checkpoint.name, "digest": job.digest, "rows": rows})
