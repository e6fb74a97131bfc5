"""Questions asked of a checkpoint: the grades, the features folder, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stratascope.capture import prompts
from stratascope.capture.generation import generate
from stratascope.capture.job import Item, capture_missing
from stratascope.capture.loading import Loaded
from stratascope.capture.questions.asking import (
    Answered,
    Asked,
    ask_questions,
    graded,
    question_bytes,
)
from stratascope.capture.questions.scoring import Logprob
from stratascope.errors import StratascopeError
from stratascope.store.features import COLUMNS, Features
from stratascope.store.hashes import sha256
from stratascope.store.questions import GRADE_COLUMNS, QUESTION_FILES, QuestionFolder
from stratascope.study.questions import QuestionScenario
from stratascope.study.questionset import QuestionSet

QUESTIONS: list[dict[str, Any]] = [
    {"question": "How are you today?", "answer": "I am well, thank you.", "group": "mood"},
    {
        "question": "Who sang all day long?",
        "choices": ["the bear", "the big river", "the end"],
        "answer": "the big river",
        "group": "story",
    },
    {
        "question": "The world is?",
        "answer": ["quiet", "serene and quiet"],
        "grade": "contains",
        "history": [
            {"role": "user", "content": "Everything is hopeless."},
            {"role": "assistant", "content": "Tell me a story."},
        ],
    },
]


def question_set(loaded: Loaded, *questions: dict[str, Any], **keys: Any) -> QuestionSet:
    content = {
        "name": "quiz",
        "questions": questions or QUESTIONS,
        "generation": {"max_new_tokens": 5},
        **keys,
    }
    scenario = QuestionScenario.model_validate(content)
    return QuestionSet(scenario, "quiz.yaml", loaded.checkpoint, 1)


def asked(loaded: Loaded, folder: Path, *questions: dict[str, Any], **keys: Any) -> QuestionFolder:
    folder.mkdir(parents=True)
    ask_questions(loaded, question_set(loaded, *questions, **keys), folder)
    return QuestionFolder.open(folder)


def grade(
    question: dict[str, Any], generated: str, scores: dict[str, tuple[float, int]], **keys: Any
) -> dict[str, Any]:
    scenario = QuestionScenario.model_validate({"name": "quiz", "questions": [question], **keys})
    item = Asked("1", scenario.questions[0], prompts.Tokens("?", [1], None), {})
    answered = Answered(generated, {text: Logprob(*score) for text, score in scores.items()})
    return graded(scenario, item, answered)


# Grades, by hand


def test_the_largest_sum_is_the_choice_unless_tokens_are_asked_for() -> None:
    """A long choice loses by its sum and wins by its mean; both stand in the row either way."""
    question = {"question": "?", "answer": "a long one", "choices": ["short", "a long one"]}
    scores = {"short": (-3.0, 1), "a long one": (-6.0, 4)}
    plain = grade(question, "whatever", scores)
    assert (plain["prediction"], plain["correct"]) == ("short", False)
    fair = grade(question, "whatever", scores, normalise="tokens")
    assert (fair["prediction"], fair["correct"]) == ("a long one", True)
    for row in (plain, fair):
        assert (row["logprob"], row["logprob_per_token"]) == (-6.0, -1.5)
        assert json.loads(row["choice_logprobs"]) == {"short": -3.0, "a long one": -6.0}
        assert json.loads(row["choice_logprobs_per_token"]) == {"short": -3.0, "a long one": -1.5}
        assert row["generated"] == "whatever"


def test_a_tie_goes_to_the_choice_that_stands_first() -> None:
    """Equal log-probabilities have one outcome, whichever is right."""
    for answer, right in (("b", True), ("a", False)):
        question = {"question": "?", "answer": answer, "choices": ["b", "a"]}
        row = grade(question, "", {"b": (-2.0, 1), "a": (-2.0, 2)})
        assert (row["prediction"], row["correct"]) == ("b", right)


def test_any_accepted_answer_is_right_and_the_likeliest_is_reported() -> None:
    """Of several accepted answers each counts; the log-probability is that of the likeliest."""
    question = {"question": "?", "answer": ["b", "c"], "choices": ["a", "b", "c"]}
    row = grade(question, "", {"a": (-4.0, 1), "b": (-9.0, 1), "c": (-1.0, 1)})
    assert (row["prediction"], row["correct"], row["logprob"]) == ("c", True, -1.0)
    assert row["answer"] == "b | c"


def test_generated_text_is_graded_as_asked() -> None:
    """Exact by default, contained on request, and a choice's text if choices are to be generated."""
    scores = {"Nora": (-1.0, 1)}
    question = {"question": "?", "answer": "Nora"}
    said = " Your name is Nora. "
    assert grade(question, " nora.\n", scores)["correct"]
    assert not grade(question, said, scores)["correct"]
    row = grade(question, said, scores, grade="contains")
    assert (row["correct"], row["grade"]) == (True, "contains")
    assert (row["prediction"], row["generated"]) == (said.strip(), said)
    assert row["choice_logprobs"] == "{}"
    offered = {**question, "choices": ["Tom", "Nora"], "grade": "exact"}
    both = {"Tom": (-0.1, 1), "Nora": (-9.0, 1)}
    assert grade(offered, "Nora", both)["correct"]
    assert not grade(offered, "Tom", both)["correct"]


