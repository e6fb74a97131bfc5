"""What a job is said to need, against what it takes; and what happens where there is less."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from stratascope.capture import budget
from stratascope.capture.features.extract import extract_features
from stratascope.capture.free import free_disk, free_ram
from stratascope.capture.job import Item, capture_missing
from stratascope.capture.run import _prompt, _specs, _taps, plan_bytes, reference_bytes
from stratascope.cli import cli
from stratascope.errors import StratascopeError
from stratascope.store.datasets import BadRow, MemorySource, Row
from stratascope.store.tensors import bytes_of
from stratascope.study.dataset import Dataset
from stratascope.study.estimate import disk, estimate, shape_of
from stratascope.study.estimate.planned import Texts, dataset_work, reference_work, run_work
from stratascope.study.features import FeatureSet
from stratascope.study.schema import Capture, Limits, Message

CAPTURES: list[dict[str, Any]] = [
    {},
    {"layers": (1,), "store_dtype": "bfloat16", "logits": False},
    {"gradients": {"of": "generated"}, "store_dtype": "float16", "qkv": False},
    {"gradients": {"of": "token", "token": "a"}, "mlp": False, "top_k_probs": 0},
    {"snapshot_positions": ("turn_end",), "attention_weights": False, "hidden_states": False},
]
LENGTHS = [1 + (7 * i) % 50 for i in range(1000)]


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("name", ["llama+chat", "qwen3_moe", "opt_post", "mixtral", "gpt2"])
def test_disk_of_a_run_is_what_the_loaded_model_needs(
    loaded_model: Any, make_run: Any, name: str, capture: dict[str, Any]
) -> None:
    """The estimate is to the byte `plan_bytes`, which asks the loaded model, but for file headers."""
    loaded = loaded_model(name)
    fields = Capture.model_validate({"store_dtype": "float32"} | capture).model_dump()
    run = make_run(loaded, generation={"max_new_tokens": 9}, **fields)
    shape = shape_of(loaded.model.config.to_dict())
    assert shape is not None
    estimated = disk.run_disk(shape, run_work(run, budget.counter(loaded.tokenizer)))
    specs = _specs(loaded, run, _taps(loaded, run)[1], _prompt(loaded, run).ids)
    headers = bytes_of(specs) - sum(spec.nbytes for spec in specs.values())
    files = 2 if run.capture.gradients else 1
    allowed = disk.HEADER_BYTES * len(specs) * files
    # The second file's header lists the same tensors, or is the 16 bytes of an empty one.
    exact = plan_bytes(loaded, run) - (headers * files if files == 2 else headers + 16)
    assert estimated - allowed == pytest.approx(exact, abs=len(specs) * 8 * (files - 1))
    assert plan_bytes(loaded, run) <= estimated <= plan_bytes(loaded, run) * 1.01


def test_disk_of_references_is_what_the_loaded_model_needs(
    loaded_model: Any, make_references: Any
) -> None:
    """And of a reference set, to the byte."""
    loaded = loaded_model("llama+chat")
    references = make_references(loaded, {"joy": "I am glad.", "fear": "I am afraid of it."})
    shape = shape_of(loaded.model.config.to_dict())
    assert shape is not None
    work = reference_work(references, budget.counter(loaded.tokenizer))
    assert disk.reference_disk(shape, work) == reference_bytes(loaded, references)


@pytest.fixture
def items(folders: Any, make_run: Any, checkpoint: Any, tmp_path: Path) -> list[Item]:
    """A run on a checkpoint whose weights are missing."""
    folder = shutil.copytree(folders("llama+chat"), tmp_path / "m")
    (folder / "model.safetensors").unlink()
    found = checkpoint(folder)
    run = make_run(type("Loaded", (), {"checkpoint": found}))
    return [Item(run, tmp_path / "results" / "runs" / "run")]


def test_refused_before_the_weights_are_loaded(items: list[Item]) -> None:
    """Weights that are not even there are not missed: too little disk or memory is found first."""
    said: list[str] = []
    with pytest.raises(StratascopeError, match=r"lacks the weights|cannot load the weights"):
        capture_missing(items, said.append)
    assert "of memory" in said[0]
    assert "of disk" in said[0]
    with pytest.raises(StratascopeError, match=r"^m: not enough disk.*`capture\..*` -> ") as disk:
        capture_missing(items, said.append, Limits(disk_gb=5e-4))
    assert "0.5 MB allowed (limits.disk_gb)" in str(disk.value)
    with pytest.raises(StratascopeError, match=r"not enough memory.*limits\.memory_gb"):
        capture_missing(items, said.append, Limits(memory_gb=0.1))
    assert not items[0].folder.parent.exists()


def test_free_disk_is_not_filled_to_the_brim(
    items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is free 50 MB are left, of what limits allow nothing: they say what to use."""
    (line,) = _said(items, monkeypatch, free=10**9)
    need = float(line.split(" and up to ")[1].split(" MB of disk")[0]) * 1e6
    with pytest.raises(StratascopeError, match="not enough disk"):
        _said(items, monkeypatch, free=budget.SPARE_BYTES + need * 0.9)
    _said(items, monkeypatch, free=budget.SPARE_BYTES + need * 1.1)
    _said(items, monkeypatch, free=10**9, limits=Limits(disk_gb=need * 1.1e-9))


