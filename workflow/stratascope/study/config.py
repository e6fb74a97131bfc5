"""Reading a study folder: config/config.yaml and its scenario files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.study.names import nearest
from stratascope.study.questions import QuestionScenario, read_questions
from stratascope.study.schema import Scenario, Study
from stratascope.study.validate import validate
from stratascope.study.yamlfile import read_mapping

CONFIG = "config/config.yaml"
SUFFIXES = (".yaml", ".yml")
DEFAULT_KEYS = ("model", "generation", "capture", "output", "reference_states")
# What questions have in common with conversations.
QUESTION_DEFAULTS = ("model", "generation")


@dataclass(frozen=True)
class ScenarioFile:
    """A scenario and the file it was read from, as a person would name it."""

    scenario: Scenario
    shown: str


@dataclass(frozen=True)
class QuestionFile:
    """Benchmark questions and the file they were read from."""

    scenario: QuestionScenario
    shown: str


AnyFile = ScenarioFile | QuestionFile


def read_study(root: Path) -> Study:
    """The study's config."""
    path = root / CONFIG
    if not path.is_file():
        raise StratascopeError(
            f"{path}: not there; a study folder holds {CONFIG} (see config/README.md), "
            "and --directory says where the folder is"
        )
    study = validate(Study, read_mapping(path, CONFIG), CONFIG)
    _check_defaults(study.defaults)
    return study


def _check_defaults(defaults: Mapping[str, object]) -> None:
    """Find a slip in the defaults here, where it stands, not in every scenario."""
    for key in defaults:
        if key not in DEFAULT_KEYS:
            near = nearest(key, DEFAULT_KEYS)
            remedy = f"did you mean `{near}`?" if near else f"known: {', '.join(DEFAULT_KEYS)}"
            raise StratascopeError(f"{CONFIG}: defaults.{key}: unknown key; {remedy}")
    example: dict[str, object] = {
        "name": "defaults",
        "prompt": {"messages": [{"role": "user", "content": ""}]},
    }
    model = defaults.get("model")
    if isinstance(model, dict):
        model = {"id": "any", **model}
    validate(
        Scenario,
        example | dict(defaults) | ({"model": model} if model else {}),
        CONFIG,
        "defaults.",
    )


def read_scenarios(root: Path, study: Study) -> list[AnyFile]:
    """Every scenario of the study, sorted by name; two with one name are an error."""
    files = [path for entry in study.scenarios for path in scenario_paths(root / entry, entry)]
    found = [
        read_scenario(path, _shown(path, root), root, study.defaults)
        for path in dict.fromkeys(files)
    ]
    check_names(found)
    return sorted(found, key=lambda item: item.scenario.name)


def scenario_paths(path: Path, shown: str) -> list[Path]:
    """A scenario file itself, or the scenario files directly in a folder, sorted."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise StratascopeError(f"{shown}: no such scenario file or folder")
    found = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
    if not found:
        raise StratascopeError(f"{shown}: holds no scenario (a file ending in .yaml)")
    return found


def read_scenario(
    path: Path, shown: str, root: Path, defaults: Mapping[str, object] | None = None
) -> AnyFile:
    """One scenario file: with ``questions`` benchmark questions, otherwise a conversation.

    ``defaults`` fill in what it does not say. Files that it names are relative to ``root``.
    """
    data = read_mapping(path, shown)
    asks = "questions" in data
    if asks and "prompt" in data:
        raise StratascopeError(
            f"{shown}: has both `prompt` and `questions`; a scenario is a conversation or questions: "
            "make it two files"
        )
    under = {k: v for k, v in (defaults or {}).items() if not asks or k in QUESTION_DEFAULTS}
    merged = _merge(under, data)
    if "model" not in data:
        # The study's defaults may say how to load a model; which one, the checkpoints say.
        merged.pop("model", None)
    if asks:
        read_in = read_questions(merged, root, shown)
        return QuestionFile(validate(QuestionScenario, read_in, shown), shown)
    return ScenarioFile(validate(Scenario, merged, shown), shown)


def check_names(files: Sequence[AnyFile]) -> None:
    """Refuse two scenarios with one name: their runs would be confused."""
    seen: dict[str, str] = {}
    for file in files:
        # Some file systems do not tell `A` from `a`, so neither do names.
        name = file.scenario.name.casefold()
        if name in seen:
            raise StratascopeError(
                f"{file.shown}: the scenario name {file.scenario.name!r} is already used by "
                f"{seen[name]}; give one of them another name"
            )
        seen[name] = file.shown


def _merge(under: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