def test_a_choice_that_cannot_be_is_null_in_json() -> None:
    """Minus infinity is no number in JSON, and never the choice."""
    question = {"question": "?", "answer": "a", "choices": ["b", "a"]}
    row = grade(question, "", {"b": (-math.inf, 1), "a": (-700.0, 1)})
    assert (row["prediction"], row["correct"]) == ("a", True)
    assert json.loads(row["choice_logprobs"]) == {"b": None, "a": -700.0}


# The folder


@pytest.fixture(scope="module", params=["llama", "llama+chat"])
def loaded(request: pytest.FixtureRequest, loaded_model: Callable[[str], Loaded]) -> Loaded:
    return loaded_model(request.param)


def test_the_folder_holds_the_grades_and_the_last_prompt_token(
    loaded: Loaded, tmp_path: Path
) -> None:
    """Index and tensors agree with transformers alone: text, answer, log-probability, activation."""
    sites = ["hidden_out", "attn_out", "final_norm"]
    folder = asked(loaded, tmp_path / "quiz", system="Be kind.", capture={"sites": sites})
    features = Features.open(folder.path)
    assert features.pooled
    assert features.index.column_names == [*COLUMNS, *GRADE_COLUMNS]
    rows = features.index.to_pylist()
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert [row["grade"] for row in rows] == ["exact", "multiple_choice", "contains"]
    assert [row["group"] for row in rows] == ["mood", "story", ""]
    set_of = question_set(loaded, system="Be kind.", capture={"sites": sites})
    for i, row in enumerate(rows):
        question = set_of.scenario.questions[i]
        messages = set_of.scenario.messages(question)
        text = prompts.render(loaded.tokenizer, messages)
        tokens = prompts.tokenize(loaded.tokenizer, text).ids
        assert (row["text"], row["line"], row["tokens"]) == (text, i + 1, len(tokens))
        steps = generate(loaded, tokens, set_of.scenario.generation)
        said = loaded.tokenizer.decode([s.generated for s in steps], skip_special_tokens=True)
        assert row["generated"] == said
        for text in question.choices or question.answer:
            space = "" if prompts.has_template(loaded.tokenizer) else " "
            whole = prompts.tokenize(loaded.tokenizer, row["text"] + space + text).ids
            score = _alone(loaded, whole, len(tokens))
            scores = json.loads(row["choice_logprobs"]) or {text: row["logprob"]}
            if question.choices or row["logprob"] == pytest.approx(score, rel=1e-5):
                assert scores[text] == pytest.approx(score, rel=1e-5)
            else:
                assert score < row["logprob"]  # another accepted answer is likelier
        with torch.no_grad():
            states = loaded.model(torch.tensor([tokens]), output_hidden_states=True).hidden_states
        for layer in range(loaded.layers - 1):
            found = features.matrix(f"layer_{layer:02d}/hidden_out")[i]
            np.testing.assert_allclose(
                found, states[layer + 1][0, -1].numpy(), rtol=1e-4, atol=1e-5
            )
        found = features.matrix("final_norm")[i]
        np.testing.assert_allclose(found, states[-1][0, -1].numpy(), rtol=1e-4, atol=1e-5)


def _alone(loaded: Loaded, whole: list[int], prompt: int) -> float:
    with torch.no_grad():
        logits = loaded.model(torch.tensor([whole]), use_cache=False).logits[0].double()
    rows = torch.log_softmax(logits, dim=-1)[prompt - 1 : -1]
    return sum(float(row[token]) for row, token in zip(rows, whole[prompt:], strict=True))


