"""The hash of each stage's code, without its comments and docstrings; run to record them."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

from stratascope.study.stages import STAGES

RECORD = Path(__file__).with_name("stage_hashes.json")
PACKAGE = Path(__file__).parents[2] / "workflow" / "stratascope"
CODE = {".py", ".j2", ".css", ".js"}


def files_of(stage: str) -> list[Path]:
    found: list[Path] = []
    for name in STAGES[stage].code:
        path = PACKAGE / name
        found += [p for p in path.rglob("*") if p.suffix in CODE] if path.is_dir() else [path]
    return sorted(set(found))


def code_hash(stage: str) -> str:
    total = hashlib.sha256()
    for path in files_of(stage):
        text = path.read_text(encoding="utf-8")
        total.update(path.relative_to(PACKAGE).as_posix().encode())
        total.update((_bare(text) if path.suffix == ".py" else text).encode())
    return total.hexdigest()[:16]


def _bare(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                node.value.value = ""
    return ast.dump(tree)


def current() -> dict[str, dict[str, object]]:
    return {name: {"version": STAGES[name].version, "code": code_hash(name)} for name in STAGES}


if __name__ == "__main__":
    RECORD.write_text(json.dumps(current(), indent=2) + "\n", encoding="utf-8")
