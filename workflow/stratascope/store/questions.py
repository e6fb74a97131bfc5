"""Answered questions on disk: a features folder, a row a question, with its grades in the index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stratascope.errors import StratascopeError
from stratascope.store.runs import read_json

QUESTIONS = "questions.json"
# Beside them lie features-NNNNN.safetensors. The first records the hashes of all others.
QUESTION_FILES = (QUESTIONS, "run.json", "index.parquet")

# What the index of a question folder has beside the columns that every features folder has.
GRADE_COLUMNS = (
    "id", "group", "question", "answer", "generated", "prediction", "grade", "correct",
    "logprob", "logprob_per_token", "choice_logprobs", "choice_logprobs_per_token",
)  # fmt: skip


def is_question_set(folder: Path) -> bool:
    """Whether answered questions lie there, whole. Folders are renamed into place."""
    return all((folder / name).is_file() for name in QUESTION_FILES)


@dataclass(frozen=True)
class QuestionFolder:
    """Answered questions to read. `store.features.Features` opens the same folder's activations."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> QuestionFolder:
        """``path`` is a folder in results/questions."""
        if not is_question_set(path):
            missing = [name for name in QUESTION_FILES if not (path / name).is_file()]
            raise StratascopeError(f"{path}: no answered questions: {', '.join(missing)} not there")
        return cls(path)

    @cached_property
    def info(self) -> dict[str, Any]:
        """questions.json."""
        return dict(read_json(self.path / QUESTIONS))

    @cached_property
    def rows(self) -> list[Mapping[str, Any]]:
        """The index's `GRADE_COLUMNS`, a mapping a question, in the order of the file."""
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import read_table

        path = self.path / "index.parquet"
        try:
            table = read_table(path, columns=list(GRADE_COLUMNS))
        except (OSError, ArrowInvalid) as error:
            raise StratascopeError(f"{path}: damaged, or of another version: {error}") from error
        return list(table.to_pylist())
