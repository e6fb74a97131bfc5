from __future__ import annotations

import io

import numpy as np
import pandas as pd

from stratascope.report.tables.frames import long_frame, write_header, write_rows


def written(frame: pd.DataFrame) -> str:
    file = io.StringIO()
    write_header(file, list(frame.columns))
    write_rows(file, frame)
    return file.getvalue()


def test_long_frame_has_a_row_for_each_kept_cell() -> None:
    """Rows come in C order with every axis's labels; cells that are not kept have no row."""
    values = np.arange(6.0).reshape(2, 3)
    frame = long_frame(
        ({"run": ["x", "y"], "size": [10, 20]}, {"layer": (0, 4, 9)}), values % 2 == 0, value=values
    )
    assert frame.astype({"run": "str"}).to_dict("list") == {
        "run": ["x", "x", "y"],
        "size": [10, 10, 20],
        "layer": [0, 9, 4],
        "value": [0.0, 2.0, 4.0],
    }


def test_numbers_are_short_and_noise_is_zero() -> None:
    """Seven digits, nothing for NaN, and 0 for a negative zero or what rounding leaves of one."""
    numbers = [1 / 3, np.nan, -0.0, 3e-17, -1e-9, 12345678.0, 2.0]
    frame = long_frame(
        ({"n": range(len(numbers))},), np.ones(len(numbers), dtype=bool), value=np.array(numbers)
    )
    lines = written(frame).splitlines()
    assert [line.split(",")[1] for line in lines] == [
        "value", "0.3333333", "", "0", "0", "-1e-09", "1.234568e+07", "2",
    ]  # fmt: skip


def test_text_that_looks_like_a_gap_is_kept() -> None:
    """Only numbers are blanked: a text with the word nan in it stays as it is."""
    frame = long_frame(({"text": ["nan", "banana", 'a,"b"']},), np.ones(3, dtype=bool))
    assert written(frame) == 'text\nnan\nbanana\n"a,""b"""\n'


def test_a_table_longer_than_a_chunk_equals_pandas() -> None:
    """A hundred thousand rows come back from pandas as they went in, in the same order."""
    values = np.random.default_rng(0).normal(size=(50, 2100))
    axes = ({"run": [f"run {i}" for i in range(50)]}, {"layer": range(2100)})
    frame = long_frame(axes, np.ones(values.shape, dtype=bool), value=values)
    back = pd.read_csv(io.StringIO(written(frame)))
    assert back["run"].tolist() == frame["run"].tolist()
    assert back["layer"].tolist() == frame["layer"].tolist()
    np.testing.assert_allclose(back["value"], values.ravel(), rtol=1e-6)
