from __future__ import annotations

import hashlib
import json
import math
import statistics
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from threadpoolctl import threadpool_limits

from stratascope.errors import StratascopeError
from stratascope.report.tables import TABLES, Written, comparison, snapshot_reference, write_tables
from stratascope.study import pairs

SOURCES = ("hidden_in", "hidden_out")
LAYERS = (0, 2)
POSITIONS = ("turn_end", "generation_prompt")
NASTY = 'He said "no, never",\r\nthen left.\n</script> é \U0001f600 =1+1'
# Scenario: (conversation, roles). b1..b3 are one conversation run at each message.
SCENARIOS = {
    "c": ("c", "uau"), "a": ("a", "ua"), "b1": ("b", "u"), "b2": ("b", "ua"), "b3": ("b", "uau"),
}  # fmt: skip
TEXTS = {
    "a": f"{NASTY} a",
    "b1": "two\nlines",
    "b2": "",
    "b3": "carriage\rreturn",
    "c": 'a "quote"',
}
# No question was asked here, no message labelled, no dataset read.
NOT_ASKED = {
    "questions", "question_accuracy", "recognition", "probes", "probe_predictions",
    "probe_transfer", "similarity", "drift", "neurons", "neuron_examples", "logit_lens",
    "residual", "attention", "induction", "cross_layer", "trajectory",
}  # fmt: skip
ROLES = {"u": "user", "a": "assistant"}


def vector(width: int, *key: object) -> np.ndarray:
    """The state of ``key``: the same key, the same state; all share a large common part."""
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")
    common = np.random.default_rng(7).normal(size=width)
    return (common + np.random.default_rng(seed).normal(size=width)).astype(np.float32)


class Fake:
    """A checkpoint's states, and the plain access that the tests recompute cells with."""

    def __init__(self, name: str, order: int, width: int, scenarios: Any = SCENARIOS) -> None:
        self.name, self.order, self.width = name, order, width
        self.scenarios: dict[str, tuple[str, str]] = scenarios
        self.references = [["joy", "anger"], ["calm", "joy", "fear"]] if len(scenarios) > 1 else []
        self.gaps: set[tuple[str, int]] = set()

    def prefixes(self, scenario: str) -> list[str]:
        conversation, roles = self.scenarios[scenario]
        return [f"{conversation}:{roles[: i + 1]}" for i in range(len(roles))]

    def reference_set(self, scenario: str) -> int | None:
        return (0 if scenario == "a" else 1) if self.references else None

    def state(self, kind: str, key: object, source: str, layer: int) -> np.ndarray:
        return vector(self.width, self.name, kind, key, source, layer).astype(np.float64)

    def initial(self, scenario: str, source: str, layer: int) -> np.ndarray:
        return self.state("generation_prompt", self.prefixes(scenario)[-1], source, layer)

    def final(self, scenario: str, source: str, layer: int) -> np.ndarray:
        return self.state("final", scenario, source, layer)

    def label(self, scenario: str) -> str:
        return f"{scenario}@{self.name}"

    def save(self, folder: Path) -> Path:
        tensors: dict[str, np.ndarray] = {}
        for source in SOURCES:
            for layer in LAYERS:
                at, missing = f"layer_{layer:02d}/{source}", np.full(self.width, np.nan)
                for which in ("initial", "final"):
                    tensors[f"{which}/{at}"] = np.array([
                        missing if (s, layer) in self.gaps else getattr(self, which)(s, source, layer)
                        for s in self.scenarios
                    ], dtype=np.float32)  # fmt: skip
                for position in POSITIONS:
                    tensors[f"snapshot/{position}/{at}"] = np.array([
                        missing if (s, layer) in self.gaps else self.state(position, p, source, layer)
                        for s in self.scenarios for p in self.prefixes(s)
                    ], dtype=np.float32)  # fmt: skip
                    if self.references:
                        tensors[f"reference/{position}/{at}"] = np.array([
                            self.state(f"reference {position}", (n, r), source, layer)
                            for n, labels in enumerate(self.references) for r in labels
                        ], dtype=np.float32)  # fmt: skip
        save_file(tensors, folder / f"{self.name}-d.safetensors")
        path = folder / f"{self.name}-d.json"
        path.write_text(json.dumps(self.index()), encoding="utf-8")
        return path

    def index(self) -> dict[str, Any]:
        runs, row = [], 0
        for scenario, (conversation, roles) in self.scenarios.items():
            messages = [
                {"index": i, "role": ROLES[role], "content": "x", "prefix": prefix}
                for i, (role, prefix) in enumerate(zip(roles, self.prefixes(scenario), strict=True))
            ]
            runs.append({
                "label": self.label(scenario), "scenario": scenario, "parent": conversation,
                "folder": "f", "generated": TEXTS.get(scenario, scenario), "prompt": "x",
                "rows": [row, row + len(roles)], "messages": messages,
                "reference_set": self.reference_set(scenario),
            })  # fmt: skip
            row += len(roles)
        starts = np.cumsum([0, *map(len, self.references)]).tolist()
        return {
            "checkpoint": self.name, "order": self.order, "model": {"id": "m", "revision": None},
            "hidden_size": self.width, "num_layers": 4, "layers": list(LAYERS),
            "sources": list(SOURCES), "positions": list(POSITIONS), "runs": runs,
            "reference_sets": [
                {"labels": labels, "rows": [start, start + len(labels)]}
                for labels, start in zip(self.references, starts, strict=False)
            ],
        }  # fmt: skip

    def run_pool(self, source: str, layer: int) -> list[tuple[str, np.ndarray]]:
        """Conversation and state of every distinct run state, by plain loops."""
        pool = {}
        for s, (conversation, _) in self.scenarios.items():
            if (s, layer) not in self.gaps:
                pool[("final", s)] = (conversation, self.final(s, source, layer))
                for p in self.prefixes(s):
                    pool[p] = (conversation, self.state("generation_prompt", p, source, layer))
        return list(pool.values())

    def run_centre(self, source: str, layer: int) -> np.ndarray:
        return np.mean([state for _, state in self.run_pool(source, layer)], axis=0)

    def snapshot_centre(self, position: str, source: str, layer: int) -> np.ndarray:
        prefixes = {
            p for s in self.scenarios if (s, layer) not in self.gaps for p in self.prefixes(s)
        }
        states = [self.state(position, p, source, layer) for p in sorted(prefixes)]
        for n, labels in enumerate(self.references):
            states += [self.state(f"reference {position}", (n, r), source, layer) for r in labels]
        return np.mean(states, axis=0)


