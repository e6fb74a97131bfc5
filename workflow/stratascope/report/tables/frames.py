"""Long tables from arrays, and their way into CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import pandas as pd

# Below this, a number is what float64 leaves of a zero.
_ZERO = 1e-12
_CHUNK = 50_000

Axis = Mapping[str, Sequence[str] | Sequence[int]]


def long_frame(
    axes: Sequence[Axis], keep: npt.NDArray[np.bool_], **values: npt.NDArray[np.generic]
) -> pd.DataFrame:
    """A row for each true entry of ``keep``, in C order.

    ``keep`` and all ``values`` have one axis for each of ``axes``; an axis gives, for each of its
    places, the value of one or several columns. Texts become categories: a table that repeats a
    long text in a thousand rows holds it once.
    """
    rows = np.flatnonzero(keep)
    places = np.unravel_index(rows, keep.shape)
    columns: dict[str, object] = {
        name: _column(labels, place)
        for axis, place in zip(axes, places, strict=True)
        for name, labels in axis.items()
    }
    columns |= {name: array.reshape(-1)[rows] for name, array in values.items()}
    return pd.DataFrame(columns)


def row_frame(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> pd.DataFrame:
    """A frame of ``columns`` from rows that have them, texts as categories and None as NaN."""
    frame = {}
    for name in columns:
        values = [row[name] for row in rows]
        text = any(isinstance(value, str) for value in values)
        whole = not text and all(isinstance(value, int) for value in values)
        frame[name] = (
            pd.Categorical(values)
            if text
            else np.array([np.nan if v is None else v for v in values], int if whole else float)
        )
    return pd.DataFrame(frame)


def frame_of(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    """A row for each of ``rows``, which name the same columns; texts become categories as above."""
    frame = pd.DataFrame({name: [row[name] for row in rows] for name in columns})
    texts = [str(name) for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.astype(dict.fromkeys(texts, "category"))


def write_header(file: TextIO, columns: Sequence[str]) -> None:
    """The first line of a CSV file."""
    file.write(",".join(columns) + "\n")


def write_rows(file: TextIO, frame: pd.DataFrame) -> None:
    """Append the rows of ``frame``: numbers with 7 significant digits, NaN as nothing.

    Each text is quoted once and each column formatted in one go, which is several times faster
    than ``DataFrame.to_csv`` on tables of a million rows.
    """
    quoted = {
        str(name): [_quote(text) for text in frame[name].cat.categories]
        for name in frame
        if isinstance(frame[name].dtype, pd.CategoricalDtype)
    }
    for start in range(0, len(frame), _CHUNK):
        chunk = frame.iloc[start : start + _CHUNK]
        cells = [_cells(chunk[name], quoted.get(str(name))) for name in frame]
        file.writelines(_lines(cells))


def _lines(cells: list[list[str]]) -> Iterator[str]:
    return (",".join(row) + "\n" for row in zip(*cells, strict=True))


def _column(labels: Sequence[str] | Sequence[int], place: npt.NDArray[np.intp]) -> object:
    if not labels or isinstance(labels[0], str):
        codes, categories = pd.factorize(np.array(labels, dtype=object))
        return pd.Categorical.from_codes(codes[place], pd.Index(categories))
    return np.asarray(labels)[place]


def _cells(column: pd.Series, quoted: list[str] | None) -> list[str]:
    if quoted is not None:
        return [quoted[code] for code in column.cat.codes.tolist()]
    if pd.api.types.is_integer_dtype(column.dtype):
        return list(map(str, column.tolist()))
    numbers = column.to_numpy(dtype=np.float64)
    numbers = np.where(np.abs(numbers) < _ZERO, 0.0, numbers)
    text = "%.7g\n" * len(numbers) % tuple(numbers.tolist())
    return text.replace("nan", "").split("\n")[:-1]


def _quote(text: str) -> str:
    if any(mark in text for mark in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text
