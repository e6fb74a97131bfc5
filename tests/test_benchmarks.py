"""The benchmarks: both sides do the same work, and the table says what was measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# The benchmarks are scripts beside each other, not a package.
sys.path.insert(0, str(BENCHMARKS))

import activation_lab_way  # noqa: E402
import agree  # noqa: E402
import race  # noqa: E402
import run  # noqa: E402
import table  # noqa: E402
from sizes import QUICK  # noqa: E402

WITH_SNAKEMAKE = ("one_more_scenario", "noop", "scale", "dvc_many_runs")
# More than a minute together, and `make bench` runs them all: with the simulations.
LONG = ("one_more_scenario", "noop", "extraction")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiny models on several threads only wait for one another when tests run side by side."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def each_benchmark() -> list[object]:
    slow, long = pytest.mark.slow, pytest.mark.simulation
    return [
        pytest.param(n, marks=[slow] * (n in WITH_SNAKEMAKE) + [long] * (n in LONG))
        for n in run.BENCHMARKS
    ]


@pytest.mark.parametrize("name", each_benchmark())
def test_sides_agree(name: str) -> None:
    """At tiny sizes each benchmark runs, finds that its sides did the same, and times them all."""
    (result,) = run.run([name], QUICK)
    assert not result.skipped
    assert result.rows
    for row in result.rows:
        assert len(row.seconds) == len(row.other_seconds) == QUICK.rounds
        assert min(*row.seconds, *row.other_seconds) > 0


@pytest.mark.parametrize("name", ["capture_run", "packed_snapshots"])
def test_other_work_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A side that reads another layer than it says is not timed against the one that does not."""
    swapped = activation_lab_way.SITES | {"attn_out": activation_lab_way.SITES["mlp_down_out"]}
    monkeypatch.setattr(activation_lab_way, "SITES", swapped)
    with pytest.raises(AssertionError, match="layer_00/attn_out"):
        run.run([name], QUICK)


def test_differences() -> None:
    """Another tensor, another shape or another number is named; a small difference is measured."""
    a = {"x": np.array([1.0, -4.0])}
    assert agree.largest_difference(a, {"x": np.array([1.0, -5.0])}, 0.5) == pytest.approx(0.2)
    for other in ({"y": a["x"]}, {"x": np.ones(3)}, {"x": np.array([1.0, 4.0])}):
        with pytest.raises(AssertionError):
            agree.largest_difference(a, other, 0.5)


def test_sides_take_turns() -> None:
    """Every side runs once before, then once a round, and no side always runs first."""
    ran: list[str] = []

    def side(name: str) -> Callable[[Path], str]:
        def work(folder: Path) -> str:
            assert not list(folder.iterdir())
            ran.append(name)
            return name

        return work

    done = race.race({"a": side("a"), "b": side("b")}, lambda a, b: a + b, 3)
    assert ran == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert done.agreement == "ab"
    assert {name: len(seconds) for name, seconds in done.seconds.items()} == {"a": 3, "b": 3}


def test_table() -> None:
    """A line of the table gives medians, their ratio, the rounds' ratios, the target and n."""
    faster = race.Row(
        "work", "ours", "theirs", (1.0, 2.0, 3.0), (4.0, 10.0, 30.0), target="at least 2"
    )
    assert table.cells(faster) == [
        "work", "ours: 2.00 s", "theirs: 10 s", "5.00 times as fast (4.00 to 10.00)",
        "at least 2", "3", "",
    ]  # fmt: skip
    cost = race.Row("work", "ours", "floor", (0.03,), (0.02,), reads="cost")
    assert table.cells(cost)[1:4] == [
        "ours: 30.0 ms",
        "floor: 20.0 ms",
        "1.50 times as long (1.50 to 1.50)",
    ]


def test_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark that cannot run says why, and the others still run."""

    def cannot(_: object) -> list[race.Row]:
        raise race.SkippedError("no models here")

    monkeypatch.setitem(run.BENCHMARKS, "noop", cannot)
    results = run.run(["noop", "all_pairs"], QUICK)
    page = table.render(results)
    assert "Skipped: no models here" in page
    assert results[1].rows


def test_only_whole_runs_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page is replaced by a run of all benchmarks at full size, by nothing less."""
    row = race.Row("work", "ours", "theirs", (1.0,), (2.0,))
    monkeypatch.setattr(run, "BENCHMARKS", {"one": lambda _: [row], "two": lambda _: [row]})
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results.md")
    for arguments in (["one"], ["--quick"]):
        run.main(arguments)
        assert "| work |" in capsys.readouterr().out
        assert not (tmp_path / "results.md").exists()
    run.main([])
    assert (tmp_path / "results.md").read_text().count("| work |") == 2
