"""Where in a sequence a row is: what every row of a microscope's table says first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from stratascope.errors import StratascopeError
from stratascope.store.traces import Trace


def rows_in_steps(
    trace: Trace, steps: Sequence[int] | None, positions: Sequence[int] | None
) -> list[int]:
    """The rows of some forward passes (all of them: none), ascending.

    A position from 0 on is a row of the whole sequence, a negative one counts from the end of each
    pass: -1 is where the model chooses its next token. None: all of them.

    Raises:
        StratascopeError: a step that is not there, or no such position in any of the steps.
    """
    count = len(trace.steps)
    for step in steps or ():
        if not -count <= step < count:
            raise StratascopeError(
                f"{trace.label}: no step {step}; there are {count}: 0 to {count - 1}"
            )
    wanted = range(count) if steps is None else sorted({step % count for step in steps})
    found: set[int] = set()
    for step in wanted:
        rows = trace.steps[step]
        named = rows if positions is None else [rows.stop + p if p < 0 else p for p in positions]
        found.update(row for row in named if row in rows)
    if not found:
        raise StratascopeError(
            f"{trace.label}: none of the positions {', '.join(map(str, positions or ()))} is in these "
            f"steps; a sequence of {len(trace)} tokens has 0 to {len(trace) - 1}"
        )
    return sorted(found)


def at_places(trace: Trace, rows: Sequence[int]) -> list[dict[str, Any]]:
    """``step``, ``position`` and the ``token`` read there, of each row."""
    step_of = {row: step for step, some in enumerate(trace.steps) for row in some}
    return [{"step": step_of[row], "position": row, "token": trace.tokens[row]} for row in rows]


def next_tokens(trace: Trace, rows: Sequence[int]) -> list[int]:
    """The token that came after each row: read or generated; -1 where none did."""
    after = [*trace.token_ids[1:], *trace.generated[-1:]]
    known = len(after) == len(trace.token_ids)  # else nothing was generated
    return [after[row] if known or row < len(after) else -1 for row in rows]


def short(value: float) -> float | None:
    """Six significant digits: what float32 knows; none for nan."""
    return None if math.isnan(value) else float(f"{value:.6g}")
