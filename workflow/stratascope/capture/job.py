"""One process, one model, many runs and questions: capture what is missing, keep what is there.

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
from stratascope.store.questions import is_question_set
from stratascope.store.runs import is_reference_set, is_run
from stratascope.study.questionset import QuestionSet
from stratascope.study.runs import ReferenceSet, Run
from stratascope.study.schema import Limits

if TYPE_CHECKING:
    from stratascope.capture.loading import Loaded

Say = Callable[[str], None]


@dataclass(frozen=True)
class Item:
    """A run, a reference set or questions to be captured into ``folder``."""

    what: Run | ReferenceSet | QuestionSet
    folder: Path

    @property
    def label(self) -> str:
        """What progress and errors call it."""
        if isinstance(self.what, ReferenceSet):
            return f"{len(self.what.references)} references@{self.what.checkpoint.name}"
        return self.what.label

    @property
    def done(self) -> bool:
        """Whether it lies there, whole."""
        match self.what:
            case Run():
                return is_run(self.folder, gradients=self.what.capture.gradients is not None)
            case ReferenceSet():
                return is_reference_set(self.folder)
            case QuestionSet():
                return is_question_set(self.folder)


def capture_missing(
    items: Iterable[Item],
    say: Say,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
) -> None:
    """Capture every item that is not there yet, checkpoint by checkpoint.

    What has no room in memory or on the disk, or in ``limits``, is refused before its weights are
    loaded. Raises ``StratascopeError`` at the end, naming each run that failed and why; the others
    are kept.
    """
    failed: list[str] = []
    pending = [item for item in items if not item.done]
    for group in _by_checkpoint(pending):
        failed += _capture_group(group, say, limits)
    if failed:
        raise StratascopeError(
            f"{len(failed)} of {len(pending)} captures failed, the others are kept: {'; '.join(failed)}"
        )


def _by_checkpoint(items: list[Item]) -> Iterator[list[Item]]:
    groups: dict[object, list[Item]] = {}
    for item in items:
        groups.setdefault((item.what.checkpoint, item.what.threads), []).append(item)
    yield from groups.values()


def _capture_group(items: list[Item], say: Say, limits: Limits) -> list[str]:
    from stratascope.capture import budget
    from stratascope.capture.loading import load, set_threads

    checkpoint, folder = items[0].what.checkpoint, items[0].folder
    set_threads(items[0].what.threads)
    wanted = [item.what for item in items]
    tokenizer = budget.check_captures(checkpoint, wanted, folder, limits, say)
    started = time.monotonic()
    loaded = load(checkpoint, tokenizer)
    say(
        f"{checkpoint.name}: loaded {checkpoint.model.id} on {loaded.device} in "
        f"{time.monotonic() - started:.1f} s"
    )
    sized, failed = _sizes(loaded, items)
    started, total = time.monotonic(), sum(sized.values())
    budget.check_disk(checkpoint.name, total, folder, limits)
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
    from stratascope.capture.questions.asking import question_bytes
    from stratascope.capture.run import plan_bytes, reference_bytes

    sized: dict[Item, int] = {}
    failed = []
    for item in items:
        try:
            match item.what:
                case Run():
                    sized[item] = plan_bytes(loaded, item.what)
                case ReferenceSet():
                    sized[item] = reference_bytes(loaded, item.what)
                case QuestionSet():
                    sized[item] = question_bytes(loaded, item.what)
        except StratascopeError as error:
            failed.append(f"{item.label}: {error}")
    return sized, failed


def _capture_one(loaded: Loaded, item: Item, shown: str, say: Say) -> str | None:
    """Capture one item; what went wrong, if anything did."""
    from stratascope.capture.questions.asking import ask_questions
    from stratascope.capture.run import capture_references, capture_run

    try:
        # A folder comes to its name whole: one that is not has lost files since, and nobody is at work on it.
        if item.folder.exists() and not item.done:
            shutil.rmtree(item.folder)
        with new_folder(item.folder) as folder:
            match item.what:
                case Run():
                    capture_run(loaded, item.what, folder, _step_progress(shown))
                case ReferenceSet():
                    capture_references(loaded, item.what, folder)
                case QuestionSet():
                    ask_questions(loaded, item.what, folder, _step_progress(shown))
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