def cos(a: np.ndarray, b: np.ndarray) -> float:
    return sum(a * b) / math.sqrt(sum(a * a) * sum(b * b))


EARLY, LATE, WIDE = Fake("early", 0, 24), Fake("late", 1, 24), Fake("wide", 2, 230)
LATE.gaps = {("c", 2)}
CHECKPOINTS = {fake.name: fake for fake in (EARLY, LATE, WIDE)}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path, Written]:
    folder = tmp_path_factory.mktemp("states")
    paths = [fake.save(folder) for fake in (WIDE, LATE, EARLY)]
    return paths, folder / "tables", write_tables(paths, folder / "tables")


@pytest.fixture(scope="module")
def tables(study: tuple[list[Path], Path, Written]) -> dict[str, pd.DataFrame]:
    return {stem: pd.read_csv(study[1] / f"{stem}.csv") for stem in TABLES}


def only(frame: pd.DataFrame, **values: object) -> pd.Series:
    for name, value in values.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_contracted_columns_come_first_in_order(tables: dict[str, pd.DataFrame]) -> None:
    """Each file begins with the columns that others rely on; nothing stands between them."""
    summary = (
        "mean_cosine,std_cosine,median_cosine,min_cosine,most_divergent_layer,mean_MAE,std_MAE,"
        "median_MAE,max_MAE_layer,mean_overlap,std_overlap,median_overlap,min_overlap,"
        "min_overlap_layer"
    )
    pair = "state,pair,run_a,run_b,generated_a,generated_b,source"
    contract = {
        "intra_run_cosines": "run,source,layer,cosine,MAE,overlap,centred_cosine",
        "intra_run_report": f"run,source,{summary},mean_centred_cosine,n_layers",
        "comparison_cosines": f"{pair},layer,cosine,MAE,overlap,centred_cosine",
        "comparison_report": f"{pair},{summary},mean_centred_cosine",
        "snapshot_reference": "run,message,role,reference,position,source,layer,cosine,MAE,overlap",
    }
    for stem, columns in contract.items():
        assert ",".join(tables[stem].columns).startswith(columns)
    for stem, table in TABLES.items():
        assert tuple(tables[stem].columns) == table.columns
        assert len(tables[stem]) > 0 or stem in NOT_ASKED


