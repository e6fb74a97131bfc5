"""Claims about emotions, each as tested numbers. To add one: a module, and an entry in `CLAIMS`.

The claims are those of Activation Lab, the tool that Stratascope grew from. Each is tested at the
first snapshot position and the main source, with centred and raw cosines, on every checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from stratascope.report.tables.claims import best_layer, default, fading, gap, told_apart
from stratascope.report.tables.claims.rows import COLUMNS, Evidence, Row, evidence_of
from stratascope.report.tables.frames import frame_of
from stratascope.report.tables.recognition import recognition_frame
from stratascope.report.tables.states import Study
from stratascope.report.tables.told import messages_of

__all__ = ["CLAIMS", "COLUMNS", "claims"]

CLAIMS: dict[str, Callable[[Evidence], Iterator[Row]]] = {
    "told_apart": told_apart.rows,
    "best_layer": best_layer.rows,
    "gap": gap.rows,
    "default": default.rows,
    "fading": fading.rows,
}


def claims(study: Study) -> Iterator[dict[str, pd.DataFrame]]:
    """`recognition` and `claims`, for the study as a whole: corrections are over all checkpoints."""
    data = messages_of(study)
    if not data:
        return
    evidence = evidence_of(data)
    found = [row.record(name) for name, test in CLAIMS.items() for row in test(evidence)]
    order = {messages.checkpoint.name: i for i, messages in enumerate(data)}
    found.sort(key=lambda record: order[str(record["checkpoint"])])
    yield {
        "recognition": recognition_frame(evidence.recognised),
        "claims": frame_of(found, COLUMNS),
    }
