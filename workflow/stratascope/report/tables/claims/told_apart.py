"""Are emotions told apart at all? Recognition at its best layer, corrected for having searched."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stratascope.report.tables.claims.rows import Evidence, Row, verdict
from stratascope.report.tables.recognition import Measured
from stratascope.report.tables.told import KINDS


def rows(evidence: Evidence) -> Iterator[Row]:
    """Both quantities of `recognition`, for each kind of cosine, where the AUROC is largest."""
    found = evidence.recognised
    for c, auroc in enumerate(found["auroc"].measured if found else ()):
        for i, kind in enumerate(KINDS):
            layer = best(auroc, i)
            if layer is None or evidence.labellings is None:
                continue
            for name, item in found.items():
                at = (auroc.messages.main_place, layer, i)
                measured, tested = item.measured[c], item.tested[c]
                lower, upper = measured.ends(*at)
                yield Row(
                    messages=measured.messages,
                    quantity=name,
                    centred=kind,
                    layer=measured.messages.checkpoint.layers[layer],
                    estimate=float(measured.estimate[at]),
                    lower=lower,
                    upper=upper,
                    n=int(measured.n[at]),
                    conversations=len(measured.conversations),
                    null=float(tested.null[at]),
                    p=float(tested.p[at]),
                    p_corrected=float(tested.corrected[at]),
                    verdict=verdict(
                        float(tested.corrected[at]),
                        evidence.labellings.least,
                        float(measured.estimate[at]),
                        float(tested.null[at]),
                    ),
                )


def best(auroc: Measured, kind: int) -> int | None:
    """The place of the layer with the largest AUROC at the main source; None without a value."""
    values = auroc.estimate[auroc.messages.main_place, :, kind]
    return None if np.isnan(values).all() else int(np.nanargmax(values))