def test_intra_run_cells(tables: dict[str, pd.DataFrame]) -> None:
    """Cosine, MAE, centred cosine and background equal plain loops over the states."""
    for fake, scenario in ((EARLY, "b2"), (LATE, "a"), (WIDE, "c")):
        row = only(
            tables["intra_run_cosines"], run=fake.label(scenario), source="hidden_out", layer=2
        )
        at = ("hidden_out", 2)
        first, last, centre = (
            fake.initial(scenario, *at),
            fake.final(scenario, *at),
            fake.run_centre(*at),
        )
        assert row["cosine"] == pytest.approx(cos(first, last), abs=1e-6)
        assert row["MAE"] == pytest.approx(statistics.fmean(abs(first - last)), rel=1e-6)
        assert row["centred_cosine"] == pytest.approx(cos(first - centre, last - centre), abs=1e-6)
        pool = fake.run_pool(*at)
        apart = [cos(x, y) for (g, x), (h, y) in combinations(pool, 2) if g != h]
        assert row["background_n"] == len(apart)
        assert row["background_cosine"] == pytest.approx(statistics.fmean(apart), abs=1e-6)
        assert row["background_std"] == pytest.approx(statistics.pstdev(apart), abs=1e-6)


def test_layers_that_were_not_captured_have_no_row(tables: dict[str, pd.DataFrame]) -> None:
    """A run that captured one layer has rows for that layer only, and says so in its summary."""
    rows = tables["intra_run_cosines"].query("run == 'c@late'")
    assert rows["layer"].tolist() == [0, 0]
    row = only(tables["intra_run_report"], run="c@late", source="hidden_in")
    assert (row["n_layers"], row["most_divergent_layer"]) == (1, 0)
    other = only(tables["intra_run_report"], run="c@early", source="hidden_in")
    assert other["n_layers"] == 2
    pairs = tables["comparison_cosines"].query("run_a == 'a@early' and run_b == 'c@late'")
    assert set(pairs["layer"]) == {0}


def test_rows_follow_the_study(tables: dict[str, pd.DataFrame]) -> None:
    """Runs come in the order of checkpoints, then labels, whatever the files' order."""
    expected = [fake.label(s) for fake in (EARLY, LATE, WIDE) for s in sorted(SCENARIOS)]
    assert list(dict.fromkeys(tables["intra_run_report"]["run"])) == expected


def test_every_comparable_pair_once(
    study: tuple[list[Path], Path, Written], tables: dict[str, pd.DataFrame]
) -> None:
    """Every unordered pair of equal hidden size is there for both states; others are counted."""
    report = tables["comparison_report"]
    for which in ("initial", "final"):
        some = report[(report["state"] == which) & (report["source"] == "hidden_in")]
        found = list(zip(some["run_a"], some["run_b"], strict=True))
        narrow = [fake.label(s) for fake in (EARLY, LATE) for s in sorted(SCENARIOS)]
        wide = [WIDE.label(s) for s in sorted(SCENARIOS)]
        assert found == [*combinations(narrow, 2), *combinations(wide, 2)]
    assert (report["pair"] == report["run_a"] + " vs " + report["run_b"]).all()
    assert study[2].counts["pairs"] == 45 + 10
    assert study[2].counts["pairs_not_comparable"] == 50


