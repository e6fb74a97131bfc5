"""The house: data walks one way, and analysis starts without torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "workflow" / "stratascope"
HEAVY = {"torch", "transformers", "accelerate"}
# Which rooms a room may use beside itself, and which libraries it must not.
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    # The top of the house, which may use everything below it.
    "cli": (
        {
            "analyses",
            "api",
            "measure",
            "study",
            "store",
            "capture",
            "report",
            "compare",
            "demo",
            "workflow",
            "versions",
            "curves",
        },
        HEAVY | {"pandas", "snakemake"},
    ),
    # What the rules run. Only where a rule runs a model is torch imported.
    "workflow": (
        {"analyses", "api", "study", "store", "capture", "report"},
        {"transformers", "accelerate", "pandas", "snakemake"},
    ),
    # Beside it: what a notebook imports.
    "api": ({"study", "store", "capture", "measure", "analyses"}, {"pandas", "snakemake"}),
    "study": (set(), HEAVY | {"numpy", "pandas", "snakemake"}),
    "store": ({"study"}, {"transformers", "pandas", "snakemake"}),
    "capture": ({"study", "store"}, {"pandas", "snakemake"}),
    "analyses": ({"study", "store", "measure"}, HEAVY | {"pandas", "snakemake"}),
    "measure": (set(), HEAVY | {"pandas", "snakemake"}),
    "report": ({"study", "store", "measure"}, HEAVY | {"snakemake"}),
    "compare": ({"study", "store", "report"}, HEAVY | {"snakemake"}),
    "demo": ({"study", "store"}, {"pandas", "snakemake"}),
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_import_only_what_they_may(room: str) -> None:
    """Each room uses only the rooms before it, and none of the libraries that it must do without."""
    rooms, forbidden = ROOMS[room]
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            top = name.split(".")[0]
            assert top not in forbidden, f"{path.name} imports {name}"
            if top == "stratascope" and name.count(".") >= 1:
                other = name.split(".")[1]
                assert other in rooms | {room, "errors", "rows"}, f"{path} imports {name}"


def test_nothing_imports_the_command_line() -> None:
    """The command line is the top of the house: nothing depends on it but `python -m`."""
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__main__.py":
            used = {name for name in imports(path) if name.startswith("stratascope.cli")}
            assert not used or "cli" in path.parts, path


def test_every_room_is_listed() -> None:
    """A new folder in the package has its import rules written down here."""
    assert {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"} == set(
        ROOMS
    )


@pytest.mark.parametrize(
    "module",
    [
        "stratascope.cli",
        "stratascope.workflow.start",
        "stratascope.workflow.capturing",
        "stratascope.workflow.analysing",
        "stratascope.workflow.publishing",
        "stratascope.study.plan",
        "stratascope.capture.job",
        "stratascope.store.states",
        "stratascope.report.tables",
        "stratascope.report.build",
        "stratascope.compare.diff",
    ],
)
def test_analysis_starts_without_torch(module: str) -> None:
    """Planning, extracting, comparing and reporting never pay for importing torch."""
    code = f"import sys, {module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_files_are_short() -> None:
    """A file that grows past 320 lines is two files."""
    long = {
        p.name: n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 320
    }
    assert not long


def test_the_conda_environment_holds_what_the_rules_import() -> None:
    """`--sdm conda` installs every library that the package needs, at the pinned versions."""
    root = PACKAGE.parents[1]
    pinned = set((root / "constraints.txt").read_text().casefold().split())
    text = (root / "workflow" / "envs" / "stratascope.yaml").read_text()
    listed = {line.strip().removeprefix("- ") for line in text.splitlines() if "==" in line}
    assert listed <= pinned
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[\[<>=]", name)[0] for name in project["dependencies"]}
    # Snakemake runs the rules, and DVC runs around them: neither is imported by one.
    assert {name.split("==")[0] for name in listed} == needed - {"snakemake", "dvc"}
