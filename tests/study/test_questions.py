"""Files of benchmark questions: what is accepted, what is refused and how, and what a digest covers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stratascope.errors import StratascopeError
from stratascope.study.config import QuestionFile, read_scenario
from stratascope.study.plan import Plan
from stratascope.study.questions import QuestionScenario
from stratascope.study.schema import Message

CAPITAL = {"question": "Capital of France?", "answer": "Paris"}
CHOICE = {"question": "2+2?", "answer": "4", "choices": ["3", "4"]}


def scenario(*questions: dict[str, Any], **keys: Any) -> QuestionScenario:
    return QuestionScenario.model_validate({"name": "quiz", "questions": questions, **keys})


def written(folder: Path, content: dict[str, Any] | str) -> Path:
    path = folder / "quiz.yaml"
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, content: dict[str, Any] | str, **defaults: Any) -> QuestionScenario:
    file = read_scenario(written(folder, content), "quiz.yaml", folder, defaults)
    assert isinstance(file, QuestionFile)
    return file.scenario


def refusal(folder: Path, content: dict[str, Any] | str) -> str:
    with pytest.raises(StratascopeError) as error:
        read(folder, content)
    return str(error.value)


def test_a_question_is_graded_by_what_it_offers() -> None:
    """Choices make a multiple choice, none an exact answer; the scenario and the question may differ."""
    plain = scenario(CAPITAL, CHOICE)
    assert [plain.grade_of(q) for q in plain.questions] == ["exact", "multiple_choice"]
    said = scenario(CAPITAL, CHOICE, {**CAPITAL, "grade": "exact"}, grade="contains")
    assert [said.grade_of(q) for q in said.questions] == ["contains", "contains", "exact"]


def test_ids_count_with_equal_width() -> None:
    """A question without an id has its number, so that ids sort as the questions stand."""
    many = scenario(*[CAPITAL] * 11, {**CAPITAL, "id": "last"})
    names = [name for name, _ in many.named]
    assert names == [f"{i:02d}" for i in range(1, 12)] + ["last"]


def test_the_conversation_ends_in_the_question() -> None:
    """System message, then the question's history, then the question."""
    history = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    quiz = scenario({**CAPITAL, "history": history}, system="Be brief.")
    assert quiz.messages(quiz.questions[0]) == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hi."),
        Message(role="assistant", content="Hello."),
        Message(role="user", content="Capital of France?"),
    )
    assert len(scenario(CAPITAL).messages(quiz.questions[0])) == 3


def test_the_studys_defaults_hold_as_far_as_questions_have_them(tmp_path: Path) -> None:
    """Generation is taken from the defaults; what a conversation captures is not for questions."""
    content = {"name": "quiz", "questions": [CAPITAL], "generation": {"seed": 5}}
    quiz = read(
        tmp_path,
        content,
        generation={"max_new_tokens": 7, "seed": 1},
        capture={"top_k_probs": 3},
        reference_states=[],
        model={"dtype": "float32"},
    )
    assert (quiz.generation.max_new_tokens, quiz.generation.seed) == (7, 5)
    assert quiz.capture.sites == ("hidden_out",)
    assert quiz.model is None


