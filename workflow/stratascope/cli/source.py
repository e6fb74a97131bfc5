"""What the commands of the microscope look at: a stored sequence, or a model that reads a prompt."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from stratascope.errors import StratascopeError

if TYPE_CHECKING:
    from stratascope.api.model import Model
    from stratascope.store.traces import Trace

Wanted = Literal["all"] | list[int]

_RANGE = re.compile(r"(-?\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Source:
    """SOURCE and the options beside it, as `with_source` reads them."""

    name: str
    prompt: str | None
    new_tokens: int
    revision: str | None
    dtype: str | None

    def is_stored(self) -> bool:
        """Whether SOURCE lies on disk and is no model."""
        path = Path(self.name)
        return path.exists() and not (path / "config.json").is_file()

    def trace(self, sites: Sequence[str] | None, layers: Wanted = "all") -> Trace:
        """Tensors of stored runs as they are; of a model the ``sites`` that the command needs, or all.

        Raises StratascopeError for what is neither, and for a model without a prompt.
        """
        if self.prompt is not None:
            from stratascope.api.traces import record_trace

            # Negative numbers count from the model's last layer, not from the last one recorded.
            counted = layers == "all" or min(layers, default=0) >= 0
            model = self.model()
            return record_trace(
                model,
                self.prompt,
                sites=model.sites if sites is None else sites,
                layers=layers if counted else "all",
                max_new_tokens=self.new_tokens,
            )
        from stratascope.store.traces import open_trace

        if not self.is_stored():
            raise StratascopeError(
                f"{self.name}: no captured run and no NPZ files; of a model, say with --prompt what it reads"
            )
        return open_trace(Path(self.name))

    def model(self) -> Model:
        """The model that SOURCE names. Raises StratascopeError as ``ss.load`` does."""
        from stratascope.api.loading import load

        return load(self.name, revision=self.revision, dtype=self.dtype)


def with_source(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command SOURCE and its options; the function gets them as ``source``."""

    @click.argument("source")
    @click.option("--prompt", help="Then SOURCE is a model, a folder or hub id, which reads this.")
    @click.option(
        "--new-tokens",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="With --prompt: tokens to write after it.",
    )
    @click.option("--revision", help="Of a model on the hub: branch, tag or commit.")
    @click.option(
        "--dtype",
        type=click.Choice(["float16", "bfloat16", "float32"]),
        help="Of a model.  [default: as saved]",
    )
    @functools.wraps(command)
    def wrapped(
        source: str,
        prompt: str | None,
        new_tokens: int,
        revision: str | None,
        dtype: str | None,
        **others: Any,
    ) -> None:
        command(source=Source(source, prompt, new_tokens, revision, dtype), **others)

    return wrapped


LAYERS = click.option(
    "--layers", default="all", show_default=True, help="As `0,6,-1` or `0-5`; -1 is the last."
)
STEPS = click.option(
    "--steps", default="all", show_default=True, help="Forward passes, as `0,1` or `0-5`."
)
POSITION = click.option(
    "--position",
    default="all",
    show_default=True,
    help="Tokens of the sequence, as `0,7`; -1 is the last of each pass.",
)


def numbers(text: str, option: str) -> Wanted:
    """What --layers, --steps or --position says: ``all``, or ``0-2,-1`` as [0, 1, 2, -1]."""
    if text.strip() == "all":
        return "all"
    found: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if not match or (match[2] and int(match[1]) > int(match[2])):
            raise StratascopeError(
                f"--{option}: {part!r} is neither a number nor a range; write all, 0,6,-1 or 0-5"
            )
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return list(dict.fromkeys(found))


def rows_of(trace: Trace, steps: Wanted, positions: Wanted = "all") -> list[int]:
    """The rows of ``trace`` that both choose, ascending. A negative position counts in each pass.

    Raises StratascopeError for a step or position that is not there, and where none is in both.
    """
    from stratascope.analyses.places import rows_in_steps

    return rows_in_steps(
        trace, None if steps == "all" else steps, None if positions == "all" else positions
    )


def picked_steps(trace: Trace, steps: Wanted) -> list[int]:
    """The forward passes that ``steps`` names, ascending. Raises StratascopeError for another."""
    count = len(trace.steps)
    if steps == "all":
        return list(range(count))
    for step in steps:
        if not -count <= step < count:
            raise StratascopeError(
                f"{trace.label}: no step {step}; there are {count}: 0 to {count - 1}"
            )
    return sorted({step % count for step in steps})