def test_the_folder_describes_itself(loaded: Loaded, tmp_path: Path) -> None:
    """questions.json has the scenario as parsed, how many were right, and every file's hash."""
    folder = asked(loaded, tmp_path / "quiz")
    item = question_set(loaded)
    info = folder.info
    assert (info["label"], info["digest"]) == (item.label, item.digest)
    assert info["scenario"]["questions"][1]["choices"] == ["the bear", "the big river", "the end"]
    assert info["questions"] == 3
    assert info["correct"] == sum(row["correct"] for row in folder.rows)
    others = {path.name for path in folder.path.iterdir()} - {QUESTION_FILES[0]}
    assert others == {*QUESTION_FILES[1:], "features-00000.safetensors"}
    assert info["files"] == {name: sha256(folder.path / name) for name in others}
    size = sum(path.stat().st_size for path in folder.path.iterdir())
    assert size <= question_bytes(loaded, item)


def test_the_same_questions_leave_the_same_bytes(loaded: Loaded, tmp_path: Path) -> None:
    """Index and tensors are equal byte for byte, sampling included; only the time of day may differ."""
    keys = {"generation": {"max_new_tokens": 5, "do_sample": True, "seed": 3}}
    first, second = (asked(loaded, tmp_path / name / "quiz", **keys) for name in "ab")
    for name in ("index.parquet", "features-00000.safetensors"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()
    assert {**first.info, "created_at": "", "files": {}} == {
        **second.info,
        "created_at": "",
        "files": {},
    }


def test_modules_by_name(loaded: Loaded, tmp_path: Path) -> None:
    """What the model calls by another name is captured by that name."""
    capture = {"sites": [], "modules": ["model.layers.1.mlp", "model.norm:input"]}
    folder = asked(loaded, tmp_path / "quiz", capture=capture)
    assert Features.open(folder.path).names == [
        "module/model.layers.1.mlp",
        "module/model.norm:input",
    ]


def test_what_was_asked_is_not_asked_again(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job asks what is missing, renames it into place whole, and loads no model for the rest."""
    item = question_set(loaded)
    folder = tmp_path / "questions" / item.folder
    capture_missing([Item(item, folder)], lambda _: None)
    assert [path.name for path in folder.parent.iterdir()] == [item.folder]
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}

    def refuse(*_: object) -> None:
        raise AssertionError("loaded for nothing")

    monkeypatch.setattr("stratascope.capture.loading.load", refuse)
    capture_missing([Item(item, folder)], lambda _: None)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


# Refusals


def test_a_question_that_does_not_fit_is_named(loaded: Loaded, tmp_path: Path) -> None:
    """Too long a question, or too long an answer to score, is an error with the question's id."""
    long = {"id": "long one", "question": "river " * 600, "answer": "a"}
    with pytest.raises(StratascopeError, match="question long one: the prompt has"):
        question_bytes(loaded, question_set(loaded, *QUESTIONS, long))
    wordy = {"id": "wordy", "question": "?", "answer": "river " * 600}
    with pytest.raises(StratascopeError, match="question wordy: with its longest answer"):
        asked(loaded, tmp_path / "quiz", wordy)


def test_sites_that_are_not_there_are_refused_before_anything_runs(loaded: Loaded) -> None:
    """A site or layer that the model has not is found while the disk is estimated."""
    for capture in ({"sites": ["hidden_uot"]}, {"layers": [99]}):
        with pytest.raises(StratascopeError):
            question_bytes(loaded, question_set(loaded, capture=capture))


def test_a_failed_set_leaves_nothing(loaded: Loaded, tmp_path: Path) -> None:
    """What goes wrong costs no other capture of the job, and leaves no folder."""
    good = question_set(loaded)
    bad = question_set(loaded, {"question": "river " * 600, "answer": "a"}, name="bad")
    items = [Item(item, tmp_path / item.folder) for item in (bad, good)]
    with pytest.raises(StratascopeError, match="1 of 2 captures failed") as error:
        capture_missing(items, lambda _: None)
    assert f"{bad.label}: question 1: " in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [good.folder]


def test_encoders_answer_nothing(loaded_model: Callable[[str], Loaded]) -> None:
    """An encoder generates nothing, so it is asked nothing."""
    encoder = loaded_model("bert")
    with pytest.raises(StratascopeError, match="is an encoder"):
        question_bytes(encoder, question_set(encoder))