def test_a_jsonl_file_is_as_good_as_a_list(tmp_path: Path) -> None:
    """Questions read from a file are the questions written in the scenario."""
    lines = [json.dumps(CAPITAL), "", json.dumps(CHOICE | {"id": "\u2028sum"}, ensure_ascii=False)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "quiz.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    filed = read(tmp_path, {"name": "quiz", "questions": {"file": "data/quiz.jsonl"}})
    assert filed == scenario(CAPITAL, CHOICE | {"id": "\u2028sum"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "a", "answer"', "quiz.jsonl: line 2: not valid JSON"),
        ('["a"]', "quiz.jsonl: line 2: must be one JSON object"),
        ('{"question": "a", "anwser": "b"}', "did you mean `answer`?"),
        ('{"question": "a", "answer": 4}', "answer[0]: must be text"),
        ('{"question": "a", "answer": "b", "choices": ["c", "d"]}', "'b' is not among the choices"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    """An error in a file of questions names the file and the line."""
    (tmp_path / "quiz.jsonl").write_text(json.dumps(CAPITAL) + "\n" + line, encoding="utf-8")
    said = refusal(tmp_path, {"name": "quiz", "questions": {"file": "quiz.jsonl"}})
    assert said.startswith("quiz.jsonl: line 2: ")
    assert message in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("questions: {file: gone.jsonl}", "questions.file: gone.jsonl cannot be read"),
        ("questions: {path: x}", "questions.path: unknown key"),
        ("questions: []", "questions: "),
        ("questions: [{question: a}]", "questions[0].answer: missing"),
        ("questions: [{question: a, answer: yes}]", "put it in quotes"),
        ("questions: [{question: a, answer: []}]", "questions[0].answer"),
        ("questions: [{question: a, answer: ' . '}]", "punctuation alone"),
        ("questions: [{question: '', answer: a}]", "questions[0].question"),
        ("questions: [{question: a, answer: b, chioces: [b, c]}]", "did you mean `choices`?"),
        ("questions: [{question: a, answer: b, choices: [b]}]", "a choice needs two"),
        ("questions: [{question: a, answer: b, choices: [b, c, b]}]", "'b' stands twice"),
        ("questions: [{question: a, answer: b, choices: [b, '']}]", "an empty text"),
        ("questions: [{question: a, answer: b, group: all}]", "what tables call all questions"),
        ("questions: [{question: a, answer: b, grade: multiple_choice}]", "needs choices"),
        ("grade: multiple_choice\nquestions: [{question: a, answer: b}]", "1 has no choices"),
        (
            "questions: [{question: a, answer: b, id: x}, {question: c, answer: d, id: x}]",
            "the id 'x' stands twice",
        ),
        ("questions: [{question: a, answer: b}]\nprompt: {messages: []}", "make it two files"),
        ("questions: [{question: a, answer: b}]\nreference_states: []", "unknown key"),
        ("questions: [{question: a, answer: b}]\ncapture: {sites: []}", "nothing to read"),
        ("questions: [{question: a, answer: b}]\ncapture: {layers: []}", "an empty list reads"),
    ],
)
def test_slips_are_named(tmp_path: Path, text: str, message: str) -> None:
    """Each slip in a questions file is one line with the file and the key."""
    said = refusal(tmp_path, f"name: quiz\n{text}\n")
    assert said.startswith("quiz.yaml: ")
    assert message in said
    assert "\n" not in said


def test_both_forms_are_in_the_json_schema() -> None:
    """An editor accepts a list of questions, a file, and one answer or several."""
    schema = QuestionScenario.model_json_schema()
    kinds = schema["properties"]["questions"]["anyOf"]
    assert {kind.get("type") or kind["$ref"].rsplit("/", 1)[-1] for kind in kinds} == {
        "array",
        "QuestionsFile",
    }
    answer = schema["$defs"]["Question"]["properties"]["answer"]["anyOf"]
    assert {kind["type"] for kind in answer} == {"string", "array"}


# The plan


@pytest.fixture
def asking(study: Path) -> Path:
    written(study / "scenarios", {"name": "quiz", "questions": [CAPITAL, CHOICE]})
    return study


def test_questions_are_asked_of_every_checkpoint(asking: Path, plan: Callable[[], Plan]) -> None:
    """Each checkpoint's capture job asks them; runs and their digests stay what they were."""
    with_questions = plan()
    assert [q.label for q in with_questions.questions] == ["quiz@early", "quiz@late"]
    assert [[q.label for q in job.questions] for job in with_questions.captures] == [
        ["quiz@early"],
        ["quiz@late"],
    ]
    (asking / "scenarios" / "quiz.yaml").unlink()
    without = plan()
    assert [run.folder for run in without.runs] == [run.folder for run in with_questions.runs]
    assert without.questions == ()
    assert {job.digest for job in without.captures}.isdisjoint(
        job.digest for job in with_questions.captures
    )


def test_a_digest_covers_what_is_asked_and_nothing_else(
    asking: Path, plan: Callable[[], Plan]
) -> None:
    """Another question, grade or checkpoint is another digest; a comment or a file is not."""

    def folders(content: dict[str, Any] | str) -> list[str]:
        written(asking / "scenarios", content)
        return [item.folder for item in plan().questions]

    questions = [CAPITAL, CHOICE]
    first = folders({"name": "quiz", "questions": questions})
    assert len({name.rsplit("-", 1)[1] for name in first}) == 2
    listed = f"# a comment\nquestions: {json.dumps(questions)}\nname: quiz\n"
    assert folders(listed) == first
    (asking / "q.jsonl").write_text("\n".join(map(json.dumps, questions)))
    assert folders({"name": "quiz", "questions": {"file": "q.jsonl"}}) == first
    for change in (
        {"questions": [CAPITAL, {**CHOICE, "answer": "3"}]},
        {"questions": [CAPITAL, {**CHOICE, "group": "sums"}]},
        {"grade": "contains"},
        {"normalise": "tokens"},
        {"system": ""},
        {"capture": {"layers": [0]}},
        {"generation": {"max_new_tokens": 3}},
    ):
        assert set(folders({"name": "quiz", "questions": questions, **change})).isdisjoint(first)


def test_questions_share_out_like_runs(asking: Path, plan: Callable[[], Plan]) -> None:
    """With several jobs a checkpoint, every run and question set belongs to exactly one, all used."""
    for i in range(4):
        path = asking / "scenarios" / f"more{i}.yaml"
        path.write_text(yaml.safe_dump({"name": f"more{i}", "questions": [CAPITAL]}))
    config = asking / "config" / "config.yaml"
    config.write_text(config.read_text() + "capture: {jobs: 3}\n")
    jobs = [job for job in plan().captures if job.checkpoint.name == "early"]
    sizes = [len(job.runs) + len(job.questions) for job in jobs]
    assert len(jobs) == 3
    assert max(sizes) - min(sizes) <= 1
    labels = [item.label for job in jobs for item in (*job.runs, *job.questions)]
    assert sorted(labels) == sorted(set(labels))
    assert len(labels) == len(plan().runs) // 2 + 5


def test_a_study_may_ask_questions_alone(asking: Path, plan: Callable[[], Plan]) -> None:
    """Without a conversation there are no states to compare, and everything else is planned."""
    for name in ("talk", "steps"):
        (asking / "scenarios" / f"{name}.yaml").unlink()
    planned = plan()
    assert planned.runs == ()
    assert planned.states == ()
    assert [job.checkpoint.name for job in planned.captures] == ["early", "late"]
    assert len(planned.questions) == 2


def test_names_are_shared_with_conversations(asking: Path, plan: Callable[[], Plan]) -> None:
    """A conversation and a set of questions cannot have one name, nor one label."""
    written(asking / "scenarios", {"name": "talk", "questions": [CAPITAL]})
    with pytest.raises(StratascopeError, match="the scenario name 'talk' is already used"):
        plan()
    written(asking / "scenarios", {"name": "steps_msg01", "questions": [CAPITAL]})
    with pytest.raises(StratascopeError, match="rename one scenario"):
        plan()


def test_a_model_of_its_own_makes_a_job_without_runs(
    asking: Path, plan: Callable[[], Plan]
) -> None:
    """Questions may name a model that no conversation uses: it is captured, and has no states."""
    (asking / "models" / "other").mkdir()
    (asking / "models" / "other" / "weights").write_text("other")
    content = {"name": "quiz", "questions": [CAPITAL], "model": {"id": "models/other"}}
    written(asking / "scenarios", content)
    planned = plan()
    assert [item.label for item in planned.questions] == ["quiz@other"]
    assert [job.checkpoint.name for job in planned.states] == ["early", "late"]
    assert [job.checkpoint.name for job in planned.captures] == ["early", "late", "other"]
