"""Labels and groups: what they may be called, and that each is of one kind."""

from __future__ import annotations

from stratascope.errors import StratascopeError
from stratascope.store.datasets.rows import BadRow, Row
from stratascope.store.features import COLUMNS
from stratascope.study.dataset import Dataset


def check_names(dataset: Dataset) -> None:
    """Refuse a label or group that the index has no room for.

    Raises:
        StratascopeError: one with the name of a column that stands there anyway.
    """
    for name in (*dataset.labels, *dataset.groups):
        if name in COLUMNS:
            raise StratascopeError(
                f"labels, groups: the field {name!r} has the name of a column that the index has anyway "
                f"({', '.join(COLUMNS)}); rename it in the data"
            )


class Kinds:
    """Of what kind each field is, and the line that showed it."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int]] = {}

    def check(self, row: Row | BadRow) -> None:
        """Refuse a field of another kind than in an earlier row, for a column has one kind.

        Raises:
            StratascopeError: with both lines.
        """
        fields = row.fields if isinstance(row, Row) else {}
        for name, value in fields.items():
            if value is None:
                continue  # a bad row, as the reader of texts says
            kind = _kind(value)
            known, line = self._seen.setdefault(name, (kind, row.line))
            if known != kind:
                raise StratascopeError(
                    f"labels, groups: the field {name!r} is {kind} in line {row.line}, and {known} in line "
                    f"{line}; make it one kind"
                )


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    return "a text" if isinstance(value, str) else "a number"