def _said(
    items: list[Item],
    monkeypatch: pytest.MonkeyPatch,
    free: float,
    limits: Limits = Limits(),  # noqa: B008
) -> list[str]:
    said: list[str] = []
    what = items[0].what
    monkeypatch.setattr(budget, "free_disk", lambda folder: int(free))
    budget.check_captures(what.checkpoint, [what], items[0].folder, limits, said.append)
    return said


def test_modules_named_by_hand_are_checked_when_they_are_known(
    folders: Any, make_run: Any, checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module wider than was thought is refused once the model is there, and nothing is written."""
    found = checkpoint(folders("llama+chat"))
    off = dict.fromkeys(["hidden_states", "attention_weights", "qkv", "mlp", "logits"], False)
    run = make_run(
        type("Loaded", (), {"checkpoint": found}),
        generation={"max_new_tokens": 400},
        modules=("lm_head",),
        top_k_probs=0,
        **off,
    )
    estimated = estimate(_work(run)).disk
    assert estimated is not None
    limits = Limits(disk_gb=estimated * 1.05e-9)
    with pytest.raises(StratascopeError, match=r"not enough disk: .*; make room, or capture less"):
        capture_missing([Item(run, tmp_path / "runs" / "run")], lambda _: None, limits)
    assert not (tmp_path / "runs").exists()


def _work(run: Any) -> Any:
    from stratascope.capture.loading import load_tokenizer
    from stratascope.study.estimate.planned import captures_work

    count = budget.counter(load_tokenizer(run.checkpoint))
    return captures_work(budget._model(run.checkpoint), [run], count)


def test_texts_are_measured_exactly_or_by_a_sample(loaded_model: Any) -> None:
    """Up to 200 texts give exact sums; of more, totals that are near and not below."""
    tokenizer = loaded_model("llama+chat").tokenizer
    rows = [Row(i, ids=np.zeros(n, np.int64)) for i, n in enumerate(LENGTHS, 1)]
    assert budget.measure(MemorySource(rows[:200]), tokenizer) == Texts(
        200, sum(LENGTHS[:200]), 50, 0
    )
    sampled = budget.measure(MemorySource(rows), tokenizer)
    assert (sampled.count, sampled.longest) == (1000, 50)  # 50 is in a fiftieth of them
    assert sum(LENGTHS) <= sampled.tokens <= 1.15 * sum(LENGTHS)
    assert sampled.part(4) == Texts(250, -(-sampled.tokens // 4), 50, 0)


def test_texts_are_measured_as_the_model_reads_them(loaded_model: Any) -> None:
    """Text with the tokenizer's special tokens, messages by the template; bad rows count as others."""
    tokenizer = loaded_model("llama+chat").tokenizer
    text = "The bear sang, and the river slept: \u00e9t\u00e9."
    messages = (Message(role="user", content="How are you?"),)
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "How are you?"}], tokenize=False, add_generation_prompt=False
    )
    lengths = len(tokenizer(text)["input_ids"]), len(tokenizer(rendered)["input_ids"])
    rows = [Row(1, text=text), Row(2, messages=messages), BadRow(3, "empty")]
    found = budget.measure(MemorySource(rows), tokenizer)
    assert found.longest == max(lengths)
    assert found.tokens == pytest.approx(sum(lengths) * 3 / 2, rel=1)
    one = budget.measure(MemorySource(rows[:1]), tokenizer)
    assert one == Texts(1, lengths[0], lengths[0], len(text.encode()))
    assert budget.measure(MemorySource(rows[2:]), tokenizer).count == 1
    assert budget.measure(MemorySource(rows[:1]), None).tokens > 0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"position": "all", "sites": ("hidden_out", "mlp_act"), "layers": (0, 2)},
        {"position": "mean", "sites": ("logits", "final_norm"), "store_dtype": "bfloat16"},
    ],
)
def test_disk_of_features_is_what_they_take(
    loaded_model: Any, tmp_path: Path, fields: dict[str, Any]
) -> None:
    """A real features folder holds what was estimated, at most a fiftieth less and no more."""
    loaded = loaded_model("llama+chat")
    rows = [Row(i + 1, text=f"{i} bears sat by the river. " * (1 + i % 5)) for i in range(150)]
    dataset = Dataset(data="x.jsonl", **fields)
    features = FeatureSet("bears", dataset, "content", loaded.checkpoint, 1)
    source, folder = MemorySource(rows), tmp_path / "features"
    said: list[str] = []
    tokenizer = budget.check_features(features, source, folder, said.append)
    assert "of disk" in said[0]
    extract_features(loaded, features, source, folder, said.append)
    texts = budget.measure(source, tokenizer)
    estimated = estimate(dataset_work(budget._model(loaded.checkpoint), dataset, texts)).disk
    tensors = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    whole = sum(path.stat().st_size for path in folder.iterdir())
    assert estimated is not None
    overhead = disk.INDEX_BYTES * 150 + disk.JSON_BYTES + texts.bytes
    assert tensors <= estimated <= tensors + overhead
    assert whole <= estimated * 1.02


