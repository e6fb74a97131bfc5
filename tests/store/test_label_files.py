"""Labels in files of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from stratascope.errors import StratascopeError
from stratascope.store.label_files import read_fields

LABELS, RATINGS = ["a", "ü,b", None], [1, 2, 30]


def test_every_format_gives_the_same(tmp_path: Path) -> None:
    """CSV, JSONL and parquet of the same table have the same columns, gaps and numbers included."""
    (tmp_path / "x.csv").write_text('\ufefflabel,rating,weight\na,1,0.5\n"ü,b",2,\n,30,1e3\n')
    (tmp_path / "x.jsonl").write_text(
        '{"label": "a", "rating": 1, "weight": 0.5}\n'
        '{"label": "ü,b", "rating": 2}\n{"rating": 30, "weight": 1000.0}\n'
    )
    columns = {"label": LABELS, "rating": RATINGS, "weight": [0.5, None, 1e3]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    for name in ("x.csv", "x.jsonl", "x.parquet"):
        assert read_fields(tmp_path / name) == columns, name
    np.savez(tmp_path / "x.npz", rating=RATINGS, matrix=np.zeros((3, 2)))
    np.save(tmp_path / "rating.npy", RATINGS)
    for name in ("x.npz", "rating.npy"):
        assert read_fields(tmp_path / name) == {"rating": RATINGS}


BAD = {
    "x.txt: labels are read from .csv": ("x.txt", b"a"),
    "x.csv: cannot be read": ("x.csv", None),
    "x.csv: row 2 has not 2 cells": ("x.csv", b"a,b\n1,2\n3\n"),
    "x.csv: not text in UTF-8": ("x.csv", b"a\n\xff\n"),
    "x.jsonl: line 2 is not JSON": ("x.jsonl", b'{"a": 1}\n{"a": \n'),
    "x.jsonl: line 1 is not an object": ("x.jsonl", b"[1]\n"),
    "x.parquet: not a parquet file": ("x.parquet", b"PAR?"),
    "x.npz: not an array file": ("x.npz", b"PK?"),
}


@pytest.mark.parametrize("message", BAD)
def test_damaged_files_are_told(tmp_path: Path, message: str) -> None:
    """A file that cannot be read is named, with the line where there is one."""
    name, content = BAD[message]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(StratascopeError, match=message):
        read_fields(tmp_path / name)
