"""One file of questions, asked of a loaded checkpoint: answers, grades and activations."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stratascope.capture import prompts
from stratascope.capture.describe import describe_environment, describe_model, describe_tokenizer
from stratascope.capture.features.batches import rotary_border
from stratascope.capture.features.extract import extract_features
from stratascope.capture.features.taps import feature_taps
from stratascope.capture.generation import check_generates
from stratascope.capture.loading import Loaded
from stratascope.capture.questions.answering import answers
from stratascope.capture.questions.prefixes import batches, read
from stratascope.capture.questions.scoring import Logprob, continuation, logprobs
from stratascope.errors import StratascopeError
from stratascope.store.commit import write_json
from stratascope.store.datasets import MemorySource, Row
from stratascope.store.hashes import recorded
from stratascope.store.questions import GRADE_COLUMNS, QUESTIONS
from stratascope.study.dataset import Dataset
from stratascope.study.features import FeatureSet
from stratascope.study.grading import GRADES, likeliest
from stratascope.study.questions import Question, QuestionScenario
from stratascope.study.questionset import QuestionSet
from stratascope.study.stages import version

FORMAT = "stratascope-questions-1"

# Called after each batch: questions answered, questions in all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Asked:
    """A question as the model reads it: the prompt, and the tokens of each text to be scored."""

    id: str
    question: Question
    prompt: prompts.Tokens
    scored: Mapping[str, list[int]]


@dataclass(frozen=True)
class Answered:
    """What the model generated, and the log-probability of each choice or accepted answer."""

    generated: str
    scores: Mapping[str, Logprob]


def prepare(loaded: Loaded, scenario: QuestionScenario) -> list[Asked]:
    """Every question in tokens.

    Raises:
        StratascopeError: naming the question that does not fit the context, or that the chat template
            refuses; an encoder.
    """
    check_generates(loaded)
    found = []
    for name, question in scenario.named:
        try:
            found.append(_prepare(loaded, scenario, name, question))
        except StratascopeError as error:
            raise StratascopeError(f"question {name}: {error}") from error
    return found


def _prepare(loaded: Loaded, scenario: QuestionScenario, name: str, question: Question) -> Asked:
    text = prompts.render(loaded.tokenizer, scenario.messages(question))
    prompt = prompts.tokenize(loaded.tokenizer, text)
    texts = question.choices or question.answer
    scored = {text: continuation(loaded, prompt, text) for text in texts}
    prompts.check_context(len(prompt.ids), scenario.generation.max_new_tokens, loaded.context)
    longest = max(map(len, scored.values()))
    if loaded.context is not None and len(prompt.ids) + longest - 1 > loaded.context:
        raise StratascopeError(
            f"with its longest answer it has {len(prompt.ids) + longest} tokens, and the model's "
            f"context holds {loaded.context}; shorten it"
        )
    return Asked(name, question, prompt, scored)


def answer_all(
    loaded: Loaded,
    scenario: QuestionScenario,
    asked: Sequence[Asked],
    progress: Progress | None = None,
) -> list[Answered]:
    """What the model says to each question, and how likely it finds the texts to be scored."""
    found: dict[int, Answered] = {}
    longest = max(len(ids) for item in asked for ids in item.scored.values())
    new = max(longest, scenario.generation.max_new_tokens)
    lengths = [len(item.prompt.ids) for item in asked]
    for batch in batches(lengths, new, rotary_border(loaded.config)):
        found |= zip(batch, _answer_batch(loaded, scenario, [asked[i] for i in batch]), strict=True)
        if progress is not None:
            progress(len(found), len(asked))
    return [found[i] for i in range(len(asked))]


def _answer_batch(
    loaded: Loaded, scenario: QuestionScenario, asked: Sequence[Asked]
) -> Iterator[Answered]:
    prefix = read(loaded, [item.prompt.ids for item in asked])
    pairs = [(row, ids) for row, item in enumerate(asked) for ids in item.scored.values()]
    scores = iter(logprobs(loaded, prefix, pairs))
    said = answers(loaded, prefix, scenario.generation)
    for item, tokens in zip(asked, said, strict=True):
        text = loaded.tokenizer.decode(tokens, skip_special_tokens=True)
        yield Answered(str(text), dict(zip(item.scored, scores, strict=False)))


def graded(scenario: QuestionScenario, asked: Asked, answered: Answered) -> dict[str, Any]:
    """The columns of `store.questions.GRADE_COLUMNS` for one question.

    ``prediction`` is what was graded: the choice with the largest log-probability, or the generated
    text without white space around it. ``logprob`` is of the right answer; of the likeliest, if
    several are accepted.
    """
    question, scores = asked.question, answered.scores
    grade = scenario.grade_of(question)
    if grade == "multiple_choice":
        per_token = scenario.normalise == "tokens"
        values = [scores[c].per_token if per_token else scores[c].total for c in question.choices]
        prediction = question.choices[likeliest(values)]
        correct = prediction in question.answer
    else:
        prediction = answered.generated.strip()
        correct = GRADES[grade](prediction, question.answer)
    right = max((scores[text] for text in question.answer), key=lambda score: score.total)
    return {
        "id": asked.id,
        "group": question.group,
        "question": question.question,
        "answer": " | ".join(question.answer),
        "generated": answered.generated,
        "prediction": prediction,
        "grade": grade,
        "correct": correct,
        "logprob": right.total,
        "logprob_per_token": right.per_token,
        "choice_logprobs": _json({text: scores[text].total for text in question.choices}),
        "choice_logprobs_per_token": _json(
            {text: scores[text].per_token for text in question.choices}
        ),
    }


def _json(scores: Mapping[str, float]) -> str:
    """As JSON, which has no infinity: a choice that cannot be has null."""
    rounded = {
        text: float(f"{score:.7g}") if math.isfinite(score) else None
        for text, score in scores.items()
    }
    return json.dumps(rounded, ensure_ascii=False, allow_nan=False)


def question_bytes(loaded: Loaded, asked: QuestionSet) -> int:
    """How many bytes the folder of ``asked`` takes at most.

    Raises:
        StratascopeError: what ``ask_questions`` would refuse before it starts.
    """
    dataset = _dataset(asked)
    prepared = prepare(loaded, asked.scenario)
    taps = feature_taps(loaded, dataset)
    # No site is as wide as the vocabulary but the logits.
    hidden = int(loaded.config.hidden_size)
    inner = int(getattr(loaded.config, "intermediate_size", None) or 4 * hidden)
    width = int(loaded.config.vocab_size) if "logits" in dataset.sites else max(hidden, inner)
    rows = len(prepared) * sum(len(tap.names) for tap in taps) * max(width, hidden) * 4
    characters = sum(len(item.prompt.text) + 200 * len(item.scored) for item in prepared)
    return rows + 8 * characters + 1000 * len(prepared) + 20_000


def ask_questions(
    loaded: Loaded, asked: QuestionSet, folder: Path, progress: Progress | None = None
) -> None:
    """Ask every question and write the answers into the existing, empty ``folder``.

    Leaves a features folder (``store.features``) with a row a question: the activations at the last
    token of each prompt, and in the index `GRADE_COLUMNS`; and ``questions.json`` (last).

    Raises:
        StratascopeError: a question that does not fit, sites that the model has not, an encoder,
            values that are not finite.
    """
    scenario = asked.scenario
    prepared = prepare(loaded, scenario)
    answered = answer_all(loaded, scenario, prepared, progress)
    rows = [graded(scenario, *pair) for pair in zip(prepared, answered, strict=True)]
    source = MemorySource(
        [
            Row(line, messages=scenario.messages(item.question), fields=row)
            for line, (item, row) in enumerate(zip(prepared, rows, strict=True), start=1)
        ]
    )
    features = FeatureSet(
        scenario.name, _dataset(asked), asked.digest, asked.checkpoint, asked.threads
    )
    extract_features(loaded, features, source, folder, lambda _: None)
    summary = {
        "format": FORMAT,
        "label": asked.label,
        "digest": asked.digest,
        "stage": {"name": "questions", "version": version("questions")},
        "scenario": scenario.model_dump(mode="json")
        | {"model": asked.checkpoint.model.model_dump(mode="json")},
        "model": describe_model(loaded),
        "tokenizer": describe_tokenizer(loaded),
        "questions": len(rows),
        "correct": sum(row["correct"] for row in rows),
        "files": recorded(folder.iterdir(), folder),
        "env": describe_environment(loaded),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(folder / QUESTIONS, summary)


def _dataset(asked: QuestionSet) -> Dataset:
    """The questions as a dataset: its text is the prompt, its labels are the grades."""
    capture = asked.scenario.capture
    return Dataset(
        data=asked.scenario.name,
        messages="messages",
        generation_prompt=True,
        labels=GRADE_COLUMNS,
        sites=capture.sites,
        modules=capture.modules,
        layers=capture.layers,
        store_dtype=capture.store_dtype,
        position="last",
    )
