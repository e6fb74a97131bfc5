"""The documentation is true: its commands parse, its files exist, its keys and columns are the code's."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from stratascope.capture.families import FAMILIES
from stratascope.cli import cli
from stratascope.report.tables import TABLES
from stratascope.store.runs import RUN_FILES
from stratascope.store.tensorread import TensorReader
from stratascope.study.config import read_study
from stratascope.study.plan import Plan, make_plan
from stratascope.study.questions import QuestionScenario
from stratascope.study.schema import Scenario, Study

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "config" / "README.md",
        ROOT / "results" / "README.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("studies/*/README.md"),
    ]
)
MANUAL = ROOT / "config" / "README.md"
# Paths with these beginnings are files of this repository, unless they hold a placeholder.
OWN = ("benchmarks/", "config/", "docs/", "models/", "scenarios/", "studies/", "workflow/")
MADE = {"config/lock.json", "scenarios/x.yaml"}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def simple_commands(line: str) -> Iterator[list[str]]:
    """The commands of a shell line, its comment left out: `a && b; c | d > file` has four."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";&|"):
            if words:
                yield words
            words = []
        else:
            words.append(word)


def commands(page: Path) -> Iterator[list[str]]:
    """Every command of the page's shell blocks, and every one that stands in its text."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            yield from simple_commands(line)
    for span in re.findall(r"`((?:stratascope|snakemake) [^`<]+)`", prose(page)):
        words = shlex.split(span)
        # A sentence may name a command without what it needs.
        yield [*words, "--help"] if len(words) == 2 else words


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next one; code blocks left out."""
    text = prose(page)
    start = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    assert start is not None, heading
    return re.split(r"^#+ ", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every Markdown table, headers left out."""
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# Commands


def check_stratascope(words: list[str]) -> None:
    """Click's own parser accepts the command: it exists, with these options and arguments."""
    if words == ["--help"]:
        return
    with cli.make_context("stratascope", list(words)) as context:
        name, command, rest = cli.resolve_command(context, list(words))
        assert command is not None
        if rest == ["--help"]:
            return
        with command.make_context(name, rest, parent=context):
            pass


def check_snakemake(words: list[str]) -> None:
    """Snakemake's own parser accepts the command; N stands for a number of cores."""
    from snakemake.cli import get_argument_parser

    get_argument_parser().parse_args(["2" if word == "N" else word for word in words])


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(words) <= set(targets)


def check_sed(words: list[str]) -> None:
    """The text that is to be exchanged stands in the file."""
    flag, expression, file = words
    assert flag == "-i"
    assert expression.split("/")[1] in (ROOT / file).read_text(encoding="utf-8")


def check_activate(words: list[str]) -> None:
    assert words == [".venv/bin/activate"]


def check_dvc(words: list[str]) -> None:
    """DVC's own parser accepts the command."""
    from dvc.cli.parser import get_main_parser

    get_main_parser().parse_args(words)


def check_nothing(words: list[str]) -> None:
    """``mkdir`` and ``cp``: what they name is checked as every other path."""


CHECKS = {
    "stratascope": check_stratascope,
    "snakemake": check_snakemake,
    "make": check_make,
    "sed": check_sed,
    ".": check_activate,
    "mkdir": check_nothing,
    "cp": check_nothing,
    "dvc": check_dvc,
    "git": check_nothing,
    "bash": check_nothing,
}


@pages
def test_every_command_parses(page: Path) -> None:
    """Each command exists, with these options, and the files of the repository that it names exist."""
    for words in commands(page):
        if "--config" in words:
            continue  # named as what is refused
        if ">" in words:
            words = words[: words.index(">")]
        assert words[0] in CHECKS, f"say in CHECKS what {words[0]!r} is"
        try:
            CHECKS[words[0]](words[1:])
        except (click.ClickException, SystemExit) as error:
            pytest.fail(f"{shlex.join(words)}: {getattr(error, 'message', error)}")
        for word in words[1:]:
            if word.startswith(OWN):
                path = word.split(":")[0]  # DVC names a key of a file: `config/config.yaml:key`
                assert path in MADE or (ROOT / path).exists(), shlex.join(words)


def test_a_wrong_command_is_noticed() -> None:
    """The check of commands can fail: at a command, an option, and an argument that is missing."""
    for line in ("stratascope caputre x", "stratascope plan --depth 3", "stratascope inspect"):
        with pytest.raises((click.ClickException, SystemExit)):
            check_stratascope(shlex.split(line)[1:])
    with pytest.raises(SystemExit):
        check_snakemake(["--depth", "2"])


@pages
def test_links_and_named_files_exist(page: Path) -> None:
    """Each relative link leads to a file and, with a fragment, to a heading; each file named exists."""
    links = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text_of(page))
    for link in (a or b for a, b in links):
        if re.match(r"https?:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if fragment:
            headings = re.findall(r"^#+ (.+)$", text_of(target), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert fragment in slugs, link
    for name in quoted(prose(page)):
        if name.startswith(OWN) and not re.search(r"[\s<>*{}]|NN|RUN", name):
            known = name in MADE or (ROOT / name).exists() or (page.parent / name).exists()
            assert known, name


@pages
def test_yaml_examples_are_valid(page: Path) -> None:
    """An example of a config or a scenario is accepted as it stands."""
    for block in blocks(page, "yaml"):
        kind = block.splitlines()[0]
        content = yaml.safe_load(block)
        scenario = QuestionScenario if "questions" in content else Scenario
        assert kind.startswith(("# config/config.yaml", "# scenarios/")), kind
        (Study if "config/config.yaml" in kind else scenario).model_validate(content)


@pages
def test_python_examples_compile(page: Path) -> None:
    """A Python example is at least Python."""
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


@pytest.mark.slow
def test_the_tour_of_the_api_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of the API's page runs, in order, and each `# ->` behind an expression is what it gives."""
    for name in ("models", "scenarios"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)  # as the repository's root, but what is saved lands elsewhere
    page = ROOT / "docs" / "api.md"
    names: dict[str, Any] = {}
    shown = 0
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)
        for expression, expected in re.findall(r"^(\S.*?)  # -> (.+)$", block, re.MULTILINE):
            assert repr(eval(expression, names)) == expected, expression
            shown += 1
    assert shown > 10


# The manual


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a schema, dotted, with its default; a list's items count as its own keys."""
    for name, field in model.model_fields.items():
        inner = next(iter(models_in(field.annotation)), None)
        key = f"{prefix}{name}"
        if inner is None:
            yield key, field.get_default(call_default_factory=True)
        else:
            named = ".<name>" if get_origin(field.annotation) is dict else ""
            yield from leaves(inner, f"{key}{named}.")


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


@pytest.mark.parametrize(
    ("model", "heading", "elsewhere"),
    [
        (Study, "config.yaml", ()),
        (Scenario, "Scenario files", ()),
        (QuestionScenario, "Benchmark questions", ("model.", "generation.")),
    ],
)
def test_every_key_is_documented_with_its_default(
    model: type[BaseModel], heading: str, elsewhere: tuple[str, ...]
) -> None:
    """The manual lists exactly the keys of the schema, in its order, with the defaults it has."""
    table = [row for row in rows(section(MANUAL, heading)) if len(row) == 4]
    documented = {quoted(row[0])[0]: row[2] for row in table}
    expected = {key: default for key, default in leaves(model) if not key.startswith(elsewhere)}
    assert list(documented) == list(expected)
    for key, cell in documented.items():
        default = expected[key]
        if default is PydanticUndefined:
            assert cell == "required", key
        else:
            written = yaml.safe_load(cell.strip("`"))
            assert written == json.loads(json.dumps(default)), key


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_column_is_documented(name: str) -> None:
    """The manual lists exactly the columns of each table, in the order of the file."""
    cells = [quoted(row[0]) for row in rows(section(MANUAL, f"{name}.csv"))]
    assert [column for cell in cells for column in cell] == list(TABLES[name].columns)


def test_no_table_is_documented_that_is_not_made() -> None:
    """The headings that name CSV files are the tables."""
    assert set(re.findall(r"^### (\w+)\.csv$", text_of(MANUAL), re.MULTILINE)) == set(TABLES)


def test_every_snapshot_position_is_documented() -> None:
    """The table of positions lists those that the schema allows."""
    table = [row for row in rows(section(MANUAL, "Scenario files")) if len(row) == 2]
    assert tuple(quoted(row[0])[0] for row in table) == (
        Scenario.model_fields["capture"].default.snapshot_positions
    )


def test_every_site_is_documented() -> None:
    """The table of tensors lists each site with the switch that selects it, in the order of the code."""
    from stratascope.capture.sites import MODEL_SITES, SITES

    table = [row for row in rows(section(MANUAL, "runs")) if len(row) == 4]
    documented = [(quoted(row[0])[0], quoted(row[1])[0]) for row in table]
    sites = [(s.name if s in MODEL_SITES else f"layer_NN/{s.name}", s.switch) for s in SITES]
    assert documented == [*sites, ("module/<name>", "modules")]


def test_documented_errors_are_raised_somewhere() -> None:
    """Each fragment of a message in the manual stands in the code."""
    code = "".join(
        p.read_text() for p in (ROOT / "workflow").rglob("*") if p.suffix in (".py", ".smk")
    )
    table = rows(section(MANUAL, "Errors and what to do"))
    assert len(table) > 10
    for row in table:
        assert quoted(row[0])[0] in code, row[0]


@pytest.mark.slow
def test_a_captured_run_is_as_documented(
    tmp_path: Path, demo: list[Path], stratascope: Any
) -> None:
    """The README's `stratascope run` leaves the files, fields and tensors that the manual describes."""
    words = next(w for w in commands(ROOT / "README.md") if w[:2] == ["stratascope", "run"])
    place = {"models/demo/step-0": demo[0], "scenarios/mood_swings.yaml": ROOT / words[2]}
    done = stratascope(tmp_path, *[place.get(word, word) for word in words[1:]], "--format", "json")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / json.loads(done.stdout)["rows"][0]["folder"]
    assert {path.name for path in folder.iterdir()} == set(RUN_FILES)

    fields = [set(quoted(row[0])) for row in rows(section(MANUAL, "runs")) if len(row) == 2]
    summary = json.loads((folder / "run.json").read_text())
    steps = json.loads((folder / "steps.json").read_text())["steps"]
    assert set().union(*fields) == set(summary) | set(steps[0])

    names = {re.sub(r"layer_\d\d", "layer_NN", n) for n in tensors(folder, "activations")}
    table = [row for row in rows(section(MANUAL, "runs")) if len(row) == 4]
    documented = {quoted(row[0])[0] for row in table}
    absent = {name for name in documented if "/router_" in name} | {"module/<name>"}
    assert names == documented - absent
    hidden = summary["model"]["arch"]["hidden_size"]
    for name, entry in tensors(folder, "snapshots").items():
        assert re.fullmatch(r"\w+/layer_\d\d/(hidden_in|hidden_out|attn_out|mlp_down_out)", name)
        assert (entry["dtype"], entry["shape"][1]) == ("F32", hidden)


def tensors(folder: Path, stem: str) -> dict[str, dict[str, Any]]:
    return TensorReader.open(folder / f"{stem}.safetensors").entries


# The README


def test_readme_names_the_architectures() -> None:
    """The model types in the README are those with a table of sites, no more and no less."""
    sentence = re.search(
        r"known by name for these model types:(.*?)\.", text_of(ROOT / "README.md"), re.DOTALL
    )
    assert sentence is not None
    assert quoted(sentence[1]) == sorted(FAMILIES)


def plan_of(folder: Path) -> Plan:
    return make_plan(folder, lambda path: path.name, lambda dataset, _: dataset.data)


def test_readme_change_makes_one_scenario_new(tmp_path: Path) -> None:
    """The `sed` of the README gives that scenario's runs new digests, and leaves all others."""
    for name in ("config", "scenarios"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for entry in read_study(ROOT).checkpoints.values():
        (tmp_path / entry.id).mkdir(parents=True)
    before = {run.folder for run in plan_of(tmp_path).runs}
    _, _, expression, file = next(w for w in commands(ROOT / "README.md") if w[0] == "sed")
    _, old, new, _ = expression.split("/")
    scenario = tmp_path / file
    scenario.write_text(scenario.read_text().replace(old, new))
    changed = [run for run in plan_of(tmp_path).runs if run.folder not in before]
    assert {run.parent for run in changed} == {scenario.stem}
    assert len(changed) == len(read_study(ROOT).checkpoints)