def test_pairs_of_a_large_study_are_some_of_all(
    study: tuple[list[Path], Path, Written],
    tables: dict[str, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where not every pair is compared, those that are have the numbers that they have among all."""
    monkeypatch.setattr(pairs, "MOST_PAIRS", 8)
    counts = write_tables(study[0], tmp_path).counts
    keys = ["state", "run_a", "run_b", "source", "layer"]
    every = tables["comparison_cosines"].set_index(keys)
    some = pd.read_csv(tmp_path / "comparison_cosines.csv").set_index(keys)
    assert 0 < len(some) < len(every)
    same = ["cosine", "MAE", "overlap", "centred_cosine", "background_cosine", "background_std"]
    pd.testing.assert_frame_equal(some[same], every.loc[some.index][same], rtol=1e-5)
    summary = pd.read_csv(tmp_path / "comparison_report.csv")
    compared = set(zip(summary["run_a"], summary["run_b"], strict=True))
    assert counts["pairs"] == len(compared)
    assert counts["pairs"] + counts["pairs_left_out"] == 45 + 10
    assert ("a@early", "a@late") in compared


def test_comparison_cells_across_checkpoints(tables: dict[str, pd.DataFrame]) -> None:
    """Each state is centred on its own checkpoint; the background pairs unlike conversations."""
    at = ("hidden_in", 0)
    row = only(
        tables["comparison_cosines"], state="final", run_a="b3@early", run_b="a@late",
        source="hidden_in", layer=0,
    )  # fmt: skip
    x, y = EARLY.final("b3", *at), LATE.final("a", *at)
    assert row["cosine"] == pytest.approx(cos(x, y), abs=1e-6)
    assert row["MAE"] == pytest.approx(statistics.fmean(abs(x - y)), rel=1e-6)
    top = [int(abs(state).argmax()) for state in (x, y)]
    assert row["overlap"] == float(top[0] == top[1])
    centred = cos(x - EARLY.run_centre(*at), y - LATE.run_centre(*at))
    assert row["centred_cosine"] == pytest.approx(centred, abs=1e-6)
    apart = [cos(u, v) for g, u in EARLY.run_pool(*at) for h, v in LATE.run_pool(*at) if g != h]
    assert row["background_cosine"] == pytest.approx(statistics.fmean(apart), abs=1e-6)
    assert row["background_std"] == pytest.approx(statistics.pstdev(apart), abs=1e-6)


def test_reports_summarise_the_cosines(tables: dict[str, pd.DataFrame]) -> None:
    """The summary's numbers are those of the rows of the table with layers."""
    for stem, keys in (("intra_run", ["run"]), ("comparison", ["state", "pair"])):
        groups = tables[f"{stem}_cosines"].groupby([*keys, "source"], sort=False)
        report = tables[f"{stem}_report"]
        assert len(groups) == len(report)
        for column in ("cosine", "MAE", "overlap"):
            np.testing.assert_allclose(groups[column].mean(), report[f"mean_{column}"], atol=1e-6)
        np.testing.assert_allclose(groups["cosine"].min(), report["min_cosine"], atol=1e-6)
        np.testing.assert_allclose(
            groups["centred_cosine"].mean(), report["mean_centred_cosine"], atol=1e-6
        )


def test_snapshot_cells(tables: dict[str, pd.DataFrame]) -> None:
    """A message's row compares its snapshot with its own run's references, at each position."""
    frame = tables["snapshot_reference"]
    at = ("turn_end", "hidden_out", 2)
    row = only(
        frame, run="b2@wide", message=1, reference="joy", position=at[0], source=at[1], layer=at[2]
    )
    state = WIDE.state(at[0], "b:ua", *at[1:])
    goal = WIDE.state("reference turn_end", (1, "joy"), *at[1:])
    centre = WIDE.snapshot_centre(*at)
    assert row["role"] == "assistant"
    assert row["cosine"] == pytest.approx(cos(state, goal), abs=1e-6)
    assert row["MAE"] == pytest.approx(statistics.fmean(abs(state - goal)), rel=1e-6)
    tops = [set(np.argsort(-abs(x))[:2].tolist()) for x in (state, goal)]
    assert row["overlap"] == pytest.approx(len(tops[0] & tops[1]) / len(tops[0] | tops[1]))
    assert row["centred_cosine"] == pytest.approx(cos(state - centre, goal - centre), abs=1e-6)
    assert set(frame[frame["run"] == "a@wide"]["reference"]) == {"joy", "anger"}
    groups = frame.groupby(["run", "message", "position", "source", "layer"])
    assert (groups["preferred"].sum() == 1).all()
    best = frame.loc[groups["centred_cosine"].idxmax()]
    assert (best["preferred"] == 1).all()


def test_role_averages(tables: dict[str, pd.DataFrame]) -> None:
    """A run averages its messages; a checkpoint counts a prefix once, however many runs share it."""
    frame = tables["role_averages"]
    assert set(frame["position"]) == {"generation_prompt"}

    def similarity(prefix: str) -> float:
        goal = {
            layer: EARLY.state("reference generation_prompt", (1, "fear"), "hidden_in", layer)
            for layer in LAYERS
        }
        return statistics.fmean(
            cos(EARLY.state("generation_prompt", prefix, "hidden_in", layer), goal[layer])
            for layer in LAYERS
        )

    of = {"reference": "fear", "source": "hidden_in"}
    run = only(frame, scope="run", name="c@early", **of)
    user = statistics.fmean([similarity("c:u"), similarity("c:uau")])
    assert run["user_mean"] == pytest.approx(user, abs=1e-6)
    assert run["difference"] == pytest.approx(user - similarity("c:ua"), abs=1e-6)
    assert (run["n_user"], run["n_assistant"]) == (2, 1)
    assert np.isnan(run["lower"])
    whole = only(frame, scope="checkpoint", name="early", **of)
    user = statistics.fmean(similarity(p) for p in ("c:u", "c:uau", "b:u", "b:uau"))
    assert whole["user_mean"] == pytest.approx(user, abs=1e-6)
    assert (whole["n_user"], whole["n_assistant"]) == (4, 2)
    assert whole["lower"] <= whole["difference"] <= whole["upper"]
    assert (
        only(frame, scope="checkpoint", name="early", reference="joy", source="hidden_in")["n_user"]
        == 5
    )


def test_discrimination_cells(tables: dict[str, pd.DataFrame]) -> None:
    """Each distinct snapshot's cosines spread across its own set's references; then the mean."""
    row = only(
        tables["discrimination"], checkpoint="early", position="generation_prompt",
        source="hidden_out", layer=2,
    )  # fmt: skip
    pairs = [(0, p) for p in ("a:u", "a:ua")]
    pairs += [(1, p) for p in ("b:u", "b:ua", "b:uau", "c:u", "c:ua", "c:uau")]
    centre = EARLY.snapshot_centre("generation_prompt", "hidden_out", 2)
    for column, origin in (("raw_discrimination", 0 * centre), ("centred_discrimination", centre)):
        spreads = []
        for number, prefix in pairs:
            state = EARLY.state("generation_prompt", prefix, "hidden_out", 2) - origin
            spreads.append(statistics.pstdev(
                cos(state, EARLY.state("reference generation_prompt", (number, r), "hidden_out", 2) - origin)
                for r in EARLY.references[number]
            ))  # fmt: skip
        assert row[column] == pytest.approx(statistics.fmean(spreads), abs=1e-6)
    assert (row["n"], row["conversations"]) == (8, 3)
    assert row["lower"] <= row["centred_discrimination"] <= row["upper"]


def test_checkpoint_cells(tables: dict[str, pd.DataFrame]) -> None:
    """Means over runs, drift of the same scenarios, and nothing against itself or other sizes."""
    frame = tables["checkpoints"]
    late = only(frame, checkpoint="late", source="hidden_in", layer=2)
    shared = [s for s in SCENARIOS if s != "c"]
    drift = [cos(LATE.initial(s, "hidden_in", 2), EARLY.initial(s, "hidden_in", 2)) for s in shared]
    for base in ("first", "previous"):
        assert late[f"drift_{base}_cosine"] == pytest.approx(statistics.fmean(drift), abs=1e-6)
        assert late[f"drift_{base}_n"] == 4
    moved = [cos(LATE.initial(s, "hidden_in", 2), LATE.final(s, "hidden_in", 2)) for s in shared]
    assert late["cosine"] == pytest.approx(statistics.fmean(moved), abs=1e-6)
    assert late["runs"] == 4
    early = only(frame, checkpoint="early", source="hidden_in", layer=2)
    names = [
        f"drift_{base}_{what}" for base in ("first", "previous", "last") for what in ("cosine", "n")
    ]
    assert [early[name] for name in names[1::2]] == [0, 0, 0]
    assert early[names[::2]].isna().all()
    assert frame[frame["checkpoint"] == "wide"]["drift_first_cosine"].isna().all()


def test_texts_survive(study: tuple[list[Path], Path, Written]) -> None:
    """Commas, quotes, newlines and emoji in generated text come back from pandas unchanged."""
    for stem in ("comparison_cosines", "comparison_report"):
        frame = pd.read_csv(study[1] / f"{stem}.csv", keep_default_na=False)
        for end in ("a", "b"):
            scenarios = frame[f"run_{end}"].str.partition("@")[0]
            assert (frame[f"generated_{end}"] == scenarios.map(TEXTS)).all()
        assert set(frame["generated_a"]) == set(TEXTS.values())


def test_same_bytes_however_it_is_done(
    study: tuple[list[Path], Path, Written], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writes, another order of files, and blocks of one row give the same bytes."""
    first = contents(study[1])
    assert sorted(first) == sorted(f"{stem}.csv" for stem in TABLES)
    write_tables(study[0][::-1], tmp_path)
    assert contents(tmp_path) == first
    for module in (comparison, snapshot_reference):
        monkeypatch.setattr(module, "_ROWS_AT_ONCE", 1)
    write_tables(study[0], tmp_path)
    assert contents(tmp_path) == first


def test_same_bits_with_any_number_of_blas_threads(tmp_path: Path) -> None:
    """A matrix product's last bits depend on its threads; the tables' unrounded numbers do not."""
    many = {f"s{i:02d}": (f"s{i:02d}", "ua") for i in range(15)}
    fake = Fake("many", 0, 1500, many)
    fake.references = [["none"], [f"r{i}" for i in range(40)]]
    path = fake.save(tmp_path)
    found = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads, user_api="blas"):
            frame = write_tables([path], tmp_path / str(threads)).frames["discrimination"]
        numbers = frame[["raw_discrimination", "centred_discrimination", "null"]].to_numpy()
        found.append((numbers.tobytes(), contents(tmp_path / str(threads))))
    assert found[0] == found[1]


def test_one_run_with_one_message_and_no_references(tmp_path: Path) -> None:
    """The smallest study has its row, empty tables with headers, and no trivial centred value."""
    written = write_tables([Fake("one", 0, 16, {"only": ("only", "u")}).save(tmp_path)], tmp_path)
    tables = {stem: pd.read_csv(tmp_path / f"{stem}.csv") for stem in TABLES}
    for stem in (
        "comparison_cosines",
        "comparison_report",
        "snapshot_reference",
        "role_averages",
        "discrimination",
        "recognition",
        "claims",
    ):
        assert tuple(tables[stem].columns) == TABLES[stem].columns
        assert tables[stem].empty
    cosines = tables["intra_run_cosines"]
    assert len(cosines) == len(SOURCES) * len(LAYERS)
    assert cosines["cosine"].notna().all()
    assert cosines["centred_cosine"].isna().all()
    assert (cosines["background_n"] == 0).all()
    assert written.counts == {
        "runs": 1, "snapshots": 1, "references": 0, "checkpoints": 1, "pairs": 0,
        "pairs_not_comparable": 0,
    }  # fmt: skip


def test_no_positions_at_all(tmp_path: Path) -> None:
    """A study that captured no snapshots still has its runs compared."""
    path = Fake("bare", 0, 16).save(tmp_path)
    index = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(index | {"positions": []}), encoding="utf-8")
    write_tables([path], tmp_path)
    assert pd.read_csv(tmp_path / "comparison_report.csv")["mean_centred_cosine"].notna().all()
    assert pd.read_csv(tmp_path / "role_averages.csv").empty


def test_damage_is_named_and_leaves_the_old_tables(tmp_path: Path) -> None:
    """Missing, damaged or doubled states are one line naming the file; old tables stay whole."""
    path = EARLY.save(tmp_path)
    out = tmp_path / "tables"
    write_tables([path], out)
    before = contents(out)
    with pytest.raises(StratascopeError, match=r"two states files.*'early'"):
        write_tables([path, path], out)
    index = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(index | {"hidden_size": 25}), encoding="utf-8")
    with pytest.raises(StratascopeError, match=r"early-d\.json: .* has shape .*, its index says"):
        write_tables([path], out)
    path.write_text(json.dumps({"checkpoint": "early"}), encoding="utf-8")
    with pytest.raises(StratascopeError, match=r"early-d\.json: not an index of states"):
        write_tables([path], out)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(StratascopeError, match=r"early-d\.json: damaged"):
        write_tables([path], out)
    path.with_suffix(".safetensors").unlink()
    path.write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(StratascopeError, match=r"early-d\.json: not there"):
        write_tables([path], out)
    assert contents(out) == before
