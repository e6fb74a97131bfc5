"""One process, one model, many runs: capture what is missing, keep what is there.

Each run is committed by itself, so a killed job resumes where it was, and a scenario that fails
costs no other. Torch is imported only when something is missing.
"""

from __future__ import annotations

import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stratascope.errors import StratascopeError
from stratascope.store.commit import new_folder
from stratascope.store.runs import is_reference_set, is_run
from stratascope.study.runs import ReferenceSet, Run

if TYPE_CHECKING:
    from stratascope.capture.loading import Loaded

Say = Callable[[str], None]

# Left free beside what a job is known to need, for logs, tables and everybody else.
SPARE_BYTES = 50_000_000


@dataclass(frozen=True)
class Item:
    """A run or a reference set that is to be captured into ``folder``."""

    what: Run | ReferenceSet
    folder: Path

    @property
    def label(self) -> str:
        """What progress and errors call it."""
        if isinstance(self.what, Run):
            return self.what.label
        return f"{len(self.what.references)} references@{self.what.checkpoint.name}"

    @property
    def done(self) -> bool:
        """Whether it lies there, whole."""
        return (is_run if isinstance(self.what, Run) else is_reference_set)(self.folder)


def capture_missing(items: Iterable[Item], say: Say) -> None:
    """Capture every item that is not there yet, checkpoint by checkpoint.

    Raises ``StratascopeError`` at the end, naming each run that failed and why; the others are kept.
    """
    failed: list[str] = []
    pending = [item for item in items if not item.done]
    for group in _by_checkpoint(pending):
        failed += _capture_group(group, say)
    if failed:
        raise StratascopeError(
            f"{len(failed)} of {len(pending)} captures failed, the others are kept: {'; '.join(failed)}"
        )


def _by_checkpoint(items: list[Item]) -> Iterator[list[Item]]:
    groups: dict[object, list[Item]] = {}
    for item in items:
        groups.setdefault((item.what.checkpoint, item.what.threads), []).append(item)
    yield from groups.values()


def _capture_group(items: list[Item], say: Say) -> list[str]:
    from stratascope.capture.loading import load, set_threads

    checkpoint = items[0].what.checkpoint
    set_threads(items[0].what.threads)
    started = time.monotonic()
    loaded = load(checkpoint)
    say(
        f"{checkpoint.name}: loaded {checkpoint.model.id} on {loaded.device} in "
        f"{time.monotonic() - started:.1f} s"
    )
    sized, failed = _sizes(loaded, items)
    _check_disk(sized, say)
    started, total = time.monotonic(), sum(sized.values())
    written = 0
    for i, (item, size) in enumerate(sized.items(), start=1):
        problem = _capture_one(loaded, item, f"[{i}/{len(sized)}] {item.label}", say)
        written += size
        if problem:
            failed.append(problem)
            say(f"[{i}/{len(sized)}] {problem}")
            continue
        elapsed = time.monotonic() - started
        left = elapsed / max(written, 1) * (total - written)
        say(f"[{i}/{len(sized)}] {item.label}: done; about {left:.0f} s left")
    return failed


def _sizes(loaded: Loaded, items: list[Item]) -> tuple[dict[Item, int], list[str]]:
    """The bytes that each item will need at most; what cannot run is found before anything does."""
    from stratascope.capture.run import plan_bytes, reference_bytes

    sized: dict[Item, int] = {}
    failed = []
    for item in items:
        try:
            if isinstance(item.what, Run):
                sized[item] = plan_bytes(loaded, item.what)
            else:
                sized[item] = reference_bytes(loaded, item.what)
        except StratascopeError as error:
            failed.append(f"{item.label}: {error}")
    return sized, failed


def _check_disk(sized: dict[Item, int], say: Say) -> None:
    if not sized:
        return
    need = sum(sized.values())
    place = next(p for p in (next(iter(sized)).folder.absolute()).parents if p.exists())
    free = shutil.disk_usage(place).free
    say(
        f"needs up to {_megabytes(need)} of disk for {len(sized)} captures; {_megabytes(free)} free"
    )
    if need + SPARE_BYTES > free:
        raise StratascopeError(
            f"{place}: not enough disk: {_megabytes(need)} needed, {_megabytes(free)} free; make room, or "
            "capture less (capture.layers, capture.attention_weights: false, capture.logits: false, "
            "capture.store_dtype: float16)"
        )


def _capture_one(loaded: Loaded, item: Item, shown: str, say: Say) -> str | None:
    """Capture one item; what went wrong, if anything did."""
    from stratascope.capture.run import capture_references, capture_run

    try:
        with new_folder(item.folder) as folder:
            if isinstance(item.what, Run):
                capture_run(loaded, item.what, folder, _step_progress(shown))
            else:
                capture_references(loaded, item.what, folder)
    except StratascopeError as error:
        return f"{item.label}: {error}"
    except Exception as error:  # noqa: BLE001 - our own mistake in one run must not cost the others
        traceback.print_exc(file=sys.stderr)
        return f"{item.label}: {type(error).__name__}: {error} (the log has the traceback)"
    return None


def _step_progress(shown: str) -> Callable[[int, int], None]:
    """Steps with an ETA on a terminal; silence in a log file, where each run has its own line."""
    started = time.monotonic()
    terminal = sys.stderr.isatty()

    def progress(step: int, steps: int) -> None:
        if terminal:
            left = (time.monotonic() - started) / max(step, 1) * (steps - step)
            end = "\n" if step >= steps else ""
            sys.stderr.write(f"\r\x1b[K{shown}: step {step}/{steps}, about {left:.0f} s left{end}")
            sys.stderr.flush()

    return progress


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
