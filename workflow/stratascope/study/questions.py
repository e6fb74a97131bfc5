"""What a file of benchmark questions may hold: every key, its default, its meaning.

A scenario file with ``questions`` instead of ``prompt``. ``stratascope schema questions`` prints the
JSON Schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from stratascope.errors import StratascopeError
from stratascope.study.grading import normal_form
from stratascope.study.names import check_name
from stratascope.study.schema import Generation, Message, Model
from stratascope.study.strict import Dtype, Strict
from stratascope.study.validate import validate

# What tables call all questions together, beside their groups.
ALL_GROUPS = "all"

Grade = Literal["exact", "contains", "multiple_choice"]


def _text(value: object) -> object:
    # YAML reads `no` as false and `7` as a number: a guess at how it was written might be wrong.
    if isinstance(value, bool | int | float):
        raise ValueError(f"must be text, but YAML or JSON reads {value!r} here; put it in quotes")
    return value


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str | bool | int | float) else value


Text = Annotated[str, BeforeValidator(_text, json_schema_input_type=str)]
Answers = Annotated[
    tuple[Text, ...],
    Field(min_length=1),
    BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
]


class Question(Strict):
    """One question and what counts as a right answer to it."""

    id: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Names the question; by default its number in the list."
    )
    group: str = Field(default="", description="A topic: accuracy is counted for each.")
    history: tuple[Message, ...] = Field(
        default=(), description="Messages that come before the question."
    )
    question: Annotated[Text, Field(min_length=1)]
    answer: Answers = Field(description="The right answer, or several that are accepted.")
    choices: tuple[Text, ...] = Field(
        default=(), description="What a multiple choice offers; the answer is among them."
    )
    grade: Grade | None = Field(
        default=None, description="How this question is graded; by default as the scenario says."
    )

    @model_validator(mode="after")
    def _answerable(self) -> Question:
        twice = sorted({choice for choice in self.choices if self.choices.count(choice) > 1})
        if twice:
            raise ValueError(f"choices: {twice[0]!r} stands twice")
        if len(self.choices) == 1:
            raise ValueError("choices: only one; a choice needs two")
        missing = [answer for answer in self.answer if answer not in self.choices]
        if self.choices and missing:
            raise ValueError(f"answer: {missing[0]!r} is not among the choices")
        if "" in self.choices:
            raise ValueError("choices: an empty text has no probability; write something")
        if self.grade == "multiple_choice" and not self.choices:
            raise ValueError("grade: multiple_choice needs choices")
        if self.group == ALL_GROUPS:
            raise ValueError(f"group: {ALL_GROUPS!r} is what tables call all questions together")
        empty = [answer for answer in self.answer if not normal_form(answer)]
        if empty:
            raise ValueError(f"answer: {empty[0]!r} is empty, or punctuation alone")
        return self


class QuestionsFile(Strict):
    """Questions in a file of their own."""

    file: str = Field(
        min_length=1,
        description="A JSONL file, relative to the study: one question a line, with the same keys.",
    )


def _read_in(value: object) -> object:
    if isinstance(value, dict):
        raise ValueError("must be a list of questions, or `{file: QUESTIONS.jsonl}`")
    return value


Questions = Annotated[
    tuple[Question, ...],
    Field(min_length=1),
    # A file's questions take its place before they are checked (see `read_questions`).
    BeforeValidator(_read_in, json_schema_input_type=list[Question] | QuestionsFile),
]


class QuestionCapture(Strict):
    """Which activations are kept, each at the last token before the answer."""

    sites: tuple[str, ...] = ("hidden_out",)
    modules: tuple[str, ...] = Field(default=(), description="Modules to read by name.")
    layers: Literal["all"] | tuple[Annotated[int, Field(ge=0)], ...] = "all"
    store_dtype: Dtype | None = Field(
        default=None, description="The precision on disk; by default the model's own."
    )

    @field_validator("layers")
    @classmethod
    def _sorted_layers(cls, value: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if not isinstance(value, str) and not value:
            raise ValueError("an empty list reads nothing: name layers, or write `all`")
        return value if isinstance(value, str) else tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _something(self) -> QuestionCapture:
        if not self.sites and not self.modules:
            raise ValueError("sites: nothing to read; name sites, or modules")
        return self


class QuestionScenario(Strict):
    """One file of benchmark questions."""

    name: str = Field(description="The first part of every label and folder.")
    model: Model | None = Field(
        default=None, description="Absent in a study: the questions go to every checkpoint."
    )
    system: str | None = Field(default=None, description="A system message before each question.")
    questions: Questions
    grade: Grade | None = Field(
        default=None, description="By default multiple_choice where there are choices, else exact."
    )
    normalise: Literal["none", "tokens"] = Field(
        default="none",
        description="Compare the choices' log-probabilities as they are, or each by its tokens.",
    )
    generation: Generation = Generation()
    capture: QuestionCapture = QuestionCapture()

    _name = field_validator("name")(check_name)

    @model_validator(mode="after")
    def _consistent(self) -> QuestionScenario:
        ids = [name for name, _ in self.named]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"questions: the id {twice[0]!r} stands twice")
        if self.grade == "multiple_choice":
            lacking = [n for n, question in self.named if not (question.choices or question.grade)]
            if lacking:
                raise ValueError(
                    f"questions: {lacking[0]} has no choices, which grade: multiple_choice needs"
                )
        return self

    @property
    def named(self) -> tuple[tuple[str, Question], ...]:
        """Each question with its id: its own, else its number, as wide as the last one's."""
        width = len(str(len(self.questions)))
        return tuple(
            (question.id or f"{number:0{width}d}", question)
            for number, question in enumerate(self.questions, start=1)
        )

    def grade_of(self, question: Question) -> Grade:
        """How a question is graded: as it or the scenario says, else by whether it offers choices."""
        chosen: Grade = "multiple_choice" if question.choices else "exact"
        return question.grade or self.grade or chosen

    def messages(self, question: Question) -> tuple[Message, ...]:
        """The conversation that ends in the question."""
        system = (Message(role="system", content=self.system),) if self.system is not None else ()
        return (*system, *question.history, Message(role="user", content=question.question))


def read_questions(data: Mapping[str, object], root: Path, shown: str) -> dict[str, object]:
    """``data`` of a scenario file, with the questions of ``questions: {file: ...}`` in their place.

    ``root`` is what the file's path is relative to, ``shown`` what errors call the scenario file.

    Raises:
        StratascopeError: a file that is not there, is not JSONL, or a line that is no question.
    """
    name = questions_file(data, shown)
    if name is None:
        return dict(data)
    try:
        lines = (root / name).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise StratascopeError(
            f"{shown}: questions.file: {name} cannot be read: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise StratascopeError(f"{name}: not UTF-8 text (byte {error.start})") from error
    found = [
        _question(line, f"{name}: line {i}") for i, line in enumerate(lines, 1) if line.strip()
    ]
    return {**data, "questions": found}


def questions_file(data: Mapping[str, object], shown: str = "") -> str | None:
    """The file that holds a scenario's questions; ``None`` if the scenario holds them itself."""
    given = data.get("questions")
    if not isinstance(given, dict):
        return None
    return validate(QuestionsFile, given, shown, "questions.").file


def _question(line: str, shown: str) -> Question:
    try:
        data = json.loads(line)
    except ValueError as error:
        raise StratascopeError(f"{shown}: not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise StratascopeError(f"{shown}: must be one JSON object, a question")
    return validate(Question, data, shown)
