"""The results as a Markdown page."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch

from race import Row

HEADER = ("what", "ours", "against", "ratio (single rounds)", "target", "n", "remarks")
LIBRARIES = ("torch", "transformers", "numpy", "snakemake")


@dataclass(frozen=True)
class Result:
    """What one benchmark found, or why it could not run."""

    name: str
    meaning: str
    rows: Sequence[Row]
    skipped: str = ""


def render(results: Sequence[Result]) -> str:
    """The page: the machine, one table, then what each benchmark compares."""
    lines = ["# Measured", "", *_preface(), "", _line(HEADER), _line(["---"] * len(HEADER))]
    lines += [_line(cells(row)) for result in results for row in result.rows]
    for result in results:
        lines += ["", f"## {result.name}", "", result.meaning.strip()]
        if result.skipped:
            lines += ["", f"Skipped: {result.skipped}"]
    return "\n".join(lines) + "\n"


def cells(row: Row) -> list[str]:
    """One line of the table."""
    low, high = row.spread
    more = "times as long" if row.unit == "s" else "times as much"
    words = "times as fast" if row.reads == "faster" else more
    return [
        row.what,
        f"{row.ours}: {_amount(row, row.seconds)}",
        f"{row.other}: {_amount(row, row.other_seconds)}",
        f"{row.ratio:.2f} {words} ({low:.2f} to {high:.2f})",
        row.target,
        str(len(row.seconds)),
        row.note,
    ]


def _preface() -> list[str]:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return [
        "Written by `make bench`. Medians of n rounds; within a round the sides take turns, and before",
        "the first one a check found that they did the same work. In brackets, the ratio of single",
        "rounds, least to greatest.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} CPU cores, no accelerator used; PyTorch threads: "
        f"{torch.get_num_threads()}. Python {platform.python_version()}, {libraries}.",
    ]


def _amount(row: Row, amounts: Sequence[float]) -> str:
    if row.unit == "MB":
        return f"{statistics.median(amounts):.0f} MB"
    return _seconds(amounts)


def _seconds(seconds: Sequence[float]) -> str:
    median = statistics.median(seconds)
    if median >= 10:
        return f"{median:.0f} s"
    return f"{median:.2f} s" if median >= 0.1 else f"{median * 1000:.1f} ms"


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"
