"""What messages are known to tell: the labels of a scenario's messages, for the tables alone.

A label changes nothing that a model reads, so it is in no run's digest; it is in that of the tables.
"""

from __future__ import annotations

from collections.abc import Iterable

from stratascope.errors import StratascopeError
from stratascope.study.runs import Run


def told(runs: Iterable[Run]) -> dict[str, tuple[str | None, ...]]:
    """For each run with a labelled message, by the run's own label: what each message tells."""
    return {
        run.label: tuple(message.label for message in run.messages)
        for run in runs
        if any(message.label is not None for message in run.messages)
    }


def check_told(runs: Iterable[Run]) -> None:
    """Refuse two labels for the same words after the same words: they have one state.

    Raises:
        StratascopeError: two scenarios begin alike and label a message differently.
    """
    seen: dict[tuple[tuple[str, str], ...], tuple[str, str]] = {}
    for run in runs:
        words = tuple((message.role, message.content) for message in run.messages)
        for i, message in enumerate(run.messages):
            if message.label is None:
                continue
            label, shown = seen.setdefault(words[: i + 1], (message.label, run.shown))
            if label != message.label:
                raise StratascopeError(
                    f"{run.shown}: message {i} is labelled {message.label!r}, but {label!r} in {shown}, "
                    "and both conversations are the same up to there; give it one label"
                )