def test_what_lies_there_needs_no_room_again(
    loaded_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An extraction that goes on counts its own shards as its room."""
    loaded = loaded_model("llama+chat")
    rows = [Row(i + 1, text="A river sang.") for i in range(100)]
    features = FeatureSet("r", Dataset(data="x", position="all"), "c", loaded.checkpoint, 1)
    source = MemorySource(rows)
    monkeypatch.setattr(budget, "free_disk", lambda folder: budget.SPARE_BYTES + 100_000)
    with pytest.raises(StratascopeError, match="`--position last`"):
        budget.check_features(features, source, tmp_path, lambda _: None, options=True)
    (tmp_path / "features-00000.safetensors").write_bytes(bytes(1_000_000))
    budget.check_features(features, source, tmp_path, lambda _: None)


def test_free_memory_minds_containers_and_schedulers(tmp_path: Path) -> None:
    """The least of what is available and what control groups of both versions still allow."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    (proc / "self" / "status").write_text("Name: x\nRssAnon:\t100 kB\n")
    assert free_ram(proc, groups) == 8100 * 1024

    inner = groups / "job" / "step"
    inner.mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("0::/job/step\n")
    for folder, limit in ((inner, "max"), (groups / "job", "4000000")):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text("1000000\n")
        (folder / "memory.stat").write_text("anon 5\ninactive_file 300000\n")
    assert free_ram(proc, groups) == 4_000_000 - 1_000_000 + 300_000 + 100 * 1024

    older = groups / "memory" / "slurm"
    older.mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("5:cpu,memory:/slurm\n0::/\n")
    (older / "memory.limit_in_bytes").write_text("2000000\n")
    (older / "memory.usage_in_bytes").write_text("2500000\n")
    assert free_ram(proc, groups) == 100 * 1024


def test_free_disk_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The file system that it would be made on counts."""
    free = shutil.disk_usage(tmp_path).free
    assert free_disk(tmp_path / "a" / "b") == pytest.approx(free, rel=0.05)


@pytest.fixture
def command() -> Callable[..., tuple[int, str]]:
    def run(*words: object) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["estimate", *map(str, words)])
        return result.exit_code, str(result.exception or "") if result.exit_code else result.stdout

    return run


def test_the_command_needs_a_config_alone(
    command: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """A config.json without anything beside it gives a row: parameters, bytes, tokens, operations."""
    config = {"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "head_dim": 128}
    config |= {"intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8}
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 32}))
    asked = ("--texts", 2000, "--tokens", 512, "--layers", "0,8,16,24,31", "--position", "all")
    for name in ("config.json", "."):
        code, said = command(name, *asked, "-d", tmp_path, "--format", "json")
        assert code == 0, said
        (row,) = json.loads(said)["rows"]
        assert row["parameters"] == 8_030_261_248
        assert row["weights"] == 2 * row["parameters"]
        assert row["tokens"] == 1_024_000
        assert row["disk"] == pytest.approx(5 * 4096 * 2 * 1_024_000, rel=0.01)
        assert row["flops"] > 2 * 6.9e9 * row["tokens"]
        assert row["memory"] > row["weights"]
    code, said = command("config.json", *asked, "-d", tmp_path, "--disk-gb", 10)
    assert code == 1
    assert "not enough disk: up to 41.9 GB needed, 10.0 GB allowed (disk_gb)" in said
    code, said = command("nowhere/at/all", "-d", tmp_path)
    assert code == 1
    assert "no model folder, no config.json and no hub id" in said


def test_the_command_estimates_a_study(command: Callable[..., tuple[int, str]], root: Path) -> None:
    """A row for each job of the embedded study; limits that are too small are an error."""
    code, said = command("-d", root, "--format", "json")
    assert code == 0, said
    rows = json.loads(said)["rows"]
    assert {row["checkpoint"] for row in rows} == {"step-0", "step-80", "step-400", "step-1600"}
    assert all(row["parameters"] == 697_056 and row["disk"] > 10**6 for row in rows)
    assert len({(row["what"], row["disk"]) for row in rows}) == len({row["what"] for row in rows})
    code, said = command("-d", root, "--disk-gb", 0.01)
    assert code == 1
    assert "step-400: 11 runs" in said
