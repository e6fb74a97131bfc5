"""``stratascope extract``, as people type it, killed at any moment and called again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from stratascope.cli import cli
from stratascope.errors import StratascopeError
from stratascope.store.features import Features

WORDS = [
    "the",
    "bear",
    "was",
    "happy",
    "and",
    "sang",
    "all",
    "day",
    "by",
    "river",
    "of",
    "a",
    "small",
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A hundred texts of one to forty words."""
    draw = random.Random(1)
    path = tmp_path / "texts.jsonl"
    rows = [
        {
            "words": " ".join(draw.choices(WORDS, k=draw.randint(1, 40))),
            "mood": i % 3,
            "who": f"w{i % 7}",
        }
        for i in range(100)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def call(*arguments: object) -> dict[str, Any]:
    """The one row that the command prints."""
    result = CliRunner().invoke(
        cli, ["extract", *map(str, arguments), "--threads", "1", "--format", "json"]
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["rows"]
    return dict(row)


def test_features_of_a_file(folders: Any, data: Path, tmp_path: Path) -> None:
    """The example of the manual works, and its summary is what lies there."""
    out = tmp_path / "out"
    asked = (
        folders("llama"), data, "--text", "words", "--label", "mood", "--group", "who",
        "--sites", "hidden_out,attn_out", "--layers", "0-1", "--position", "-2",
        "--on-bad-row", "skip", "--shard-texts", 30, "--out", out,
    )  # fmt: skip
    row = call(*asked)
    found = Features.open(out)
    assert row == {
        "features": "texts@llama",
        "whole": True,
        "texts": found.info["texts"],
        "rows": len(found),
        "skipped": len(found.info["skipped"]),
        "sites": "hidden_out,attn_out",
        "modules": "",
        "layers": "0,1",
        "shards": 4,
        "bytes": sum(path.stat().st_size for path in out.glob("*.safetensors")),
        "folder": str(out),
    }
    assert found.info["model"]["arch"]["num_layers"] == 3
    assert found.info["dtype"] == "float32"  # as the folder's config.json says
    lines = data.read_text().splitlines()
    for text, line, mood in zip(
        *(found.index.column(name).to_pylist() for name in ("text", "line", "mood")), strict=True
    ):
        assert json.loads(lines[line - 1])["words"] == text
        assert json.loads(lines[line - 1])["mood"] == mood
    assert call(*asked) == row


def test_parts_and_a_sample(folders: Any, data: Path, tmp_path: Path) -> None:
    """A sample is the same whoever extracts which part of it; a part that is alone says so."""
    asked = (folders("gpt2"), data, "--text", "words", "--max-samples", 41, "--seed", 5)
    asked = (*asked, "--shard-texts", 10, "--position", "mean", "--store-dtype", "bfloat16")
    whole = call(*asked, "--out", tmp_path / "whole")
    assert (whole["texts"], whole["shards"]) == (41, 5)
    first = call(*asked, "--out", tmp_path / "parts", "--part", "1/2")
    assert (first["texts"], first["shards"], first["whole"]) == (20, 2, False)
    assert call(*asked, "--out", tmp_path / "parts", "--part", "2/2") == whole | {
        "folder": str(tmp_path / "parts")
    }
    for path in (tmp_path / "whole").iterdir():
        if path.name != "run.json":
            assert path.read_bytes() == (tmp_path / "parts" / path.name).read_bytes()


def test_modules_alone(folders: Any, data: Path, tmp_path: Path) -> None:
    """With modules named and no sites, only the modules are read; several numbers and ranges are layers."""
    asked = (folders("llama"), data, "--text", "words", "--max-samples", 5)
    call(*asked, "--module", "model.norm", "--out", tmp_path / "a")
    assert Features.open(tmp_path / "a").names == ["module/model.norm"]
    call(*asked, "--layers", "0,1-2", "--out", tmp_path / "b")
    assert Features.open(tmp_path / "b").layers == [0, 1, 2]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--layers", "0-x"), "neither `all`, nor numbers"),
        (("--part", "3/2"), "not a part such as 1/4"),
        (("--position", "first"), "position: input should be 'last'"),
        (("--text", "word"), "no field `word` for text; did you mean `words`?"),
        (("--store-dtype", "int8"), "store_dtype: input should be"),
        (("--revision", "main"), "a local folder has no revision"),
    ],
)
def test_mistakes_are_told_in_a_line(
    folders: Any, data: Path, tmp_path: Path, asked: Sequence[str], told: str
) -> None:
    """What cannot be is refused by name, and no folder is left."""
    fields = () if "--text" in asked else ("--text", "words")
    arguments = [folders("llama"), data, *fields, *asked, "--out", tmp_path / "out"]
    result = CliRunner().invoke(cli, ["extract", *map(str, arguments)])
    assert result.exit_code != 0
    assert told in (
        str(result.exception) if isinstance(result.exception, StratascopeError) else result.output
    )
    assert not (tmp_path / "out").exists()


def start(*arguments: object) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "stratascope", "extract", *map(str, arguments), "--threads", "1"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def contents(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    info = json.loads(found["run.json"])
    del info["created_at"]
    return found | {"run.json": json.dumps(info).encode()}


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_in_the_same_bytes(
    folders: Any, data: Path, tmp_path: Path
) -> None:
    """Killed four times at random moments, the same command ends as if nothing had happened."""
    asked = (folders("llama"), data, "--text", "words", "--label", "mood")
    asked = (*asked, "--shard-texts", 2, "--position", "all")
    call(*asked, "--out", tmp_path / "whole")
    draw = random.Random(int.from_bytes(os.urandom(4)))
    out = tmp_path / "killed"
    for kill in range(4):
        process = start(*asked, "--out", out)
        wanted = min(10 * kill + draw.randint(1, 8), 48)
        while len(list(out.glob(".shard-*"))) < wanted and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(draw.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = {path.name: path.stat().st_mtime_ns for path in out.glob(".shard-*")}
        assert len(done) >= wanted or (out / "run.json").is_file()
    last = start(*asked, "--out", out)
    told, _ = last.communicate()
    assert last.returncode == 0, told
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_share_the_work(folders: Any, data: Path, tmp_path: Path) -> None:
    """Two parts at one time, and the same part twice at one time, leave what one process leaves."""
    asked = (folders("llama"), data, "--text", "words", "--shard-texts", 5)
    call(*asked, "--out", tmp_path / "whole")
    for parts in (("1/2", "2/2"), ("1/1", "1/1")):
        out = tmp_path / parts[0].replace("/", "-")
        processes = [start(*asked, "--out", out, "--part", part) for part in parts]
        told = [process.communicate()[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], told
        assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_texts(folders: Any, tmp_path: Path) -> None:
    """Ten times the texts take the same memory, to a tenth."""
    random_ids = np.random.default_rng(0).integers(5, 300, 100 * 600, dtype=np.uint16)
    peaks = []
    for count in (1, 10):
        np.save(tmp_path / f"{count}.npy", np.tile(random_ids, count))
        code = (
            "import resource, sys; from stratascope.cli import cli\n"
            "try: cli(sys.argv[1:])\n"
            "except SystemExit: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        arguments = [
            "extract", folders("llama"), tmp_path / f"{count}.npy", "--sequence", 100,
            "--sites", "hidden_out,mlp_act,q,k,v,attn_out", "--position", "all",
            "--shard-texts", 200, "--threads", 1, "--out", tmp_path / f"out-{count}",
        ]  # fmt: skip
        told = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        peaks.append(int(told.split()[-1]))
    assert peaks[1] < 1.1 * peaks[0]
